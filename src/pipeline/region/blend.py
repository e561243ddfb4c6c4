"""Blending the clones of overlapping windows into one map with its uncertainty.

Published weights (Repasky et al. 2026): the grassfire distance of a pixel from the window's border, 1 on the
border and at most `blend_px`, squared, then blurred with a Gaussian that mirrors the window at its border.
ASP's ``dem_mosaic`` takes the same steps in another order: distance, clamp, blur (sigma 5), then the power 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.region.windows import Sides, Window

Floats = NDArray[np.float64]
Weigh = Callable[[Window], Floats]

# The Gaussian is cut off this many standard deviations from its centre.
_TRUNCATE = 4.0


def blend_weights(
    size: int, blend_px: int, sigma_px: float, border: Sides = (False, False, False, False)
) -> Floats:
    """Weights of a window's pixels.

    Unlike the published weights, these do not fall off towards sides on the region's border: no other window
    continues there, and along such a side the published weights of two neighbours would be equal up to the
    end of one, which is visible as a step. Windows inside the region have the published weights.

    Parameters
    ----------
    size : side of the window, pixels.
    blend_px : largest distance (published 48).
    sigma_px : standard deviation of the blur (published 2), pixels; beyond its border the window is mirrored,
        so that the outermost weights rise (from 1 to 6.2 with the published values).
    border : whether the top, right, bottom and left side lie on the region's border.

    Returns
    -------
    (size, size) float64, positive; read-only, since it is cached.
    """
    return _weights(size, blend_px, float(sigma_px), tuple(border))


@lru_cache(maxsize=64)
def _weights(size: int, blend_px: int, sigma_px: float, border: tuple[bool, ...]) -> Floats:
    top, right, bottom, left = border
    ends = (top, bottom), (left, right)
    down, across = (_distance(size, blend_px, *sides) for sides in ends)
    squared = np.minimum(down[:, None], across[None, :]) ** 2
    weights: Floats = ndimage.gaussian_filter(squared, sigma_px, mode="reflect", truncate=_TRUNCATE)
    weights.setflags(write=False)
    return weights


def _distance(size: int, blend_px: int, first_open: bool, last_open: bool) -> Floats:
    """Distance to the nearer end of a line of pixels, 1 on its last pixel; open ends are ignored."""
    at = np.arange(size, dtype=np.float64)
    first = np.full_like(at, blend_px) if first_open else at + 1
    last = np.full_like(at, blend_px) if last_open else size - at
    return np.minimum(np.minimum(first, last), blend_px)


class Mosaic:
    """Running blend of the clones of windows.

    With weights w (one per window and pixel, equal for its M clones) and d over all clones of all windows,

        mean = sum w d / sum w,    std = sqrt(sum w (d - mean)^2 / (sum w (N - 1) / N)),

    where N is the number of values d at the pixel: M clones of each window that contains it. This is the
    published standard deviation. It combines the spread of the clones and the disagreement of overlapping
    windows. With one window it is the ordinary sample standard deviation. Sums of squares are updated about
    the running mean (Chan, Golub & LeVeque 1979 with weights; West 1979), so that heights of kilometres do
    not round off a spread of centimetres.

    Each clone is blended, too. Their mean is the mean above; but where independent windows overlap a blended
    clone is an average of draws, smoother than one draw, so that the spread of the blended clones is too
    small there: use `std` for uncertainty.

    Results are bit-identical only for one order of windows. Memory: (M + 3) float64 maps of the region.

    Parameters
    ----------
    rows, cols : the region, pixels.
    members : clones per window, M >= 2.
    weigh : function of a window that returns its weights, (size, size), positive.

    Raises
    ------
    ValueError
        If there is only one member.
    """

    def __init__(self, rows: int, cols: int, members: int, weigh: Weigh) -> None:
        if members < 2:
            raise ValueError(f"region.members: expected at least 2 for a standard deviation, found {members}")
        self.members = members
        self.clones = np.zeros((members, rows, cols))
        self._weight = np.zeros((rows, cols))
        self._squares = np.zeros((rows, cols))
        self._windows = np.zeros((rows, cols), dtype=np.int64)
        self._weigh = weigh

    def add(self, window: Window, clones: NDArray[np.floating]) -> None:
        """Add the clones of a window, (M, size, size) metres.

        Raises
        ------
        ValueError
            If the shape is wrong or a height is not finite.
        """
        if clones.shape != (self.members, window.size, window.size):
            raise ValueError(
                f"window ({window.row}, {window.col}): expected clones of shape "
                f"{(self.members, window.size, window.size)}, found {clones.shape}"
            )
        heights = np.asarray(clones, dtype=np.float64)
        if not np.isfinite(heights).all():
            raise ValueError(
                f"window ({window.row}, {window.col}): expected finite heights, found "
                f"{int((~np.isfinite(heights)).sum())} that are not (a model that diverged?)"
            )
        here = window.pixels
        weight = self._weigh(window)
        before = self._weight[here]
        after = before + weight
        blended = self.clones[:, *here]
        mean = heights.mean(axis=0)
        difference = mean - blended.mean(axis=0)
        self._squares[here] += weight * ((heights - mean) ** 2).sum(axis=0)
        self._squares[here] += self.members * (before * weight / after) * difference**2
        blended += (heights - blended) * (weight / after)
        self._weight[here] = after
        self._windows[here] += 1

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Pixels covered by at least one window, (rows, cols)."""
        return self._weight > 0

    def mean(self) -> Floats:
        """Weighted mean of all clones, (rows, cols) metres; NaN where no window was added."""
        return np.where(self.covered, self.clones.mean(axis=0), np.nan)

    def std(self) -> Floats:
        """The published standard deviation, (rows, cols) metres; NaN where no window was added."""
        with np.errstate(invalid="ignore"):
            return published_std(self._squares, self._weight, self.members, self._windows)


def published_std(squares: Floats, weight: Floats, members: int, windows: NDArray[np.int64]) -> Floats:
    """The published standard deviation of `Mosaic`, metres.

    Parameters
    ----------
    squares : sum of w (d - mean)^2 over all clones of all windows at a pixel, square metres.
    weight : sum of w over the windows that contain the pixel. members : clones per window, M >= 2.
    windows : number of these windows. All maps have the same shape.
    """
    values = members * windows
    return np.asarray(np.sqrt(squares * values / (members * weight * (values - 1))), dtype=np.float64)
