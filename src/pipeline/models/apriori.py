"""The a priori DEM: bicubic upsampling, and the exact return to given block means.

Functions take tensors whose last two axes are rows and columns, in any unit of height.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.terrain.blocks import block_mean


def bicubic_up(lr: Tensor, factor: int) -> Tensor:
    """Keys' cubic convolution (a = -0.75), pixel centres aligned, edges clamped.

    torch's ``bicubic`` with ``align_corners=False``, the published upsampling: (..., h, w) to
    (..., h * factor, w * factor).
    """
    flat = lr.reshape(-1, 1, *lr.shape[-2:])
    size = (lr.shape[-2] * factor, lr.shape[-1] * factor)
    up = F.interpolate(flat, size=size, mode="bicubic", align_corners=False)
    return up.reshape(*lr.shape[:-2], *size)


def prior_from_lr(lr_with_halo: Tensor, halo_cells: int, factor: int) -> Tensor:
    """Bicubic of an a priori DEM that reaches `halo_cells` beyond the patch, cropped to the patch.

    Two cells of halo give what the bicubic of an endless DEM would give; none gives the published
    baseline, whose edges are clamped.

    Parameters
    ----------
    lr_with_halo : (..., L, L) block means, halo included.
    halo_cells : cells of halo on each side.
    factor : pixels a cell.

    Returns
    -------
    Tensor (..., P, P), P = (L - 2 halo_cells) * factor.
    """
    cut = halo_cells * factor
    up = bicubic_up(lr_with_halo, factor)
    return up[..., cut : up.shape[-2] - cut, cut : up.shape[-1] - cut]


def crop_halo(lr_with_halo: Tensor, cells: int) -> Tensor:
    """Cut the middle `cells` x `cells` out of (..., L, L)."""
    cut = (lr_with_halo.shape[-1] - cells) // 2
    return lr_with_halo[..., cut : cut + cells, cut : cut + cells]


@lru_cache(maxsize=64)
def _solve_block_means(cells: int, factor: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(B U)^-1 along one axis: bicubic upsampling and block means act on rows and columns apart."""
    # Kept between calls, so it must not become a tensor that autograd refuses later.
    with torch.inference_mode(False), torch.no_grad():
        basis = torch.eye(cells, dtype=torch.float64, device="cpu")[:, None, :].expand(cells, cells, cells)
        # Constant along rows, so that only columns are interpolated: line k is the response to cell k.
        response = block_mean(bicubic_up(basis, factor), factor)[:, 0]
        return torch.linalg.inv(response.T).to(device=device, dtype=dtype)


def match_block_means(x: Tensor, lr: Tensor, factor: int) -> Tensor:
    """Correct a DEM smoothly so that its block means equal the a priori DEM exactly.

    x + U (B U)^-1 (lr - B x) with B the block means and U the bicubic upsampling: of all corrections that
    are bicubic surfaces it is the one that fits, and it has no steps at the edges of blocks.

    Parameters
    ----------
    x : (..., P, P) DEM.
    lr : (..., P / factor, P / factor) block means of the patch, without halo.
    factor : pixels a cell.

    Returns
    -------
    Tensor of the shape of `x`; its block means equal `lr` to rounding.

    Raises
    ------
    ValueError : shapes do not fit each other.
    """
    deficit = lr - block_mean(x, factor)
    if deficit.shape[:-2] != x.shape[:-2] or lr.shape[-2:] != deficit.shape[-2:]:
        raise ValueError(
            f"lr: expected the shape of the block means of x, {tuple(x.shape)} over {factor}, "
            f"found {tuple(lr.shape)}"
        )
    rows = _solve_block_means(deficit.shape[-2], factor, x.device, x.dtype)
    columns = _solve_block_means(deficit.shape[-1], factor, x.device, x.dtype)
    with torch.autocast(x.device.type, enabled=False):  # a product in bfloat16 would miss the means
        return x + bicubic_up(rows @ deficit @ columns.T, factor)
