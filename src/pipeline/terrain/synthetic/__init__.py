"""Synthetic polar terrain."""
