"""Codes of lunar CRSs in the registry of the International Astronomical Union.

A GeoTIFF keeps a CRS's parameters but not its code, and names of a CRS vary. CRSs are therefore compared
numerically: method, radius, centre, scale, false origin and unit are equal if both map the same points of the
sphere to the same coordinates.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.terrain.map_grid import LunarProjection, lunar_projection

_AUTHORITY = "IAU_2015"
# Codes of the Moon's CRSs: its NAIF number (301) times 100, and up.
_FIRST, _LAST = 30100, 30199
# Tolerance of equal coordinates, metres (or degrees), far below the precision of any map parameter.
_ALIKE = 1e-3
_LON, _LAT = np.meshgrid(np.linspace(-165, 165, 12), (-89.0, -70.0, -35.0, -5.0, 20.0, 55.0, 80.0, 90.0))


def iau_code(projection: LunarProjection) -> str | None:
    """Code of a CRS, such as ``IAU_2015:30135`` (south polar stereographic); None if none matches.

    Parameters
    ----------
    projection : of a map, or geographic coordinates.
    """
    points = _points(projection)
    for code, known, expected in _registry():
        same = known.geographic == projection.geographic
        if same and math.isclose(known.radius_m, projection.radius_m, abs_tol=_ALIKE):
            here = np.isfinite(expected)
            if np.array_equal(here, np.isfinite(points)) and np.allclose(
                points[here], expected[here], rtol=0, atol=_ALIKE
            ):
                return code
    return None


@lru_cache(maxsize=1)
def _registry() -> tuple[tuple[str, LunarProjection, NDArray[np.float64]], ...]:
    """Codes of the Moon's CRSs in PROJ's database, their projections, and coordinates of test points."""
    from pyproj.database import query_crs_info
    from pyproj.enums import PJType

    kinds = [PJType.GEOGRAPHIC_2D_CRS, PJType.PROJECTED_CRS]
    codes = [int(row.code) for row in query_crs_info(_AUTHORITY, kinds) if row.code.isdigit()]
    names = [f"{_AUTHORITY}:{code}" for code in sorted(codes) if _FIRST <= code <= _LAST]
    return tuple((name, lunar_projection(name), _points(lunar_projection(name))) for name in names)


def _points(projection: LunarProjection) -> NDArray[np.float64]:
    """Map coordinates (2, n) of test points all over the sphere; not finite outside the map's domain."""
    return np.array(projection.xy(_LON, _LAT)).reshape(2, -1)
