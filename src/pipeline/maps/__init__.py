"""Maps from what a user has: a DEM, real images and their Suns."""
