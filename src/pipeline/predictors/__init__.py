"""Predictors of a fine DEM from a coarse one, with one interface."""
