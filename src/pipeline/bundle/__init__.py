"""Reproducibility bundle: the archive, its documents and its verification."""
