"""Map projections of the Moon: those accepted, and transformations between them.

Two lunar files may name their body, sphere and datum differently, which makes PROJ refuse a transformation
between them, or warn. Points are therefore transformed through longitude and latitude on the sphere: each
projection is used with its own geographic base only, and the two bases are treated as equal.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.terrain.grid import GridError
from pipeline.terrain.grid import moon_crs as lunar_crs

Points = tuple[NDArray[np.float64], NDArray[np.float64]]

_DEGREE = math.pi / 180


@lru_cache(maxsize=256)
def moon_crs(wkt: str, name: str) -> Any:
    """The pyproj CRS of a map of the Moon; `name` is the file for error messages.

    Raises
    ------
    GridError
        If the CRS does not parse, is neither projected nor geographic, is not on a sphere of the Moon's
        radius (within `RADIUS_TOLERANCE_M`), or has longitudes in other units or growing westwards.
    """
    expected = "a map of the Moon (a sphere of about 1737.4 km)"
    crs, _ = lunar_crs(wkt, name, expected)
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    if crs.is_bound:
        crs = crs.source_crs
    if not (crs.is_projected or crs.is_geographic):
        raise GridError(f"{name}: expected {expected}, found a CRS of type {crs.type_name!r}")
    base = crs.geodetic_crs
    if any(abs(axis.unit_conversion_factor - _DEGREE) > 1e-9 for axis in base.axis_info):
        raise GridError(f"{name}: expected longitudes in degrees, found {base.axis_info[0].unit_name}")
    if any(axis.direction.lower() == "west" for axis in base.axis_info):
        raise GridError(f"{name}: expected longitudes that grow eastwards, found ones that grow westwards")
    return crs


# PROJ's objects must not be shared between threads, so each thread has its own.
_OWN = threading.local()


def _transformer(wkt: str) -> Any:
    """Transformer from longitude and latitude, degrees, to map coordinates."""
    from pyproj import Transformer

    known = _OWN.__dict__.setdefault("transformers", {})
    if wkt not in known:
        crs = moon_crs(wkt, "map")
        known[wkt] = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    return known[wkt]


def from_lonlat(wkt: str, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Points:
    """Map coordinates, in the CRS's own units, of degrees east and north; infinite where there are none."""
    x, y = _transformer(wkt).transform(lon, lat)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def to_lonlat(wkt: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    """Degrees east and north of map coordinates; inverse of `from_lonlat`."""
    lon, lat = _transformer(wkt).transform(x, y, direction="INVERSE")
    return np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)


def metres_per_unit(wkt: str) -> float:
    """Metres in one unit of a projected CRS; for a geographic one, along a meridian."""
    crs = moon_crs(wkt, "map")
    if crs.is_geographic:
        return crs.ellipsoid.semi_major_metre * _DEGREE
    return float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0


@lru_cache(maxsize=256)
def period(wkt: str) -> float | None:
    """Period of a map's x, in the CRS's units, after 360 degrees of longitude; None if it has none.

    Longitudes and cylindrical projections are periodic: 200 and -160 degrees are the same meridian, and files
    use either.
    """
    crs = moon_crs(wkt, "map")
    if crs.is_geographic:
        return 360.0
    method = crs.coordinate_operation.method_name.lower() if crs.coordinate_operation else ""
    if "transverse" in method or "oblique" in method:
        return None
    if not any(
        word in method for word in ("equidistant cyl", "equirect", "mercator", "plate", "cylindrical")
    ):
        return None
    lon0 = 0.0
    for parameter in crs.coordinate_operation.params:
        if parameter.name.lower() in ("longitude of natural origin", "longitude of false origin"):
            lon0 = float(parameter.value)
    lon, lat = np.array([lon0, lon0 + 90.0]), np.zeros(2)
    x, _ = from_lonlat(wkt, lon, lat)
    return 4.0 * abs(float(x[1] - x[0]))
