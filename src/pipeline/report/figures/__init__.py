"""Figures of the report, one module per figure; functions draw arrays and return PNG bytes."""
