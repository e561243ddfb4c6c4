"""Real images: their files, their Suns, and how they lie on the ground."""
