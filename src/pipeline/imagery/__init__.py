"""Real images: what is known of each of them beside its pixels."""
