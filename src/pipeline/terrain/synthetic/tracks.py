"""Altimeter ground tracks over a polar tile, and the number of spots in each pixel.

The Lunar Orbiter Laser Altimeter fires 28 shots per second, 57 m apart on the ground; each has five spots:
one in the centre and four at 25 m from it, in a cross rotated by 26 degrees against the track (Smith et al.
2010, Space Sci. Rev. 150, 209). Tracks of polar orbits converge at the pole, so that coverage decreases with
colatitude; it is uneven, because tracks cluster and on the night side fewer of the five beams return.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPHERE_M = 1_737_400.0
SHOT_SPACING_M = 57.0
SPOT_RADIUS_M = 25.0
SPOT_ROTATION_DEG = 26.0
# Share of passes on the night side, and number of beams that return there (the contracting thermal
# blanket misaligns the optics).
NIGHT_SHARE = 0.5
NIGHT_BEAMS = 2
# Share of shots without any range.
LOST_SHARE = 0.05
# Standard deviation of a track's smallest distance from the pole, degrees: the orbit is not exactly polar.
POLE_DISTANCE_DEG = 1.0
# Passes cluster in longitude (orbit resonances, outages): relative variation of their density between bins,
# and number of bins. With these the share of patches above the published coverage is that of the real count
# map: about three quarters at 81 degrees south, nearly all from 85 degrees on.
BUNCHING = 0.3
BUNCHING_BINS = 720
# Spots processed at a time, which bounds the memory.
BLOCK_SPOTS = 2_000_000


def spot_count(
    size_px: int,
    pixel_m: float,
    centre_m: tuple[float, float],
    tracks: int,
    generator: np.random.Generator,
) -> NDArray[np.uint16]:
    """Count the altimeter's spots in each pixel of a square polar tile.

    A pass is a great circle. With ``a`` its point nearest to the pole and ``b`` its direction there (unit
    vectors), its points are ``a cos s + b sin s``; the map is the polar stereographic projection of the
    sphere, ``2 R (x, y)/(1 + z)``, true to scale at the pole.

    Parameters
    ----------
    size_px : int
        Side of the tile, pixels.
    pixel_m : float
        Pixel size, metres.
    centre_m : pair of float
        Map coordinates (x, y) of the tile's centre, metres.
    tracks : int
        Number of passes over the polar cap, at all longitudes.
    generator : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    array (size_px, size_px)
        Spots in each pixel; row 0 is the largest map y.
    """
    azimuth = _azimuths(tracks, generator)
    pole_distance = np.abs(generator.normal(0.0, np.radians(POLE_DISTANCE_DEG), tracks))
    phase = generator.uniform(0.0, 1.0, tracks)
    night = generator.random(tracks) < NIGHT_SHARE
    beam_order = np.argsort(generator.random((tracks, 5)), axis=1)
    half_diagonal = size_px * pixel_m / np.sqrt(2.0)
    # On the map a pass is nearly a straight line at this distance from the pole, to better than 2 km.
    nearest = 2 * SPHERE_M * np.tan(pole_distance / 2)
    across = np.abs(centre_m[0] * np.cos(azimuth) + centre_m[1] * np.sin(azimuth) - nearest)
    chosen = np.flatnonzero(across < half_diagonal + 3000.0)
    along = centre_m[1] * np.cos(azimuth) - centre_m[0] * np.sin(azimuth)
    shots = int(np.ceil(2.2 * (half_diagonal + 1000.0) / SHOT_SPACING_M))
    total = np.zeros(size_px * size_px, dtype=np.int64)
    step = max(1, BLOCK_SPOTS // (5 * shots))
    for start in range(0, len(chosen), step):
        passes = chosen[start : start + step]
        x, y = _shots(azimuth[passes], pole_distance[passes], phase[passes], along[passes], shots)
        spot_x, spot_y = _spots(x, y, azimuth[passes])
        returned = generator.random(x.shape) >= LOST_SHARE
        beams = np.where(night[passes, None], beam_order[passes] < NIGHT_BEAMS, True)
        column = np.floor((spot_x - centre_m[0]) / pixel_m + size_px / 2).astype(np.int64)
        row = np.floor((centre_m[1] - spot_y) / pixel_m + size_px / 2).astype(np.int64)
        hit = returned[:, :, None] & beams[:, None, :]
        hit &= (column >= 0) & (column < size_px) & (row >= 0) & (row < size_px)
        pixels, number = np.unique(row[hit] * size_px + column[hit], return_counts=True)
        total[pixels] += number
    limit = np.iinfo(np.uint16).max
    return np.minimum(total, limit).astype(np.uint16).reshape(size_px, size_px)


def _azimuths(tracks: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Azimuths, about the pole, of the passes' nearest points: random, with a density that varies by bins."""
    spread = np.sqrt(np.log1p(BUNCHING**2))
    density = np.exp(spread * generator.standard_normal(BUNCHING_BINS))
    cumulative = np.concatenate([[0.0], np.cumsum(density)]) / density.sum()
    place = np.interp(generator.random(tracks), cumulative, np.arange(BUNCHING_BINS + 1))
    return place * (2 * np.pi / BUNCHING_BINS)


def _shots(
    azimuth: NDArray[np.float64],
    pole_distance: NDArray[np.float64],
    phase: NDArray[np.float64],
    along_m: NDArray[np.float64],
    shots: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map coordinates of the shots of some passes near the tile, arrays (pass, shot)."""
    angle = SHOT_SPACING_M / SPHERE_M
    middle = np.rint(2 * np.arctan(along_m / (2 * SPHERE_M)) / angle)
    place = (middle[:, None] + np.arange(shots) - shots // 2 + phase[:, None]) * angle
    cosine, sine = np.cos(place), np.sin(place)
    out = np.sin(pole_distance)[:, None] * cosine
    scale = 2 * SPHERE_M / (1.0 + np.cos(pole_distance)[:, None] * cosine)
    east, north = np.cos(azimuth)[:, None], np.sin(azimuth)[:, None]
    return scale * (out * east - sine * north), scale * (out * north + sine * east)


def _spots(
    x: NDArray[np.float64], y: NDArray[np.float64], azimuth: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map coordinates of the five spots of each shot, arrays (pass, shot, spot)."""
    turn = np.radians(SPOT_ROTATION_DEG) + np.arange(4) * (np.pi / 2)
    direction = azimuth[:, None] + np.pi / 2 + turn[None, :]
    none = np.zeros((len(azimuth), 1))
    offset_x = np.concatenate([none, SPOT_RADIUS_M * np.cos(direction)], axis=1)
    offset_y = np.concatenate([none, SPOT_RADIUS_M * np.sin(direction)], axis=1)
    return x[:, :, None] + offset_x[:, None, :], y[:, :, None] + offset_y[:, None, :]
