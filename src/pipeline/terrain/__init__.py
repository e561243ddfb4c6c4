"""Terrain: grids, DEM readers, patches, coverage, splits and synthetic polar relief."""
