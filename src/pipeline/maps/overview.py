"""Reading a map's GeoTIFFs at the resolution of a picture or a page, so that memory is bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.terrain.map_grid import MapGrid


@dataclass(frozen=True)
class Overview:
    """A raster of a map at reduced resolution.

    Attributes
    ----------
    values : (rows, cols) float32, NaN where there are no data.
    grid : of the file itself. step : approximate number of the file's pixels along a side of one value.
    """

    values: NDArray[np.float32]
    grid: MapGrid
    step: int

    @property
    def pixel_m(self) -> float:
        """Size of one value on the ground at the map's centre, metres."""
        return ground_pixel_m(self.grid) * self.grid.width / self.values.shape[1]


def ground_pixel_m(grid: MapGrid) -> float:
    """Size of a pixel on the ground at the map's centre, metres."""
    return grid.true_pixel_m((grid.height - 1) / 2, (grid.width - 1) / 2)


def grid_of(path: str) -> MapGrid:
    """The grid of a product."""
    import rasterio

    with rasterio.open(path) as file:
        return MapGrid(file.crs.to_wkt(), file.transform, file.width, file.height)


def step_for(grid: MapGrid, most_values: float) -> int:
    """The smallest step at which a map has at most `most_values` values."""
    step = 1
    while step < max(grid.width, grid.height) and np.prod(_shape(grid, step)) > most_values:
        step += 1
    return step


def _shape(grid: MapGrid, step: int) -> tuple[int, int]:
    return -(-grid.height // step), -(-grid.width // step)


def read_overview(path: str, step: int, average: bool = True) -> Overview:
    """Read the first band of a product.

    Parameters
    ----------
    path : of the file. step : pixels along a side of one value.
    average : whether a value is the mean over its pixels with data; otherwise the value of one of them.
    """
    import rasterio
    from rasterio.enums import Resampling

    with rasterio.open(path) as file:
        grid = MapGrid(file.crs.to_wkt(), file.transform, file.width, file.height)
        method = Resampling.average if average else Resampling.nearest
        shape = _shape(grid, step)
        masked = file.read(1, out_shape=shape, resampling=method, masked=True, out_dtype="float32")
    values = np.asarray(np.ma.filled(masked, np.nan), dtype=np.float32)
    return Overview(values, grid, step)
