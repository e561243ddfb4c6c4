"""Metrics, baselines, tables and figures."""
