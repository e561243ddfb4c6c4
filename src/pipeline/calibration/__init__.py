"""How wide clones must be spread, fitted on validation patches."""
