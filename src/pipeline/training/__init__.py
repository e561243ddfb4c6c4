"""Optimisation in time: one loop, checkpoints, data order, one module a stage."""
