"""GeoTIFFs of a region: cloud-optimised, in the terrain's lunar CRS; equal values give equal bytes.

Conventions: float32; **NaN is nodata**, as in the input DEMs that this project writes (code that does not
mask LOLA's -3.4028227e38 may compute a plausible mean from it, but not from NaN; GDAL, QGIS, ASP and xarray
support both); pixels are areas; band units are set; overviews are means; no dates.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS

from pipeline.storage.atomic import replacing
from pipeline.terrain.grid import Grid

BLOCK_PX = 256


@dataclass(frozen=True)
class Band:
    """One band: (rows, cols) values, NaN for no data; its description, unit and tags."""

    values: NDArray[np.floating]
    description: str
    unit: str
    tags: Mapping[str, str] = field(default_factory=dict)


def write_geotiff(path: Path | str, grid: Grid, bands: Sequence[Band], tags: Mapping[str, str]) -> None:
    """Write bands as a cloud-optimised GeoTIFF, atomically.

    Parameters
    ----------
    path : file to make.
    grid : map grid of the bands.
    bands : all of the grid's shape.
    tags : of the file; ``TIFFTAG_SOFTWARE`` and ``AREA_OR_POINT`` are added.

    Raises
    ------
    ValueError
        If a band has another shape than the grid.
    """
    for band in bands:
        if band.values.shape != (grid.height, grid.width):
            raise ValueError(
                f"{path}: expected bands of {grid.height} x {grid.width} px, found {band.values.shape} "
                f"({band.description})"
            )
    profile = {
        "driver": "COG", "dtype": "float32", "count": len(bands), "nodata": np.nan,
        "height": grid.height, "width": grid.width, "crs": CRS.from_wkt(grid.crs_wkt),
        "transform": grid.transform, "compress": "deflate", "predictor": 3, "blocksize": BLOCK_PX,
        "overview_resampling": "average", "bigtiff": "if_safer", "num_threads": 1,
    }  # fmt: skip
    software = f"lunar-bridge {importlib.metadata.version('lunar-bridge')}"
    with replacing(path) as temporary, rasterio.open(temporary, "w", **profile) as target:
        target.update_tags(**{**tags, "TIFFTAG_SOFTWARE": software, "AREA_OR_POINT": "Area"})
        target.units = tuple(band.unit for band in bands)
        for number, band in enumerate(bands, start=1):
            target.write(band.values.astype(np.float32), number)
            target.set_band_description(number, band.description)
            if band.tags:
                target.update_tags(number, **band.tags)
