"""What a photograph needs before a model may read it: dark level, exposure, registration to a DEM."""
