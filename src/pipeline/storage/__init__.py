"""Files: atomic writes, zarr stores, schemas of files."""
