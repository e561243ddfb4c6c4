"""Map-projected photographs of the Moon: read, masked, and averaged onto the pixels of a map."""
