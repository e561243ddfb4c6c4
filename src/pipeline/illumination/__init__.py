"""Light: Sun directions, visibility, photometry and missing data."""
