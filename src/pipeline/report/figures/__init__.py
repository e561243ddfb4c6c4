"""Figures of the report, one module a figure; each draws arrays it is given and returns PNG bytes."""
