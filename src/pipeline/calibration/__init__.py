"""Calibration of the clones' spread, fitted on validation patches."""
