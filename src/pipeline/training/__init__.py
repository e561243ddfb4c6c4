"""Training: one loop, checkpoints, order of the data, one module per stage."""
