"""Dark level of an image: its signal where no sunlight falls (haze, stray light, offsets)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from pipeline.imagery.smoothing import Floats, Mask, like, picture

#: Least number of pixels inside predicted shadows from which a dark level is estimated.
MIN_PIXELS = 64
# Misregistration and penumbra reach this far into a predicted shadow, pixels.
_ERODE_PX = 2
# Modes of at least this fraction of the highest density count; sunlit walls cause modes above the lowest.
_SHARE_OF_HIGHEST = 0.3
_BLOCK_PX = 16
_MIN_BLOCKS = 12
_MIN_BLOCK_PIXELS = 16
_ROUNDS = 4
# A slope must be this many times its standard error, and change the level by the noise across the image.
_SIGNIFICANT = 6.0


@dataclass(frozen=True)
class DarkLevel:
    """Dark level at the centre of the pixel grid, and its slope.

    Attributes
    ----------
    level : in the image's unit; 0 where `count` is 0. count : shadowed pixels that it is estimated from.
    right, up : change of the level per pixel to map-right and map-up; 0 unless significant.
    """

    level: float
    count: int
    right: float = 0.0
    up: float = 0.0

    def field(self, shape: tuple[int, int]) -> Floats:
        """The dark level of every pixel, ``(H, W)``."""
        right, up = _from_centre(shape)
        return self.level + self.right * right + self.up * up


def dark_level(values: ArrayLike, valid: ArrayLike, lit_share: ArrayLike) -> DarkLevel:
    """Lowest mode of an image inside the cast shadows that a DEM predicts.

    A mode, because some predicted shadows are lit, and the lowest, because sunlit walls illuminate others:
    neither changes it as long as some of the shadows are dark. The density is a Gaussian kernel estimate
    whose width follows the image's noise.

    Parameters
    ----------
    values : ``(H, W)`` image. valid : ``(H, W)`` bool, its valid pixels.
    lit_share : ``(H, W)`` predicted visible share of the Sun's disc, in [0, 1]; NaN where unknown.

    Returns
    -------
    Level 0 and count 0 where fewer than `MIN_PIXELS` valid pixels lie two pixels or more inside shadows.

    Raises
    ------
    ValueError
        If the shapes differ or are not two-dimensional.
    """
    image, mask = picture(values, valid)
    share = like(lit_share, image.shape, "lit_share")
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), _ERODE_PX)
    # Beyond the grid there may be light; NaN compares as lit.
    inside = ndimage.binary_erosion(share <= 0, disc) & mask
    count = int(inside.sum())
    if count < MIN_PIXELS:
        return DarkLevel(0.0, 0)
    noise = _noise(image, inside)
    slopes = _slopes(image, inside, mask, noise)
    right, up = _from_centre(image.shape)
    # A sloping field broadens the mode: subtract it first.
    flat = image - slopes[0] * right - slopes[1] * up
    return DarkLevel(_lowest_mode(flat[inside], noise), count, *slopes)


def _from_centre(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    rows, cols = np.indices(shape, dtype=np.float64)
    return cols - (shape[1] - 1) / 2, (shape[0] - 1) / 2 - rows


def _noise(image: Floats, inside: Mask) -> float:
    """Standard deviation of the noise, from differences between neighbours that both lie inside shadows."""
    across = (image[:, 1:] - image[:, :-1])[inside[:, 1:] & inside[:, :-1]]
    down = (image[1:] - image[:-1])[inside[1:] & inside[:-1]]
    steps = np.abs(np.concatenate([across, down]))
    return 1.4826 * float(np.median(steps)) / np.sqrt(2) if steps.size else 0.0


def _lowest_mode(found: Floats, noise: float) -> float:
    """The lowest mode of values (n,) among those of at least `_SHARE_OF_HIGHEST` of the highest density."""
    low, high = (float(k) for k in np.percentile(found, (0.5, 90)))
    # Silverman's rule for a peak as narrow as the noise; half the noise is plenty for many pixels.
    width = max(noise * max(0.5, 1.06 * found.size**-0.2), (high - low) / 2000, 1e-6 * abs(high))
    if not width > 0:
        return low
    step = width / 4
    edges = np.arange(low - 6 * width, high + 6 * width + step, step)
    counts = np.histogram(found, edges)[0].astype(np.float64)
    density = ndimage.gaussian_filter1d(counts, width / step, mode="constant")
    middle = (edges[:-1] + edges[1:]) / 2
    tops = np.flatnonzero((density[1:-1] > density[:-2]) & (density[1:-1] >= density[2:])) + 1
    tops = tops[density[tops] >= _SHARE_OF_HIGHEST * density.max()]
    k = int(tops[0]) if tops.size else int(np.argmax(density))
    near = np.abs(found - middle[k]) <= 2 * width
    # The median around the top is finer than the histogram's step.
    return float(np.median(found[near])) if near.any() else float(middle[k])


def _slopes(image: Floats, inside: Mask, mask: Mask, noise: float) -> tuple[float, float]:
    """Slopes of the dark level to the right and up where they are significant; else 0.

    The residuals of a plane through the medians of blocks must not exceed the pixels' noise: light from walls
    has steps and patches, whose residuals do.
    """
    right, up = _from_centre(image.shape)
    rows, cols = np.nonzero(inside)
    key = rows // _BLOCK_PX * (image.shape[1] // _BLOCK_PX + 1) + cols // _BLOCK_PX
    found = image[inside], right[inside], up[inside]
    # Pixels of a block keep their order; one mask per block would take memory by the square of the image.
    order = np.argsort(key, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(key[order])) + 1)
    members = [at for at in parts if len(at) >= _MIN_BLOCK_PIXELS]
    blocks = np.array([(np.median(found[0][at]), found[1][at].mean(), found[2][at].mean()) for at in members])
    for _ in range(_ROUNDS):
        if len(blocks) < _MIN_BLOCKS:
            return 0.0, 0.0
        design = np.column_stack([np.ones(len(blocks)), blocks[:, 1:]])
        plane = np.linalg.lstsq(design, blocks[:, 0], rcond=None)[0]
        residual = blocks[:, 0] - design @ plane
        # Blocks that are lit, contrary to the prediction, are outliers.
        keep = np.abs(residual) <= 3 * max(1.4826 * float(np.median(np.abs(residual))), noise / _BLOCK_PX)
        if keep.all():
            break
        blocks = blocks[keep]
    scatter = float(np.sqrt(residual @ residual / (len(residual) - 3)))
    normal = design.T @ design
    if not scatter <= noise or np.linalg.cond(normal) > 1e12:
        return 0.0, 0.0
    error = scatter * np.sqrt(np.diag(np.linalg.inv(normal)))
    answer = []
    for axis, every in ((1, right[mask]), (2, up[mask])):
        slope, extent = float(plane[axis]), float(np.ptp(every))
        clear = abs(slope) > _SIGNIFICANT * error[axis] and abs(slope) * extent > noise
        # Shadows in one corner cannot distinguish a slope from light of the wall beside them.
        wide = float(np.ptp(design[:, axis])) >= 0.5 * extent
        answer.append(slope if clear and wide else 0.0)
    return answer[0], answer[1]
