"""Training and test data: writers, readers and image sets; ``pipeline.shards.open(path)`` opens a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open(path: Path | str, group: str = "") -> Any:
    """Open a store as a lazy `xarray.Dataset`; see `pipeline.storage.store.open_store`."""
    from pipeline.storage.store import open_store  # zarr is heavy, and most importers only want JSON files

    return open_store(path, group)


__all__ = ["open"]
