"""Downloads of DEMs."""
