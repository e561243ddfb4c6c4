"""Outline of a map in longitude and latitude as GeoJSON (RFC 7946).

Rings are counterclockwise and split at the meridian of 180 deg; the outline of a map that contains a pole
extends from -180 to 180 deg and to the pole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.terrain.map_grid import MapGrid

Floats = NDArray[np.float64]

# Points per edge, joined by straight lines in longitude and latitude.
_POINTS = 33
# Points within this distance (degrees; 3 cm) of a pole are on it: PROJ rounds latitudes there to 2 cm.
_ON_POLE = 1e-6
# Largest longitude step between points beside a pole, degrees.
_STEP_DEG = 7.5
# Decimals of the written coordinates: 3 mm.
_DECIMALS = 7


def outline(grid: MapGrid) -> tuple[dict[str, Any], list[float]]:
    """Polygon of a map, or two if the meridian of 180 deg crosses it, and the bounding box.

    Parameters
    ----------
    grid : of the map.

    Returns
    -------
    geometry : of GeoJSON, degrees east and north.
    box : west, south, east, north, degrees; west > east if the map crosses the meridian of 180 deg.
    """
    rings = [np.round(ring, _DECIMALS) for ring in _rings(grid)]
    box = [
        float(rings[0][:, 0].min()), min(float(ring[:, 1].min()) for ring in rings),
        float(rings[-1][:, 0].max()), max(float(ring[:, 1].max()) for ring in rings),
    ]  # fmt: skip
    closed = [[[*map(float, point)] for point in (*ring, ring[0])] for ring in map(_left_handed, rings)]
    if len(closed) == 1:
        return {"type": "Polygon", "coordinates": closed}, box
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in closed]}, box


def _rings(grid: MapGrid) -> list[Floats]:
    """Rings (n, 2) of longitude and latitude, from west to east; the first point is not repeated."""
    ring = np.stack([np.asarray(v) for v in grid.lonlat(*_border(grid))], axis=1)
    on_pole = np.abs(ring[:, 1]) >= 90 - _ON_POLE
    if on_pole.any():
        # A pole has all longitudes: the ring reaches it along one meridian and leaves along another.
        pole = np.copysign(90.0, ring[on_pole][0, 1])
        first = int(np.argmax(~on_pole & np.roll(on_pole, 1)))
        beside = np.roll(ring, -first, axis=0)[: int((~on_pole).sum())]
        east, north = np.unwrap(beside[:, 0], period=360), beside[:, 1]
        ring = np.stack([[east[0], *east, east[-1]], [pole, *north, pole]], axis=1)
        return _cut(ring)
    east = np.unwrap([*ring[:, 0], ring[0, 0]], period=360)
    turn = east[-1] - east[0]
    ring[:, 0] = east[:-1]
    return _cut(ring) if abs(turn) < 180 else [_around_pole(ring if turn > 0 else ring[::-1], grid.pole)]


def _border(grid: MapGrid) -> tuple[Floats, Floats]:
    """Rows and columns of points around a map, clockwise, closer together beside a pole."""
    bottom, right = grid.height - 0.5, grid.width - 0.5
    rows, cols = np.linspace(-0.5, bottom, _POINTS), np.linspace(-0.5, right, _POINTS)
    fan = np.tan(np.radians(np.arange(-90 + _STEP_DEG, 90, _STEP_DEG)))
    for pole in (-90.0, 90.0):
        place = grid.projection.xy(0.0, pole)
        if np.isfinite(place).all():
            row, col = (float(v) for v in grid.rowcol(*place))
            for edge in (-0.5, right):
                rows = np.union1d(rows, row + abs(col - edge) * fan)
            for edge in (-0.5, bottom):
                cols = np.union1d(cols, col + abs(row - edge) * fan)
    rows, cols = (np.clip(at, -0.5, end) for at, end in ((rows, bottom), (cols, right)))
    rows, cols = np.unique(rows), np.unique(cols)
    down, along = rows[:-1], cols[:-1]
    back, up = cols[:0:-1], rows[:0:-1]
    return (
        np.concatenate([np.full(len(along), -0.5), down, np.full(len(back), bottom), up]),
        np.concatenate([along, np.full(len(down), right), back, np.full(len(up), -0.5)]),
    )


def _around_pole(ring: Floats, pole: int) -> Floats:
    """A ring around the pole (longitudes rise by 360 deg), cut at 180 deg and extended to the pole."""
    east = ring[:, 0] - 360 * np.floor((ring[0, 0] + 180) / 360)
    wide = np.append(east, east[0] + 360)
    first = int(np.argmax(wide >= 180))
    before, after = wide[first - 1], wide[first]
    share = (180 - before) / (after - before)
    north = np.append(ring[:, 1], ring[0, 1])
    seam = north[first - 1] * (1 - share) + north[first] * share
    east = np.concatenate([[-180], east[first:] - 360, east[:first], [180, 180, -180]])
    north = np.concatenate([[seam], ring[first:, 1], ring[:first, 1], [seam, 90 * pole, 90 * pole]])
    return np.stack([east, north], axis=1)


def _cut(ring: Floats) -> list[Floats]:
    """The ring, or its two parts on both sides of the meridian of 180 deg."""
    ring = ring.copy()
    ring[:, 0] -= 360 * np.floor((ring[:, 0].min() + 180 + 10**-_DECIMALS) / 360)
    if ring[:, 0].max() <= 180 + 10**-_DECIMALS:
        ring[:, 0] = np.clip(ring[:, 0], -180, 180)
        return [ring]
    west, east = _clipped(ring, 1.0), _clipped(ring, -1.0)
    return [west, east - (360, 0)]


def _clipped(ring: Floats, side: float) -> Floats:
    """The part of a ring west (1) or east (-1) of the meridian of 180 deg (Sutherland and Hodgman 1974)."""
    kept: list[Floats] = []
    for point, after in zip(ring, np.roll(ring, -1, axis=0)):
        inside, next_inside = (side * (180 - p[0]) >= 0 for p in (point, after))
        if inside:
            kept.append(point)
        if inside != next_inside:
            share = (180 - point[0]) / (after[0] - point[0])
            kept.append(point + share * (after - point))
    return np.array(kept)


def _left_handed(ring: Floats) -> Floats:
    """The ring in counterclockwise order, without repeated points."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    x, y = ring[:, 0] - ring[0, 0], ring[:, 1]
    return ring if np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0 else ring[::-1]
