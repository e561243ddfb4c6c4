"""Everything that makes a fine DEM from a coarse one, behind one interface."""
