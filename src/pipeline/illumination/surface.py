"""What every visibility engine shares: the patch's window, the Moon's curvature and the Sun's disc."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# IAU reference radius of the Moon, the sphere that elevations are measured from, m.
MOON_RADIUS_M = 1_737_400.0

Window = tuple[int, int, int, int]


def window(inner: slice | Window, shape: tuple[int, ...]) -> Window:
    """``(top, left, height, width)`` of a patch in an array of the given shape.

    Parameters
    ----------
    inner : the window itself, or one slice (without step) for both axes.
    shape : ``(Y, X)`` of the array.

    Raises
    ------
    ValueError
        If the array is not two-dimensional or the window is empty or leaves the array.
    """
    if len(shape) != 2:
        raise ValueError(f"dem: expected two axes (Y, X), found shape {shape}")
    if isinstance(inner, slice):
        (top, bottom, _), (left, right, _) = inner.indices(shape[0]), inner.indices(shape[1])
        inner = (top, left, bottom - top, right - left)
    top, left, height, width = inner
    if min(top, left) < 0 or min(height, width) < 1 or top + height > shape[0] or left + width > shape[1]:
        raise ValueError(
            f"inner: expected a window inside {shape}, found (top, left, height, width) = {inner}"
        )
    return top, left, height, width


def bend(dem: NDArray[np.float64], pixel_m: float, inner: Window) -> NDArray[np.float64]:
    """Terrain as seen in the tangent frame of the patch's centre: lower by d^2 / 2R at the distance d.

    Parameters
    ----------
    dem : ``(Y, X)`` elevations above the sphere, m.
    pixel_m : pixel size, m.
    inner : ``(top, left, height, width)`` of the patch, from whose centre d is measured.
    """
    top, left, height, width = inner
    rows = (np.arange(dem.shape[0]) - (top + (height - 1) / 2)) * pixel_m
    columns = (np.arange(dem.shape[1]) - (left + (width - 1) / 2)) * pixel_m
    return dem - (rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * MOON_RADIUS_M)


def disc_directions(sun: ArrayLike, disc_deg: float, points: int) -> NDArray[np.float64]:
    """Directions to points of the Sun's disc that each stand for an equal part of its area.

    A sunflower pattern: the k-th point lies at radius sqrt((k + 1/2) / n) and turns by the golden angle
    (Vogel 1979).

    Parameters
    ----------
    sun : ``(D, 3)`` vectors towards the disc's centre.
    disc_deg : diameter of the disc, degrees.
    points : number n of points.

    Returns
    -------
    Unit vectors ``(D, n, 3)``.
    """
    centre = np.atleast_2d(np.asarray(sun, dtype=np.float64))
    centre = centre / np.linalg.norm(centre, axis=1, keepdims=True)
    # Two axes across the line of sight: one level, one towards the zenith.
    level = np.hypot(centre[:, 0], centre[:, 1])
    overhead = level < 1e-9
    safe = np.where(overhead, 1.0, level)
    side = np.stack([centre[:, 1] / safe, -centre[:, 0] / safe, np.zeros(len(centre))], axis=1)
    side[overhead] = (1.0, 0.0, 0.0)
    top = np.cross(side, centre)
    k = np.arange(points)
    radius = np.radians(disc_deg / 2) * np.sqrt((k + 0.5) / points)
    turn = k * np.pi * (3 - np.sqrt(5.0))
    offset = np.cos(turn)[:, None] * side[:, None, :] + np.sin(turn)[:, None] * top[:, None, :]
    return np.cos(radius)[:, None] * centre[:, None, :] + np.sin(radius)[:, None] * offset
