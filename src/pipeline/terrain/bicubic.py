"""Bicubic upsampling of coarse DEMs.

Functions take tensors whose last two axes are rows and columns, in any unit of height.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


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
