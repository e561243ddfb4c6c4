"""Provenance of results: digests, stage keys, plans and records of runs."""
