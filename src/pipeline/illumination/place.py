"""Places of patches on the Moon, for Suns as seen from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Place:
    """A place on a polar map.

    Attributes
    ----------
    lon, lat : degrees east and north, body-fixed.
    map_lon : degrees east of the map's central meridian, in [0, 360): the rotation from the local frame to
        the map's. It differs from `lon` on maps whose central meridian is not 0.
    pole : +1 on the north polar map, -1 on the south polar one.
    """

    lon: float
    lat: float
    map_lon: float
    pole: int


def patch_places(table: Mapping[str, Any]) -> list[Place]:
    """Places of all patches of a patch store or shard.

    The longitude from the map's central meridian follows from the map coordinates only (Snyder 1987, eqs.
    20-16 and 20-17), so one table may hold patches of several maps.

    Parameters
    ----------
    table : per patch ``lon``, ``lat`` (degrees), ``x0``, ``y0`` (map metres, the pole at 0, 0) and ``pole``,
        each ``(patch,)`` with a ``values`` attribute.
    """
    lon, lat, x, y, pole = (np.asarray(table[name].values) for name in ("lon", "lat", "x0", "y0", "pole"))
    map_lon = np.degrees(np.arctan2(x, -pole * y)) % 360.0 % 360.0
    columns = lon.tolist(), lat.tolist(), map_lon.tolist(), pole.astype(int).tolist()
    return [Place(*row) for row in zip(*columns, strict=True)]


def places_by_id(patches: Mapping[str, Any]) -> dict[int, Place]:
    """Places of a patch store's patches, by patch id; `patches` as in `patch_places`, with ``id``."""
    return dict(zip(patches["id"].values.tolist(), patch_places(patches), strict=True))
