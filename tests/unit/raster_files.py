"""Small rasters, true to format, for the tests of the terrain room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

SOUTH = "+proj=stere +lat_0=-90 +lon_0=0 +k=1 +R=1737400 +units=m +no_defs"
NORTH = SOUTH.replace("lat_0=-90", "lat_0=90")


def write_tif(
    path: Path,
    data: np.ndarray,
    crs: str | None = SOUTH,
    pixel: float = 20.0,
    origin: tuple[float, float] = (0.0, 0.0),
    **profile: Any,
) -> Path:
    """Write a GeoTIFF whose top-left corner is at `origin`, in the units of `crs`."""
    profile = {"transform": Affine(pixel, 0, origin[0], 0, -pixel, origin[1]), **profile}
    height, width = data.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype=data.dtype, crs=crs, **profile
    ) as dataset:
        dataset.write(data, 1)
    return path


def relief(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Heights that differ at every pixel, float32 metres."""
    return np.random.default_rng(seed).uniform(-4000, 4000, (rows, cols)).astype(np.float32)


def cut(
    folder: Path, whole: np.ndarray, windows: dict[str, tuple[int, int, int, int]], **more: Any
) -> list[Path]:
    """Write windows (row0, row1, col0, col1) of one big array as files on its lattice."""
    pixel = more.get("pixel", 20.0)
    return [
        write_tif(folder / f"{name}.tif", whole[r0:r1, c0:c1], origin=(c0 * pixel, -r0 * pixel), **more)
        for name, (r0, r1, c0, c1) in windows.items()
    ]
