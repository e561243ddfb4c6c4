"""Common parts of the visibility engines: checks of their input, the Moon's curvature and the Sun's disc."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# IAU reference radius of the Moon, from which elevations are measured, m.
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


def sun_vectors(sun: ArrayLike, dtype: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
    """Vectors towards the Sun as an array ``(D, 3)``.

    Parameters
    ----------
    sun : ``(D, 3)``, or one vector ``(3,)``, of any length.
    dtype : of the result, in which the vectors must be finite and other than zero.

    Raises
    ------
    ValueError
        If they are of another shape, or one is zero or not finite.
    """
    with np.errstate(over="ignore"):  # overflow is reported below
        vectors = np.atleast_2d(np.asarray(sun, dtype=dtype))
    if vectors.ndim != 2 or vectors.shape[1] != 3:
        raise ValueError(f"sun: expected vectors of shape (D, 3), found shape {vectors.shape}")
    good = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not good.all():
        raise ValueError(f"sun: expected finite vectors other than zero, found {vectors[~good][0].tolist()}")
    return vectors


def check_disc(disc_deg: float, limb_darkening: float) -> None:
    """Check the parameters of the Sun's disc.

    Raises
    ------
    ValueError
        If `disc_deg` is not in (0, 90), or `limb_darkening` not in [0, 1].
    """
    if not 0 <= limb_darkening <= 1:
        raise ValueError(f"limb_darkening: expected a share within [0, 1], found {limb_darkening}")
    if not 0 < disc_deg < 90:
        raise ValueError(f"disc_deg: expected a diameter within (0, 90) degrees, found {disc_deg}")


def bend(dem: NDArray[np.float64], pixel_m: float, inner: Window) -> NDArray[np.float64]:
    """Terrain ``(Y, X)``, m, in the tangent frame of the patch's centre: lower by d^2 / 2R at distance d.

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


def disc_radii(points: int, limb_darkening: float = 0.0) -> NDArray[np.float64]:
    """Radii (disc radius 1) of points that each stand for an equal part of a disc's light.

    The light within the k-th point's radius is the fraction (k + 1/2) / n of the whole. For the
    linear law I(mu) = 1 - u (1 - mu) with mu = sqrt(1 - r^2) the light within r is
    pi ((1 - u) (1 - mu^2) + 2 u / 3 (1 - mu^3)); a uniform disc gives r = sqrt((k + 1/2) / n).

    Parameters
    ----------
    points : number n of points.
    limb_darkening : u, in [0, 1].

    Raises
    ------
    ValueError
        If `limb_darkening` is not in [0, 1].
    """
    if not 0 <= limb_darkening <= 1:
        raise ValueError(f"limb_darkening: expected a share within [0, 1], found {limb_darkening}")
    share = (np.arange(points) + 0.5) / points
    if limb_darkening == 0:
        return np.sqrt(share)
    # The light beyond r, q(mu) = (1 - u) mu^2 + 2 u / 3 mu^3, grows with mu: bisection.
    beyond = (1 - share) * (1 - limb_darkening / 3)
    low, high = np.zeros(points), np.ones(points)
    for _ in range(60):
        middle = (low + high) / 2
        over = (1 - limb_darkening) * middle**2 + 2 * limb_darkening / 3 * middle**3 > beyond
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return np.sqrt(1 - low**2)


def disc_directions(
    sun: ArrayLike, disc_deg: float, points: int, limb_darkening: float = 0.0
) -> NDArray[np.float64]:
    """Directions to points of the Sun's disc that each stand for an equal part of its light.

    A sunflower pattern: the k-th point lies at the k-th radius of `disc_radii`, turned by k golden angles
    (Vogel 1979).

    Parameters
    ----------
    sun : ``(D, 3)`` vectors towards the disc's centre.
    disc_deg : diameter of the disc, degrees.
    points : number n of points.
    limb_darkening : u of the linear law; 0 for a uniform disc.

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
    radius = np.radians(disc_deg / 2) * disc_radii(points, limb_darkening)
    turn = k * np.pi * (3 - np.sqrt(5.0))
    offset = np.cos(turn)[:, None] * side[:, None, :] + np.sin(turn)[:, None] * top[:, None, :]
    return np.cos(radius)[:, None] * centre[:, None, :] + np.sin(radius)[:, None] * offset
