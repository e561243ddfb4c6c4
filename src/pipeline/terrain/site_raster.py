"""Rasters of a user's site, in any lunar projection, with square or rectangular pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from pipeline.terrain.grid import FINEST_PIXEL_M, MOON_RADIUS_M, Grid, GridError, RasterError
from pipeline.terrain.map_grid import LunarProjection, MapGrid, lunar_projection
from pipeline.terrain.readers import GdalRaster, Raster, open_raster

Floats = NDArray[np.float64]

# Largest relative difference of the sides of a square pixel.
_SQUARE = 1e-6
# Heights above this, metres, are distances from the Moon's centre.
_RADIUS_M = 1.6e6
# Slopes of the Moon, metres per metre: no map has a larger median than the first (72 deg), and none that is
# not constant has a smaller root mean square than the second (0.06 deg).
_STEEPEST, _SMOOTHEST = 3.0, 1e-3
# The Moon's heights are between -9.2 and 10.8 km: a coarse DEM with only smaller numbers is in kilometres.
_KILOMETRES = 12.0


class SiteRaster(GdalRaster):
    """A raster on any north-up lunar grid.

    Attributes
    ----------
    projection : of the file. transform : from (column, row) of pixel corners to its coordinates.
    square : whether pixels are squares in metres; else only the rows and columns of `grid` are valid.

    Raises
    ------
    RasterError
        If the file is unreadable, truncated, or has more than one band.
    GridError
        If it has no transform or no CRS of the Moon, is not north-up, or has pixels below `FINEST_PIXEL_M`.
    """

    projection: LunarProjection
    transform: Affine
    square: bool

    def _grid_of(self, dataset: Any) -> Grid:
        if not dataset.crs:
            raise GridError(f"{self.name}: expected a CRS of the Moon, found none")
        self.projection = lunar_projection(dataset.crs.to_wkt(), self.name)
        t = dataset.transform
        if t.b or t.d or t.a <= 0 or t.e >= 0:
            raise GridError(f"{self.name}: expected a north-up grid, found the transform {tuple(t)[:6]}")
        self.transform, step = t, self.projection.metres
        if not self.projection.geographic:
            self.projection = self.projection.in_metres()
            self.transform = Affine(t.a * step, 0.0, t.c * step, 0.0, t.e * step, t.f * step)
            if self.transform.a < FINEST_PIXEL_M:
                raise GridError(
                    f"{self.name}: expected pixels of at least {FINEST_PIXEL_M:g} m, found "
                    f"{self.transform.a:g} m (coordinates in kilometres with a CRS in metres?)"
                )
        a, e = self.transform.a, -self.transform.e
        self.square = not self.projection.geographic and math.isclose(a, e, rel_tol=_SQUARE)
        # Windows need rows and columns of any grid; only a square one has a pixel size in metres.
        return MapGrid(self.projection.wkt_text, self.transform, dataset.width, dataset.height)

    def lonlat_box(self) -> tuple[Floats, Floats]:
        """Longitudes and latitudes, degrees, of 17 x 17 points on the border and inside, (17, 17) each."""
        cols = np.linspace(0, self.grid.width, 17)
        rows = np.linspace(0, self.grid.height, 17)
        col, row = np.meshgrid(cols, rows)
        return self._lonlat(col, row)

    def _lonlat(self, col: Floats, row: Floats) -> tuple[Floats, Floats]:
        t = self.transform
        return self.projection.lonlat(t.c + t.a * col, t.f + t.e * row)

    @property
    def ground_pixel_m(self) -> float:
        """Mean side of a pixel at the file's centre, metres on the ground."""
        col, row = self.grid.width / 2, self.grid.height / 2
        lon, lat = self._lonlat(np.array([col, col + 1, col]), np.array([row, row, row + 1]))
        down = (lon - lon[0] + 180) % 360 - 180
        along = np.hypot(down * math.cos(math.radians(lat[0])), lat - lat[0])[1:]
        return float(np.radians(along.mean()) * self.projection.radius_m)


def open_site_raster(path: Path | str) -> Raster:
    """Open a user's raster: like `open_raster`, but in any lunar projection.

    Raises
    ------
    RasterError
        If the file is missing, unreadable, truncated, or has more than one band.
    GridError
        If it has no CRS of the Moon, or is not north-up.
    """
    path = Path(path)
    if not path.is_file():
        raise RasterError(f"{path}: expected a raster file, found none")
    if path.suffix.upper() in (".IMG", ".LBL"):
        return open_raster(path)
    return SiteRaster(path)


def centre_of(path: Path | str) -> tuple[float, float]:
    """Longitude and latitude, degrees, of the centre of a user's raster; raises as `open_site_raster`."""
    raster = open_site_raster(path)
    try:
        row, col = raster.grid.height / 2, raster.grid.width / 2
        if isinstance(raster, SiteRaster):
            lon, lat = raster._lonlat(np.array(col), np.array(row))
        else:
            lon, lat = raster.grid.lonlat(row - 0.5, col - 0.5)
        return float(lon), float(lat)
    finally:
        raster.close()


def slopes(values: Floats, pixel_m: float) -> Floats:
    """Absolute slopes between neighbours in a row that both have data, metres per metre, in one dimension.

    Parameters
    ----------
    values : (rows, cols) heights, metres. pixel_m : metres.
    """
    steps = np.abs(np.diff(values, axis=-1)) / pixel_m
    return steps[np.isfinite(steps)]


def seem_kilometres(low: float, high: float, steps: Floats, pixel_m: float) -> bool:
    """Whether heights are plausible as kilometres only: numbers and slopes too small for metres.

    Parameters
    ----------
    low, high : range of the heights. steps : their `slopes`, as if they were metres. pixel_m : metres.
    """
    even = low < high and steps.size > 64 and float(np.sqrt(np.mean(steps**2))) < _SMOOTHEST
    return max(abs(low), abs(high)) < _KILOMETRES and (pixel_m >= 100 or even)


def heights_in_metres(
    name: str, values: Floats, pixel_m: float, unit: str | None = None
) -> tuple[Floats, list[str]]:
    """Heights in metres above the DEM's datum, and notes on their conversion.

    Parameters
    ----------
    name : file, for error messages. values : heights, NaN where there are none. pixel_m : of the DEM, metres.
    unit : ``m`` or ``km``, of the values; None for metres, if they are plausible.

    Raises
    ------
    RasterError
        If there are no heights, if the unit must be another one, or heights are impossible on the Moon.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        raise RasterError(f"{name}: expected heights, found none but missing pixels")
    if known.size > 64 and float(known.min()) == float(known.max()):
        raise RasterError(
            f"{name}: expected heights, found {float(known[0]):g} everywhere (a missing value without a "
            "nodata tag?)"
        )
    notes = []
    if unit == "km":
        values, known = values * 1e3, known * 1e3
        notes.append("heights taken from kilometres")
    low, high = float(known.min()), float(known.max())
    if low > _RADIUS_M:
        values, low, high = values - MOON_RADIUS_M, low - MOON_RADIUS_M, high - MOON_RADIUS_M
        notes.append("heights were distances from the Moon's centre: 1737400 m taken off")
    elif _RADIUS_M / 1e3 < low and high < 1800:
        raise RasterError(
            f"{name}: expected heights in metres, found {low:g} to {high:g}: distances in km? "
            "Say so with site.height_unit: km"
        )
    steps = slopes(values, pixel_m)
    if unit is None and known.size > 64 and seem_kilometres(low, high, steps, pixel_m):
        raise RasterError(
            f"{name}: expected heights in metres, found {low:g} to {high:g} on pixels of {pixel_m:g} m: "
            "kilometres? Say what they are with site.height_unit: km or m"
        )
    if low < -11_000 or high > 12_000:
        raise RasterError(
            f"{name}: expected heights of the Moon, within -11 and 12 km, found {low:g} to {high:g} m "
            + (
                "(site.height_unit is km: are they metres?)"
                if unit == "km"
                else "(another unit or datum, or a missing value without a nodata tag?)"
            )
        )
    steepness = float(np.median(steps)) if steps.size > 64 else 0.0
    if steepness > _STEEPEST:
        raise RasterError(
            f"{name}: expected heights of the Moon in metres, found slopes of "
            f"{math.degrees(math.atan(steepness)):.0f} deg in the median on pixels of {pixel_m:g} m (another "
            "unit, or no heights?)"
        )
    return values, notes
