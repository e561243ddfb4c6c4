"""Resampling of a raster in any lunar projection to the pixels of a map."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from pipeline.terrain.map_grid import LunarProjection, MapGrid, lunar_projection
from pipeline.terrain.readers import Raster
from pipeline.terrain.site_raster import SiteRaster

Floats = NDArray[np.float64]

# Approximate number of samples of a raster in memory at a time.
_SAMPLES = 2**21


def resampled(raster: Raster, wide: MapGrid) -> Floats:
    """A raster on the pixels of a grid: the mean of finer pixels, bilinear between coarser ones.

    Parameters
    ----------
    raster : any. wide : the grid.

    Returns
    -------
    (rows, columns) of the grid, in the raster's unit; NaN where the raster has no data.
    """
    _, transform = place_of(raster)
    size = raster.ground_pixel_m if isinstance(raster, SiteRaster) else raster.grid.pixel_m
    part = _part_below(raster, wide)
    if part is None:
        return np.full((wide.height, wide.width), np.nan)
    row0, row1, col0, col1 = part
    source = raster.read(row0, row1, col0, col1).astype(np.float64)
    whole_circle = _is_whole_circle(raster)
    # Finer pixels are averaged over samples between them: means of whole pixels would tilt a slope.
    fine = math.ceil(wide.pixel_m / size) if size < 0.75 * wide.pixel_m else 1
    out = np.empty((wide.height, wide.width))
    step = max(1, _SAMPLES // (wide.width * fine * fine))
    cols = (np.arange(wide.width * fine) + 0.5) / fine - 0.5
    for top in range(0, wide.height, step):
        bottom = min(top + step, wide.height)
        rows = (np.arange(top * fine, bottom * fine) + 0.5) / fine - 0.5
        x, y = _on_file(raster, wide, *np.meshgrid(rows, cols, indexing="ij"))
        down, across = (
            (y - transform.f) / transform.e - row0 - 0.5,
            (x - transform.c) / transform.a - col0 - 0.5,
        )
        samples = _between(source, down, across, whole_circle and source.shape[1] == raster.grid.width)
        out[top:bottom] = block_nanmean(samples, fine) if fine > 1 else samples
    return out


def summed(raster: Raster, wide: MapGrid) -> Floats:
    """A raster of counts on the pixels of a grid: the sum of the pixels whose centres lie in each of them.

    Parameters
    ----------
    raster : any. wide : the grid.

    Returns
    -------
    (rows, columns) of the grid; 0 where no pixel of the raster with data has its centre.
    """
    out = np.zeros((wide.height, wide.width))
    part = _part_below(raster, wide)
    if part is None:
        return out
    projection, transform = place_of(raster)
    row0, _, col0, _ = part
    source = raster.read(row0, part[1], col0, part[3]).astype(np.float64)
    row, col = np.nonzero(np.isfinite(source) & (source != 0))
    lon, lat = projection.lonlat(
        transform.c + transform.a * (col + col0 + 0.5), transform.f + transform.e * (row + row0 + 0.5)
    )
    # Centres that lie on a border, up to rounding, belong to the pixel on its right or below.
    i, j = (np.floor(v + 0.5 + 1e-6) for v in wide.pixel_at(lon, lat))
    inside = (i >= 0) & (i < wide.height) & (j >= 0) & (j < wide.width)
    np.add.at(out, (i[inside].astype(np.int64), j[inside].astype(np.int64)), source[row, col][inside])
    return out


def place_of(raster: Raster) -> tuple[LunarProjection, Affine]:
    """Projection of a raster, and the transform from (column, row) of pixel corners to its coordinates."""
    if isinstance(raster, SiteRaster):
        return raster.projection, raster.transform
    return lunar_projection(raster.grid.crs_wkt), raster.grid.transform


def _on_file(raster: Raster, wide: MapGrid, row: Floats, col: Floats) -> tuple[Floats, Floats]:
    """Coordinates, in those of a raster, of pixels of a grid."""
    projection, transform = place_of(raster)
    x, y = projection.xy(*wide.lonlat(row, col))
    # The file's longitudes may run to 360.
    return projection.turned(x, transform.c + transform.a * raster.grid.width / 2), y


def _is_whole_circle(raster: Raster) -> bool:
    """Whether a raster's last column is adjacent to its first."""
    projection, transform = place_of(raster)
    # Coordinates of pixels may be rounded: the last column need not end exactly where the first begins.
    circle = projection.circle
    return circle is not None and abs(raster.grid.width - circle / transform.a) < 0.5


def _part_below(raster: Raster, wide: MapGrid) -> tuple[int, int, int, int] | None:
    """Rows and columns, half-open, of a raster that a grid needs; None where it lies beyond the raster."""
    projection, transform = place_of(raster)
    circle, width = projection.circle, raster.grid.width
    points = np.meshgrid(np.linspace(0, wide.height, 33), np.linspace(0, wide.width, 33))
    x, y = _on_file(raster, wide, *points)
    across, down = (x - transform.c) / transform.a, (y - transform.f) / transform.e
    row0, row1 = int(np.floor(down.min())) - 4, int(np.ceil(down.max())) + 4
    col0, col1 = int(np.floor(across.min())) - 4, int(np.ceil(across.max())) + 4
    pole = circle is not None and _has_pole(wide)
    if pole:
        # A map with a pole contains all longitudes, and its sampled points may not include the pole itself.
        row0, row1 = (0, row1) if wide.pole > 0 else (row0, raster.grid.height)
    beyond = _is_whole_circle(raster) and (col0 < 0 or col1 > width)
    if circle and (pole or beyond or np.ptp(x) > circle / 2):
        # Points between the samples may have any column from theirs to the seam, on both of its sides.
        col0, col1 = 0, width
    row0, row1 = max(row0, 0), min(row1, raster.grid.height)
    col0, col1 = max(col0, 0), min(col1, width)
    return None if row0 >= row1 or col0 >= col1 else (row0, row1, col0, col1)


def _between(source: Floats, row: Floats, col: Floats, whole_circle: bool) -> Floats:
    """Heights between the centres of pixels, bilinear over those with data; NaN where their weight is small.

    With `whole_circle` the last column is adjacent to the first.
    """
    height, width = source.shape
    first, left = np.floor(row).astype(np.int64), np.floor(col).astype(np.int64)
    total, weight = np.zeros(row.shape), np.zeros(row.shape)
    known = np.isfinite(source)
    held = np.where(known, source, 0.0)
    for i in (0, 1):
        for j in (0, 1):
            at, beside = first + i, left + j
            share = np.abs(1 - i - (row - first)) * np.abs(1 - j - (col - left))
            inside = (at >= 0) & (at < height)
            if not whole_circle:
                inside &= (beside >= 0) & (beside < width)
            here = np.where(inside, at, 0), np.where(inside, beside % width, 0)
            share = np.where(inside & known[here], share, 0.0)
            total += share * held[here]
            weight += share
    # The pixel that contains the point has a weight of at least a quarter, up to rounding.
    return np.where(weight >= 0.25 - 1e-9, total / np.maximum(weight, 1e-9), np.nan)


def _has_pole(grid: MapGrid) -> bool:
    """Whether the pole of its hemisphere lies on a grid."""
    row, col = (float(v) for v in grid.rowcol(*grid.projection.xy(0.0, 90.0 * grid.pole)))
    return -1 <= row <= grid.height and -1 <= col <= grid.width


def block_nanmean(dem: Floats, factor: int) -> Floats:
    """Block means over the pixels with data; NaN where less than a quarter of a block's pixels have data.

    Parameters
    ----------
    dem : (rows, cols), whole blocks. factor : pixels per block along each axis.
    """
    blocks = dem.reshape(dem.shape[0] // factor, factor, dem.shape[1] // factor, factor)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0.0).sum(axis=(1, 3))
    return np.where(count * 4 >= factor**2, total / np.maximum(count, 1), np.nan)


def datum_offset(heights: NDArray[np.floating[Any]], far: Floats) -> float:
    """Median height of the DEM above the far one where both have data, metres; 0 without common pixels."""
    both = np.isfinite(heights) & np.isfinite(far)
    return float(np.median(heights[both] - far[both])) if both.any() else 0.0
