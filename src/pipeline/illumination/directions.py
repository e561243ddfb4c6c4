"""Directions to the Sun: the published sets, Sun arcs, and their coordinate frames.

The **map frame** has x to the map's right, y up on the map (against the row index) and z up. Azimuths are
degrees clockwise from map-up towards map-right, and a unit vector towards the Sun is
``(cos el sin az, cos el cos az, sin el)``.

The published system (Repasky et al. 2026) passes its azimuths to a renderer that reads them clockwise from
map-up (``illumination.azimuth: up``). Its choice of images along a Sun arc reads the same numbers
counter-clockwise from x, which mirrors the map on its diagonal: its longitude ``lon`` lights patches as
longitude ``lon - 90`` of the northern map does. Over all longitudes, the two distributions are the same.
This project's arcs are those of the map. Read counter-clockwise from map-right (``right``), 24 of the 360
fixed directions differ: the rings at 60 and 85 degrees, whose steps do not divide 90.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.illumination.place import Place

if TYPE_CHECKING:
    from pipeline.config.arcs import ArcDraw

Floats = NDArray[np.float64]
#: Where the azimuths of the fixed and the Fibonacci directions count from: clockwise from map-up, as
#: published, or counter-clockwise from map-right.
Azimuth = Literal["up", "right"]
AZIMUTHS: tuple[Azimuth, ...] = ("right", "up")

# (elevation, step in azimuth), degrees: 288 low directions and 72 high ones.
_RINGS = ((5, 5), (10, 5), (20, 5), (30, 5), (45, 10), (60, 20), (75, 30), (85, 60))
_ARC_STEPS = 360
_MAX_PLACES = 1000


class NoUsableDirectionError(ValueError):
    """No fixed direction that lights the patch lies near the Sun arc of a place."""


def vectors(azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
    """Unit vectors towards the Sun in the map frame.

    Parameters
    ----------
    azimuth_deg, elevation_deg : broadcastable, shape ``(...)``; degrees, azimuth clockwise from map-up.

    Returns
    -------
    Array of shape ``(..., 3)``.
    """
    azimuth, elevation = np.broadcast_arrays(np.radians(azimuth_deg), np.radians(elevation_deg))
    level = np.cos(elevation)
    return np.stack([level * np.sin(azimuth), level * np.cos(azimuth), np.sin(elevation)], axis=-1)


def azimuth_elevation(sun: ArrayLike) -> tuple[Floats, Floats]:
    """Azimuth in [0, 360) and elevation in [-90, 90], degrees, of vectors ``(..., 3)`` of any length."""
    x, y, z = np.moveaxis(np.asarray(sun, dtype=np.float64), -1, 0)
    # A tiny negative angle rounds up to 360 under the modulus, which is not in [0, 360).
    azimuth = np.degrees(np.arctan2(x, y)) % 360.0 % 360.0
    return azimuth, np.degrees(np.arctan2(z, np.hypot(x, y)))


def local_to_map_azimuth(azimuth_deg: ArrayLike, lon_deg: ArrayLike, pole: Literal[1, -1]) -> Floats:
    """Map azimuth of a direction given clockwise from true north at a longitude.

    In polar stereographic coordinates with central meridian 0, true north at longitude lon points to map
    azimuth ``-lon`` on the northern map and ``+lon`` on the southern one (Snyder 1987, eq. 21-5 to 21-12);
    east is clockwise from north on both.

    Parameters
    ----------
    azimuth_deg : degrees clockwise from true north.
    lon_deg : longitude east of the map's central meridian, degrees.
    pole : +1 for the north polar map, -1 for the south polar map.
    """
    return (np.asarray(azimuth_deg, dtype=np.float64) - pole * np.asarray(lon_deg, dtype=np.float64)) % 360.0


def _clockwise(azimuth_deg: ArrayLike, azimuth: Azimuth) -> Floats:
    """Azimuths clockwise from map-up, degrees."""
    given = np.asarray(azimuth_deg, dtype=np.float64)
    return given if azimuth == "up" else 90.0 - given


def fixed_directions(azimuth: Azimuth = "right") -> Floats:
    """The 360 published directions, unit vectors ``(360, 3)`` in the map frame.

    Elevations 5, 10, 20 and 30 degrees at every 5 degrees of azimuth, then 45 / 60 / 75 / 85 degrees at
    every 10 / 20 / 30 / 60 degrees. Within a ring the azimuth rises from 0.

    Parameters
    ----------
    azimuth : where it counts from.
    """
    rings = [vectors(_clockwise(np.arange(0.0, 360.0, step), azimuth), elev) for elev, step in _RINGS]
    return np.concatenate(rings)


@cache
def _stored(azimuth: Azimuth) -> tuple[Floats, NDArray[np.float32]]:
    exact = fixed_directions(azimuth)
    exact.setflags(write=False)
    return exact, exact.astype(np.float32)


def exact_directions(stored: ArrayLike) -> Floats:
    """The double-precision values of the fixed directions that a store holds in single precision.

    Parameters
    ----------
    stored : ``(360, 3)``, array ``fixed/sun`` of a visibility store or shard.

    Raises
    ------
    ValueError
        If they are no set of fixed directions.
    """
    given = np.asarray(stored, dtype=np.float32)
    for azimuth in AZIMUTHS:
        exact, single = _stored(azimuth)
        if np.array_equal(given, single):
            return exact
    raise ValueError(
        f"fixed/sun: expected the fixed directions, azimuths from up or from right, found {given.shape[0]} "
        "others"
    )


def fibonacci_directions(
    n: int, jitter_deg: float, rng: np.random.Generator, azimuth: Azimuth = "right"
) -> tuple[Floats, NDArray[np.bool_]]:
    """Directions spread evenly over the upper hemisphere, jittered.

    Azimuth ``360 frac(i (sqrt5 - 1) / 2)`` and elevation ``asin(1 - i / n)`` for i = 0..n-1, each
    plus normal noise. A direction past the zenith lies on the other side of it (the elevation is reflected
    at 90 degrees and the azimuth turned by 180: the same vector); one below the horizon is kept as a row
    but marked absent.

    Parameters
    ----------
    n : number of directions (published 30).
    jitter_deg : standard deviation of the noise of azimuth and elevation, degrees (published 3).
    rng : source of the noise.
    azimuth : where the azimuth counts from.

    Returns
    -------
    sun : unit vectors ``(n, 3)`` in the map frame.
    present : ``(n,)``, False where the direction lies below the horizon.
    """
    index = np.arange(n)
    turn = 360.0 * (index * (np.sqrt(5.0) - 1.0) / 2.0 % 1.0)
    elevation = np.degrees(np.arcsin(1.0 - index / n))
    noise = rng.normal(0.0, 1.0, (n, 2)) * jitter_deg
    sun = vectors(_clockwise(turn + noise[:, 0], azimuth), elevation + noise[:, 1])
    return sun, sun[:, 2] >= 0.0


def sun_arc(lon_deg: float, lat_deg: float, declination_deg: float = 0.0, pole: int | None = None) -> Floats:
    """The Sun's daily path above the horizon of a place, in steps of one degree of hour angle.

    The circle ``(cos a, sin a, 0)``, x local east and y local north, is turned about x by ``90 - lat`` and
    about z by the longitude, as polar stereographic maps turn. A declination shifts it along the Moon's axis.
    For a northern latitude this gives vectors in the north polar map frame; for a southern one, in the south
    polar map frame.

    Parameters
    ----------
    lon_deg, lat_deg : place, degrees; the longitude is east of the map's central meridian.
    declination_deg : the Sun's declination (published 0; at most 1.59 on the Moon), degrees.
    pole : +1 or -1 for the north or south polar map; None to go by the sign of the latitude.

    Returns
    -------
    Unit vectors ``(m, 3)``, m from 0 (the Sun never rises) to 360.
    """
    angle = np.radians(np.arange(_ARC_STEPS) * (360.0 / _ARC_STEPS))
    colatitude, declination = np.radians(90.0 - lat_deg), np.radians(declination_deg)
    # East, north and up of the place; the celestial pole has the latitude's elevation in the north.
    x = np.cos(declination) * np.cos(angle)
    y = np.cos(declination) * np.sin(angle) * np.cos(colatitude) + np.sin(declination) * np.sin(colatitude)
    z = -np.cos(declination) * np.sin(angle) * np.sin(colatitude) + np.sin(declination) * np.cos(colatitude)
    northern = lat_deg >= 0 if pole is None else pole > 0
    turn = np.radians(lon_deg if northern else -lon_deg)
    arc = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), z], axis=-1)
    # Rounding must not lift a Sun on the horizon above it (lat 90, declination 0).
    return arc[z > 1e-12]


def near_suns(suns: Floats, tolerance: float, directions: ArrayLike) -> NDArray[np.int64]:
    """Indices of the directions whose chord distance to one of the Suns is below a tolerance.

    Parameters
    ----------
    suns : unit vectors ``(m, 3)``, m >= 0. directions : unit vectors ``(n, 3)`` in the same frame.
    tolerance : chord length on the unit sphere (published 0.1).

    Returns
    -------
    Ascending indices into `directions`.
    """
    if not len(suns):
        return np.zeros(0, dtype=np.int64)
    # |a - b|^2 = 2 - 2 a.b for unit vectors.
    distance2 = 2.0 - 2.0 * (np.asarray(directions, dtype=np.float64) @ suns.T).max(axis=1)
    return np.flatnonzero(distance2 < tolerance**2)


def draw_arc_set(
    draw: ArcDraw,
    tolerance: float,
    rng: np.random.Generator,
    lit_any: NDArray[np.bool_] | None = None,
    place: Place | None = None,
    suns: Floats | None = None,
    directions: Floats | None = None,
) -> tuple[float, float, NDArray[np.int64]]:
    """Draw a place (or take the patch's own), a declination, and a set of images along the Sun arc there.

    An assumed place is uniform in the ranges of `draw`, and so is the declination; both are drawn again while
    no direction is usable. A declination whose range is one number uses no random number. The number of
    images is a uniform integer; the images are drawn with replacement.

    Parameters
    ----------
    draw : kind of place; ranges of latitude, longitude, declination (degrees) and number of images.
    tolerance : see `near_suns`.
    rng : source of the draw.
    lit_any : ``(360,)``, False for the fixed directions that leave the whole patch dark; these are left out.
    place : the patch's own place; not used where ``draw.place`` is ``assumed``.
    suns : unit vectors ``(m, 3)``, map frame: the Suns visible there, where ``draw.place`` is ``ephemeris``.
    directions : the fixed directions; None for those of `fixed_directions`.

    Returns
    -------
    Longitude east of the map's central meridian and latitude (degrees), and indices ``(n,)`` into
    `fixed_directions`.

    Raises
    ------
    NoUsableDirectionError
        If a thousand draws in a row have no usable direction, or a place that is not drawn has none.
    ValueError
        If `place` is needed and not given.
    """
    if draw.place == "assumed":
        place = None
    elif place is None:
        raise ValueError(f"place: {draw.place}: expected the patch's own place, found none")
    if directions is None:
        directions = fixed_directions()
    fixed = draw.declination.low == draw.declination.high
    for _ in range(1 if place is not None and (fixed or suns is not None) else _MAX_PLACES):
        if place is None:
            lon = float(rng.uniform(draw.longitude.low, draw.longitude.high))
            lat = float(rng.uniform(draw.latitude.low, draw.latitude.high))
        else:
            lon, lat = place.map_lon, place.lat
        arc = suns
        if arc is None:
            low, high = draw.declination.low, draw.declination.high
            declination = low if fixed else float(rng.uniform(low, high))
            arc = sun_arc(lon, lat, declination, place.pole if place else None)
        usable = near_suns(arc, tolerance, directions)
        if lit_any is not None:
            usable = usable[lit_any[usable]]
        if len(usable):
            count = int(rng.integers(int(draw.images.low), int(draw.images.high) + 1))
            return lon, lat, rng.choice(usable, size=count, replace=True)
    raise NoUsableDirectionError(
        _where(draw, place, suns)
        + f" and arcs.tolerance = {tolerance:g}; expected at least one"
        + ("" if lit_any is None else f" ({int(lit_any.sum())} of {len(lit_any)} directions light the patch)")
    )


def _where(draw: ArcDraw, place: Place | None, suns: Floats | None) -> str:
    """Where no direction was usable, for an error message."""
    if place is None:
        return (
            f"no usable fixed direction in {_MAX_PLACES} places drawn with arcs latitude "
            f"[{draw.latitude.low:g}, {draw.latitude.high:g}], longitude [{draw.longitude.low:g}, "
            f"{draw.longitude.high:g}]"
        )
    where = f"lon {place.lon:.4f}, lat {place.lat:.4f}"
    own = f"no usable fixed direction at the patch's own place, {where}, with "
    if suns is not None:
        return own + f"the ephemeris's {len(suns)} Suns above the horizon"
    return own + f"declination [{draw.declination.low:g}, {draw.declination.high:g}]"
