"""Everything that estimates a DEM, behind one interface."""
