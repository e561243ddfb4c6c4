"""Real images: files, Sun directions, exposure, registration and resampling to maps."""
