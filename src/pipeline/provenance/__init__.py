"""Who made what from what: stage keys, digests, run records, bundles."""
