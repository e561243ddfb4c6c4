"""Pixels that are expected to be fully lit, predicted from the a priori terrain.

A pixel in penumbra is darker than its slope makes it, and photometric stereo mistakes that for slope. Under
low Suns penumbrae are wide. The coarse DEM predicts most of them; `docs/experiments.md` gives the gain from
leaving these pixels out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.illumination.far import FarTerrain
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.surface import Window
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean, fill_nearest

#: Visible share of the Sun's disc above which a pixel counts as fully lit.
WHOLE = 0.97


def coarse_surface(dem: ArrayLike, factor: int) -> NDArray[np.float64]:
    """Bicubic interpolation of a DEM's block means at the DEM's pixels, ``(Y, X)``, m.

    Parameters
    ----------
    dem : ``(Y, X)`` heights, m; NaN where there are none, which stay missing. Whole blocks, at least one of
        them with heights. factor : pixels per side of a block.
    """
    heights = np.asarray(dem, dtype=np.float64)
    cells = np.asarray(fill_nearest(block_mean(heights, factor)), dtype=np.float64)
    smooth = prior_from_lr(torch.from_numpy(cells), 0, factor).numpy()
    return np.where(np.isfinite(heights), smooth, np.nan)


def expected_light(
    dem: ArrayLike,
    pixel_m: float,
    inner: Window,
    factor: int,
    suns: ArrayLike,
    disc_deg: float,
    curvature: bool = False,
    far: FarTerrain | None = None,
) -> NDArray[np.bool_]:
    """Pixels that see the whole disc of each Sun, predicted from a patch's block means.

    Parameters
    ----------
    dem : ``(Y, X)`` heights of the patch and its halo, m; NaN outside the data. pixel_m : pixel size, m.
    inner : ``(top, left, height, width)`` of the patch in `dem`. factor : pixels per side of a block.
    suns : ``(N, 3)`` vectors towards the Sun, map frame. disc_deg : diameter of the Sun's disc, degrees.
    curvature : lower the surrounding terrain by d^2 / 2R. far : coarser terrain around `dem`, or None.

    Returns
    -------
    ``(N, height, width)`` bool; False where there are no data.

    Raises
    ------
    ValueError
        As `Visibility` and its `share`, for input out of range; with far terrain, also if the halo is
        narrower than two of its cells after incomplete blocks are cut off.
    """
    heights = np.asarray(dem)
    top, left, height, width = inner
    # Blocks begin at the patch's corner; incomplete blocks at the edges of the halo are cut off.
    up, before = top % factor, left % factor
    rows, cols = ((n - first) // factor * factor for n, first in zip(heights.shape, (up, before)))
    surface = coarse_surface(heights[up : up + rows, before : before + cols], factor)
    if far is not None:
        far = replace(far, row=far.row - up, col=far.col - before)
    engine = HorizonVisibility(surface, pixel_m, (top - up, left - before, height, width), curvature, far)
    return engine.share(suns, disc_deg) > WHOLE
