"""Pixels of a map's window that are expected to see the whole Sun, predicted from its a priori DEM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.illumination.expected import WHOLE
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.maps.ground import SiteGround
from pipeline.maps.render import DISC_DEG
from pipeline.region.windows import Window


def expected_in(ground: SiteGround, window: Window, pixel_m: float, suns: Tensor) -> Tensor:
    """Pixels of a window that see the whole Sun, predicted from the a priori terrain around it.

    Parameters
    ----------
    ground : of the map. window : of its working area. pixel_m : pixel size on the ground there, metres.
    suns : (N, 3) unit vectors to the Sun, map axes.

    Returns
    -------
    (N, S, S) bool; all True where the window has no heights at all.
    """
    size, margin = window.size, ground.margin_px
    rows = slice(window.row, window.row + size + 2 * margin)
    cols = slice(window.col, window.col + size + 2 * margin)
    around, inner = ground.surface[rows, cols], np.s_[margin : margin + size, margin : margin + size]
    if not len(suns) or not np.isfinite(around[inner]).any():
        return torch.ones(len(suns), size, size, dtype=torch.bool)
    far = ground.far
    if far is not None:
        # From the map's first pixel to that of the terrain around the window.
        far = replace(far, row=far.row - (window.row - margin), col=far.col - (window.col - margin))
    engine = HorizonVisibility(around, pixel_m, (margin, margin, size, size), True, far)
    return torch.from_numpy(engine.share(suns.numpy(), DISC_DEG) > WHOLE)
