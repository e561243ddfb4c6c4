"""Map grids in any lunar projection, for maps of a user's own site.

The pipeline's own terrain is polar stereographic (`pipeline.terrain.grid`). A user's site may be anywhere on
the Moon: its map has the projection of its DEM if that is conformal there, else a stereographic one about the
site.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from pipeline.terrain.grid import MOON_RADIUS_M, Grid, moon_crs

Floats = NDArray[np.float64]

_EXPECTED = "a CRS of the Moon (sphere of about 1737.4 km)"
# Step of finite differences for scale and direction, degrees: 30 m, far above the centimetres to which PROJ
# rounds some projections of a sphere (transverse Mercator at the equator).
_STEP_DEG = 1e-3
#: Largest relative difference of the scales along meridian and parallel of a map that counts as conformal.
CONFORMAL = 0.005


class LunarProjection:
    """Any lunar projection, or geographic coordinates in degrees.

    Parameters
    ----------
    wkt : any CRS that pyproj reads. name : file or key, for error messages.

    Attributes
    ----------
    wkt_text : WKT of the CRS. radius_m : of its sphere, metres. geographic : whether coordinates are degrees.
    metres : metres per unit of its coordinates; 1 for degrees.

    Raises
    ------
    GridError
        If it does not parse, or is not of the Moon.
    """

    def __init__(self, wkt: str, name: str = "crs") -> None:
        from pyproj import Proj

        crs, self.radius_m = moon_crs(wkt, name, _EXPECTED)
        self.wkt_text = _wkt(crs)
        self.geographic = bool(crs.is_geographic)
        self._project: Any = None if self.geographic else Proj(crs)
        # `Proj` uses the CRS's own unit.
        unit = 1.0 if self.geographic else float(crs.axis_info[0].unit_conversion_factor)
        self.metres = unit if crs.axis_info else 1.0

    @cached_property
    def circle(self) -> float | None:
        """Width of all longitudes, in the CRS's own units, where x depends on longitude only; else None."""
        if self._project is None:
            return 360.0
        lon = np.arange(360.0)
        (x, _), (other, _) = self.xy(lon, np.zeros(360)), self.xy(lon, np.full(360, 45.0))
        if not np.isfinite([x, other]).all():
            return None
        # One step crosses the seam.
        step, rounding = float(np.median(np.diff(x))), 1e-6 * self.radius_m / self.metres
        equal = np.abs(np.diff(x) - step) < rounding
        cylindrical = step > 0 and equal.sum() >= 358 and np.allclose(x, other, rtol=0, atol=rounding)
        return 360 * step if cylindrical else None

    def turned(self, x: ArrayLike, middle: float) -> Floats:
        """Coordinates x by whole turns of longitude, where there are any, within half a turn of `middle`."""
        x = np.asarray(x, dtype=np.float64)
        if self.circle is None:
            return x
        return np.asarray((x - middle + self.circle / 2) % self.circle - self.circle / 2 + middle)

    def in_metres(self) -> LunarProjection:
        """The same projection with coordinates in metres; geographic coordinates are unchanged."""
        if self.geographic or self.metres == 1:
            return self
        from pyproj import CRS

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a PROJ dictionary is all that is needed here
            parameters = CRS.from_user_input(self.wkt_text).to_dict()
        return lunar_projection(CRS.from_dict({**parameters, "units": "m"}).to_wkt())

    def lonlat(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """Longitude (east, -180 to 180) and latitude, degrees, of map points.

        Parameters
        ----------
        x, y : of one shape, which is that of the results; in the CRS's own units (degrees if geographic).
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if self._project is not None:
            x, y = self._project(x, y, inverse=True)
        return (np.asarray(x) + 180) % 360 - 180, np.asarray(y)

    def xy(self, lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
        """Map coordinates x and y, in the CRS's own units (degrees if geographic).

        Parameters
        ----------
        lon, lat : degrees east and north, of one shape, which is that of the results.
        """
        lon, lat = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
        if self._project is None:
            return lon, lat
        x, y = self._project(lon, lat)
        return np.asarray(x), np.asarray(y)

    def distortion(self, lon: float, lat: float) -> tuple[float, float, float]:
        """Scale and rotation of the map at a point (degrees).

        Returns
        -------
        map metres per true metre along the meridian and along the parallel, and the direction of true north
        on the map, degrees clockwise from map-up.
        """
        north, east = self._metre(lon, lat)
        along = math.hypot(*north)
        turn = math.degrees(math.atan2(*north))
        return along, along if east is None else math.hypot(*east), turn

    def conformal(self, lon: float, lat: float) -> bool:
        """Whether the map is nearly conformal at a point: equal scales, north and east at right angles."""
        if self.geographic:
            return False
        north, east = self._metre(lon, lat)
        if east is None:
            return True
        along, across = math.hypot(*north), math.hypot(*east)
        skew = (north[0] * east[0] + north[1] * east[1]) / (along * across)
        return abs(along / across - 1) <= CONFORMAL and abs(skew) <= CONFORMAL

    def _metre(self, lon: float, lat: float) -> tuple[tuple[float, float], tuple[float, float] | None]:
        """Map vectors (right, up; map metres) of one true metre to the north and to the east of a point.

        At a pole there is no parallel: None for the east.
        """
        step = math.radians(_STEP_DEG) * self.radius_m
        # Towards the equator, since latitudes end at the pole.
        sign = -1.0 if lat > 0 else 1.0
        north = self._step(lon, lat, 0.0, sign, step)
        ring = step * math.cos(math.radians(lat))
        if ring < 1e-3 * step:
            return north, None
        # One of the two steps may cross the seam of a cylindrical map, and be as wide as the map.
        both = (self._step(lon, lat, side, 0.0, ring) for side in (1.0, -1.0))
        return north, min(both, key=lambda step: math.hypot(*step))

    def _step(
        self, lon: float, lat: float, east: float, north: float, ground_m: float
    ) -> tuple[float, float]:
        """Map vector of a short step in longitude or latitude, in positive direction, per true metre."""
        (x0, y0) = self.xy(lon, lat)
        x1, y1 = self.xy(lon + east * _STEP_DEG, lat + north * _STEP_DEG)
        size = (east + north) * self.metres / ground_m
        return float(x1 - x0) * size, float(y1 - y0) * size


def _wkt(crs: Any) -> str:
    """WKT 1, as in files; WKT 2 if WKT 1 cannot express the CRS (Mercator projection of a sphere)."""
    from pyproj.exceptions import CRSError

    try:
        return str(crs.to_wkt("WKT1_GDAL"))
    except CRSError:
        return str(crs.to_wkt())


@lru_cache(maxsize=64)
def lunar_projection(wkt: str, name: str = "crs") -> LunarProjection:
    """`LunarProjection`, cached."""
    return LunarProjection(wkt, name)


def local_projection(lon: float, lat: float, radius_m: float = MOON_RADIUS_M) -> LunarProjection:
    """Stereographic projection about a point (degrees), true to scale there (Snyder 1987, p. 154)."""
    return lunar_projection(
        f"+proj=stere +lat_0={lat:.9f} +lon_0={lon:.9f} +k=1 +x_0=0 +y_0=0 +R={radius_m:.12g} +units=m "
        "+no_defs +type=crs"
    )


@dataclass(frozen=True)
class MapGrid(Grid):
    """A north-up grid of square pixels in any conformal lunar projection, metres."""

    @property
    def projection(self) -> LunarProjection:  # type: ignore[override]
        """The projection."""
        return lunar_projection(self.crs_wkt)

    @property
    def pole(self) -> int:
        """+1 on the northern hemisphere, -1 on the southern one."""
        return 1 if float(self.lonlat((self.height - 1) / 2, (self.width - 1) / 2)[1]) > 0 else -1

    def window(self, row: int, col: int, height: int, width: int) -> MapGrid:
        """The grid of a window (which may lie outside) whose top-left pixel is (row, col)."""
        x, y = self.origin
        px = self.pixel_m
        return MapGrid(self.crs_wkt, Affine(px, 0.0, x + col * px, 0.0, -px, y - row * px), width, height)

    def pixel_at(self, lon: ArrayLike, lat: ArrayLike) -> tuple[Floats, Floats]:
        """Fractional row and column of points (degrees), by whole turns of longitude nearest to the grid."""
        x, y = self.projection.xy(lon, lat)
        left, _, right, _ = self.bounds
        return self.rowcol(self.projection.turned(x, (left + right) / 2), y)

    def true_pixel_m(self, row: float, col: float) -> float:
        """Size of a pixel on the ground, metres: map metres over the projection's scale there."""
        along, across, _ = self.projection.distortion(*self._place(row, col))
        return self.pixel_m / math.sqrt(along * across)

    def north_deg(self, row: float, col: float) -> float:
        """Direction of true north on the map, degrees clockwise from map-up."""
        return self.projection.distortion(*self._place(row, col))[2]

    def _place(self, row: float, col: float) -> tuple[float, float]:
        lon, lat = self.lonlat(row, col)
        return float(lon), float(lat)

    def describe(self) -> str:
        """One phrase for messages."""
        lon, lat = self._place((self.height - 1) / 2, (self.width - 1) / 2)
        return (
            f"{self.height} x {self.width} pixels of {self.pixel_m:g} m about longitude {lon:.3f}, latitude "
            f"{lat:.3f}"
        )
