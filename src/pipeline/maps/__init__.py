"""Maps from a user's data: a DEM, real images and their Suns."""
