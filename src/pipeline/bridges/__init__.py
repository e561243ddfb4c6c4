"""Stochastic processes that turn an a priori DEM into samples of the truth; no networks here."""
