"""What each stage depends on, as one typed section: what enters its key, and what its function takes."""
