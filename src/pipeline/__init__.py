"""Lunar topography super-resolution with Schrödinger bridges: the library behind the workflow."""
