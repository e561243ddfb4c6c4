"""Exposure of an image relative to a rendering of its terrain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pipeline.imagery.smoothing import like, picture, weighted_median

#: Least number of pixels lit in image and rendering from which an exposure is estimated.
MIN_PIXELS = 64
# Pixels below this fraction of the lit median are left out: penumbrae, noise and errors of the dark level.
_LIT = 0.2


class Exposure(NamedTuple):
    """Ratio of an image's brightness to that of its rendering.

    `scatter` is the spread of the ratio over the pixels, relative to `scale` (1.4826 median absolute
    deviations: the standard deviation of a normal distribution).
    """

    scale: float
    scatter: float


def exposure(values: ArrayLike, valid: ArrayLike, dark: ArrayLike, rendering: ArrayLike) -> Exposure:
    """Robust ratio of an image above its dark level to a rendering.

    The scale s minimises the sum of ``|values - dark - s rendering|`` over the pixels lit in both: it is
    the median of the ratio weighted with the rendering, which is robust against misplaced shadows.

    Parameters
    ----------
    values : ``(H, W)`` image. valid : ``(H, W)`` bool, its valid pixels.
    dark : dark level in the image's unit, a number or ``(H, W)``. rendering : ``(H, W)``; NaN where unknown.

    Raises
    ------
    ValueError
        If shapes differ, or fewer than `MIN_PIXELS` pixels are lit in both.
    """
    image, mask = picture(values, valid)
    model = like(rendering, image.shape, "rendering")
    light = image - np.broadcast_to(np.asarray(dark, dtype=np.float64), image.shape)
    lit = mask & (model > 0)
    if lit.any():
        lit &= model > _LIT * np.median(model[lit])
    if lit.any():
        # Most of the pixels that should be lit are lit: their median is a lit value.
        lit &= light > _LIT * max(float(np.median(light[lit])), 0.0)
    if lit.sum() < MIN_PIXELS:
        raise ValueError(
            f"exposure: expected at least {MIN_PIXELS} pixels lit in image and rendering, "
            f"found {int(lit.sum())}"
        )
    weight = model[lit]
    ratio = light[lit] / weight
    scale = weighted_median(ratio, weight)
    scatter = 1.4826 * float(np.median(np.abs(ratio - scale))) / scale
    return Exposure(scale, scatter)
