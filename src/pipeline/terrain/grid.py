"""Map grids: positions of the pixels of a lunar polar raster, in metres from the pole.

Every grid is converted to one canonical form, a polar stereographic plane in metres with the pole at (0, 0),
so that files which describe the same grid differently (names, units, false origins) share one lattice.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

MOON_RADIUS_M = 1737400.0
RADIUS_TOLERANCE_M = 1000.0

# Smallest pixel size, metres (LOLA's finest is 5 m, that of NAC DEMs about 1 m): coordinates of a "metre"
# grid with smaller pixels must be in kilometres.
FINEST_PIXEL_M = 0.5


class RasterError(ValueError):
    """A raster file that cannot be used; the message names the file, and what was found and expected."""


class GridError(RasterError):
    """A raster whose map grid is not supported."""


@dataclass(frozen=True)
class Projection:
    """Spherical polar stereographic projection (Snyder 1987, eqs. 21-5 to 21-12, at the pole).

    Attributes
    ----------
    pole : +1 north, -1 south.
    lon0 : longitude of origin, degrees east: the meridian that points down (north) or up (south).
    radius_m : radius of the sphere, metres.
    scale : scale factor at the pole.
    """

    pole: int
    lon0: float
    radius_m: float
    scale: float

    def wkt(self) -> str:
        """WKT 1 in metres with false origin 0: equal projections give equal text."""
        side, axis = ("North", "SOUTH") if self.pole > 0 else ("South", "NORTH")
        sphere = "Moon (2015) - Sphere"
        return (
            f'PROJCS["{sphere} / Ocentric / {side} Polar",GEOGCS["{sphere} / Ocentric",'
            f'DATUM["{sphere}",SPHEROID["{sphere}",{self.radius_m:.12g},0]],'
            'PRIMEM["Reference Meridian",0],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]]],'
            f'PROJECTION["Polar_Stereographic"],PARAMETER["latitude_of_origin",{90 * self.pole}],'
            f'PARAMETER["central_meridian",{self.lon0:.12g}],PARAMETER["scale_factor",{self.scale:.12g}],'
            'PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1],'
            f'AXIS["Easting",{axis}],AXIS["Northing",{axis}]]'
        )

    def lonlat(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude (east, -180 to 180) and latitude, degrees, of map points in metres; shapes broadcast."""
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        rho = np.hypot(x, y)
        lat = self.pole * (90 - 2 * np.degrees(np.arctan(rho / (2 * self.radius_m * self.scale))))
        lon = self.lon0 + np.degrees(np.arctan2(x, -self.pole * y))
        return (lon + 180) % 360 - 180, lat

    def xy(self, lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Map coordinates x and y, metres, of longitudes and latitudes in degrees; shapes broadcast."""
        turn = np.radians(np.asarray(lon, dtype=np.float64) - self.lon0)
        colatitude = np.radians(90 - self.pole * np.asarray(lat, dtype=np.float64))
        rho = 2 * self.radius_m * self.scale * np.tan(colatitude / 2)
        return rho * np.sin(turn), -self.pole * rho * np.cos(turn)


@dataclass(frozen=True)
class Grid:
    """A north-up square-pixel raster grid on a lunar polar stereographic plane.

    Attributes
    ----------
    crs_wkt : canonical WKT of the projection (metres, pole at 0, 0).
    transform : affine from (column, row) of pixel CORNERS to metres.
    width, height : pixels.
    metres_per_unit : metres in one unit of the file's own coordinates (1000 for kilometres).
    """

    crs_wkt: str
    transform: Affine
    width: int
    height: int
    metres_per_unit: float = 1.0

    @property
    def pixel_m(self) -> float:
        """Pixel size, metres."""
        return float(self.transform.a)

    @property
    def origin(self) -> tuple[float, float]:
        """Map coordinates of the top-left corner of the top-left pixel, metres."""
        return float(self.transform.c), float(self.transform.f)

    @property
    def projection(self) -> Projection:
        """The projection's parameters."""
        return parse_projection(self.crs_wkt, "grid")[0]

    @property
    def pole(self) -> int:
        """+1 for a north-polar grid, -1 for a south-polar one."""
        return self.projection.pole

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top, metres."""
        x, y = self.origin
        return x, y - self.height * self.pixel_m, x + self.width * self.pixel_m, y

    def xy(self, row: ArrayLike, col: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Map coordinates, metres, of the CENTRES of pixels: x of the shape of `col`, y of that of `row`.

        Rows and columns may be fractional and of any shape.
        """
        x, y = self.origin
        rows, cols = np.asarray(row, dtype=np.float64), np.asarray(col, dtype=np.float64)
        return x + (cols + 0.5) * self.pixel_m, y - (rows + 0.5) * self.pixel_m

    def rowcol(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Inverse of `xy`: fractional row and column, whole numbers at pixel centres.

        Rows have the shape of `y`, columns that of `x`, which are in metres.
        """
        x0, y0 = self.origin
        xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        return (y0 - ys) / self.pixel_m - 0.5, (xs - x0) / self.pixel_m - 0.5

    def lonlat(self, row: ArrayLike, col: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude (east, -180 to 180) and latitude, degrees, of the centres of pixels.

        Rows and columns may be fractional, and have one shape, which is that of the results.
        """
        return self.projection.lonlat(*self.xy(row, col))

    def window(self, row: int, col: int, height: int, width: int) -> Grid:
        """The grid of a window (which may lie outside) whose top-left pixel is (row, col)."""
        x, y = self.origin
        px = self.pixel_m
        transform = Affine(px, 0.0, x + col * px, 0.0, -px, y - row * px)
        return Grid(self.crs_wkt, transform, width, height, self.metres_per_unit)

    def lattice_offset(self, other: Grid) -> tuple[int, int] | None:
        """Row and column of `other`'s top-left pixel on this grid's lattice; None on another lattice.

        One lattice means one projection, one pixel size, and origins a whole number of pixels apart
        (to a thousandth of a pixel).
        """
        if self.crs_wkt != other.crs_wkt or not math.isclose(self.pixel_m, other.pixel_m, rel_tol=1e-9):
            return None
        row = (self.origin[1] - other.origin[1]) / self.pixel_m
        col = (other.origin[0] - self.origin[0]) / self.pixel_m
        if abs(row - round(row)) > 1e-3 or abs(col - round(col)) > 1e-3:
            return None
        return round(row), round(col)

    def same_as(self, other: Grid) -> bool:
        """Whether both grids have the same pixels."""
        same_shape = (self.height, self.width) == (other.height, other.width)
        return same_shape and self.lattice_offset(other) == (0, 0)

    def describe(self) -> str:
        """One phrase for error messages."""
        side = "north" if self.pole > 0 else "south"
        return (
            f"{self.height} x {self.width} pixels of {self.pixel_m:g} m, {side} polar, longitude of origin "
            f"{self.projection.lon0:g}, top-left corner ({self.origin[0]:.1f}, {self.origin[1]:.1f}) m"
        )

    def to_json(self) -> dict[str, Any]:
        """The grid as JSON values, from which `from_json` makes an equal one."""
        return {**vars(self), "transform": [float(v) for v in self.transform[:6]]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Grid:
        """Make a grid from the output of `to_json`."""
        return cls(**{**value, "transform": Affine(*value["transform"])})


@lru_cache(maxsize=256)
def parse_projection(wkt: str, name: str) -> tuple[Projection, float, float, float]:
    """Read a CRS; `name` is the file for error messages.

    Returns
    -------
    projection, metres per unit of the CRS's axes, false easting, false northing (metres).

    Raises
    ------
    GridError
        If the CRS is not a lunar, spherical, polar stereographic one.
    """
    expected = "a lunar polar stereographic CRS (sphere of about 1737.4 km)"
    crs, major = moon_crs(wkt, name, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a PROJ dictionary is all that is needed here
        proj = crs.to_dict() if crs.is_projected else {}
    lat0 = float(proj.get("lat_0", 0.0))
    if proj.get("proj") != "stere" or abs(abs(lat0) - 90) > 1e-9:
        kind = proj.get("proj") or ("geographic" if crs.is_geographic else "unknown")
        raise GridError(f"{name}: expected {expected}, found projection {kind!r} about latitude {lat0:g}")
    scale = float(proj.get("k", proj.get("k_0", 1.0)))
    if "lat_ts" in proj:
        # True scale at a parallel instead of a factor at the pole; on a sphere (Snyder 21-7).
        scale = (1 + math.sin(math.radians(abs(float(proj["lat_ts"]))))) / 2
    centre = whole_longitude(float(proj.get("lon_0", 0.0)))
    projection = Projection(1 if lat0 > 0 else -1, centre, major, scale)
    unit = float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0
    # PROJ keeps false origins in metres whatever the axes' unit.
    return projection, unit, float(proj.get("x_0", 0.0)), float(proj.get("y_0", 0.0))


def whole_longitude(degrees: float) -> float:
    """A longitude in [-180, 180), so that projections which differ by a turn are the same one."""
    return (degrees + 180.0) % 360.0 - 180.0


def moon_crs(wkt: str, name: str, expected: str) -> tuple[Any, float]:
    """A CRS of the Moon's sphere, and the sphere's radius in metres.

    Parameters
    ----------
    wkt : any CRS that pyproj reads. name, expected : file and its expected CRS, for error messages.

    Raises
    ------
    GridError
        If it does not parse, or its body is not the Moon's sphere.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_user_input(wkt)
    except CRSError as error:
        raise GridError(f"{name}: expected {expected}, found a CRS that does not parse ({error})") from None
    body = crs.ellipsoid
    major, minor = (body.semi_major_metre, body.semi_minor_metre) if body else (math.nan, math.nan)
    if not (abs(major - MOON_RADIUS_M) <= RADIUS_TOLERANCE_M and abs(major - minor) < 1.0):
        hint = (
            " (kilometres instead of metres?)"
            if abs(major * 1e3 - MOON_RADIUS_M) <= RADIUS_TOLERANCE_M
            else ""
        )
        raise GridError(
            f"{name}: expected {expected}, found radii {major / 1e3:g} and {minor / 1e3:g} km{hint}"
        )
    return crs, major


def make_grid(name: str, wkt: str | None, transform: Affine, width: int, height: int) -> Grid:
    """Check a file's CRS and transform and convert them to the canonical form.

    The CRS's linear unit says whether coordinates are metres or kilometres. If that gives pixels smaller
    than `FINEST_PIXEL_M`, they are taken as kilometres: the northern LOLA product of 20 m has a pixel size of
    0.02 "metres". Heights are not changed: they are in metres in that product, too.

    Parameters
    ----------
    name : file, for error messages.
    wkt : the file's CRS, or None if it has none.
    transform : (column, row) of pixel corners to the file's own units.
    width, height : pixels.

    Raises
    ------
    GridError
        If the CRS is missing or not lunar polar stereographic, if pixels are not square and north-up,
        or if the grid extends beyond one hemisphere.
    """
    if not wkt:
        raise GridError(f"{name}: expected a lunar polar stereographic CRS, found none")
    projection, unit, false_x, false_y = parse_projection(wkt, name)
    if transform.b or transform.d:
        raise GridError(
            f"{name}: expected a north-up grid, found a rotated one ({transform.b:g}, {transform.d:g})"
        )
    if transform.a <= 0 or transform.e >= 0:
        raise GridError(
            f"{name}: expected columns to the right and rows downwards, found pixel steps "
            f"({transform.a:g}, {transform.e:g})"
        )
    if not math.isclose(transform.a, -transform.e, rel_tol=1e-6):
        raise GridError(f"{name}: expected square pixels, found {transform.a:g} x {-transform.e:g} units")
    if transform.a * unit < FINEST_PIXEL_M:
        unit *= 1000.0
    pixel = _snap(transform.a * unit, transform.a * unit * 1e-6)
    left = _snap(transform.c * unit - false_x, pixel * 1e-3)
    top = _snap(transform.f * unit - false_y, pixel * 1e-3)
    canonical = Affine(pixel, 0.0, left, 0.0, -pixel, top)
    grid = Grid(projection.wkt(), canonical, int(width), int(height), float(unit))
    reach = max(abs(v) for v in grid.bounds)
    limit = 2 * projection.radius_m * projection.scale
    if not reach <= 1.01 * limit:  # a raster of a hemisphere may have a margin
        raise GridError(
            f"{name}: expected map coordinates within {limit / 1e3:.0f} km of the pole (one hemisphere), "
            f"found {reach / 1e3:.0f} km with {unit:g} m per unit and pixels of {pixel:g} m"
        )
    return grid


def _snap(value: float, tolerance: float) -> float:
    """Round to a whole millimetre if this changes the value by less than the rounding errors of its file."""
    rounded = round(value, 3)
    return rounded if abs(rounded - value) <= tolerance else value


def check_pixel(name: str, grid: Grid, expected_m: float | None) -> None:
    """Check a grid's pixel size against ``inputs.pixel_m`` (None accepts any).

    Raises
    ------
    GridError
        If they differ by more than a part in a million.
    """
    if expected_m is not None and not math.isclose(grid.pixel_m, expected_m, rel_tol=1e-6):
        raise GridError(
            f"{name}: expected pixels of {expected_m:g} m (inputs.pixel_m), found {grid.pixel_m:g} m"
        )
