"""Bicubic upsampling of coarse DEMs.

Functions take tensors whose last two axes are rows and columns, in any unit of height.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.terrain.blocks import block_mean


def bicubic_up(lr: Tensor, factor: int) -> Tensor:
    """Cubic convolution (Keys 1981; a = -0.75), pixel centres aligned, edge pixels repeated.

    torch's ``bicubic`` with ``align_corners=False``, the published upsampling: (..., h, w) to
    (..., h * factor, w * factor).
    """
    flat = lr.reshape(-1, 1, *lr.shape[-2:])
    size = (lr.shape[-2] * factor, lr.shape[-1] * factor)
    up = F.interpolate(flat, size=size, mode="bicubic", align_corners=False)
    return up.reshape(*lr.shape[:-2], *size)


def prior_from_lr(lr_with_halo: Tensor, halo_cells: int, factor: int) -> Tensor:
    """Bicubic of an a priori DEM with a halo of `halo_cells`, cropped to the patch.

    With two cells of halo the result is the crop of an unbounded DEM's bicubic; without halo it is the
    published baseline, whose edge cells are repeated.

    Parameters
    ----------
    lr_with_halo : (..., L, L) block means, halo included.
    halo_cells : cells of halo on each side.
    factor : pixels per cell, along a side.

    Returns
    -------
    Tensor (..., P, P), P = (L - 2 halo_cells) * factor.
    """
    cut = halo_cells * factor
    up = bicubic_up(lr_with_halo, factor)
    return up[..., cut : up.shape[-2] - cut, cut : up.shape[-1] - cut]


def cells_for_means(means: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Cells whose bicubic has given block means, which differ from the cells themselves by its smoothing.

    Parameters
    ----------
    means : (rows, cols) block means, without NaN. factor : pixels per cell, along a side.
    """
    from scipy.linalg import solve_banded

    cells = means
    for _ in range(2):  # bicubic and block means act separately on rows and columns
        cells = solve_banded((_BAND, _BAND), _response(cells.shape[0], factor), cells).T
    return cells


#: Cells on each side on which a block mean of the bicubic depends.
_BAND = 2


def _response(cells: int, factor: int) -> NDArray[np.float64]:
    """Block means of the bicubic along one axis as a banded matrix, in the form of `solve_banded`."""
    period = 2 * _BAND + 1
    combs = torch.zeros(period, 1, cells, dtype=torch.float64)
    for k in range(period):
        combs[k, 0, k::period] = 1
    means = block_mean(bicubic_up(combs, factor), factor)[:, 0].numpy()
    band = np.zeros((period, cells))
    for below in range(-_BAND, _BAND + 1):
        column = np.arange(max(0, -below), min(cells, cells - below))
        band[_BAND + below, column] = means[column % period, column + below]
    return band
