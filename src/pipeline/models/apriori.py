"""The a priori DEM of a patch: its cells, and the exact return to given block means.

Functions take tensors whose last two axes are rows and columns, in any unit of height.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.terrain.bicubic import bicubic_up
from pipeline.terrain.blocks import block_mean


def crop_halo(lr_with_halo: Tensor, cells: int) -> Tensor:
    """Cut the middle `cells` x `cells` out of (..., L, L)."""
    cut = (lr_with_halo.shape[-1] - cells) // 2
    return lr_with_halo[..., cut : cut + cells, cut : cut + cells]


def _along_columns(cells: int, factor: int) -> Tensor:
    """Bicubic surfaces of unit cells, constant along rows: line k of each is the response to cell k."""
    basis = torch.eye(cells, dtype=torch.float64, device="cpu")[:, None, :].expand(cells, cells, cells)
    return bicubic_up(basis, factor)


@lru_cache(maxsize=64)
def _solve_block_means(cells: int, factor: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(B U)^-1 along one axis: bicubic upsampling and block means act separately on rows and columns."""
    # Cached between calls, so it must not become an inference tensor, which autograd would refuse.
    with torch.inference_mode(False), torch.no_grad():
        response = block_mean(_along_columns(cells, factor), factor)[:, 0]
        return torch.linalg.inv(response.T).to(device=device, dtype=dtype)


def match_block_means(x: Tensor, lr: Tensor, factor: int) -> Tensor:
    """Correct a DEM smoothly so that its block means equal the a priori DEM exactly.

    x + U (B U)^-1 (lr - B x) with B the block means and U the bicubic upsampling: the only correction that is
    a bicubic surface and gives these means; it has no steps at the edges of blocks.

    Parameters
    ----------
    x : (..., P, P) DEM.
    lr : (..., P / factor, P / factor) block means of the patch, without halo.
    factor : pixels per cell.

    Returns
    -------
    Tensor of the shape of `x`; its block means equal `lr` to rounding.

    Raises
    ------
    ValueError
        If shapes do not fit each other.
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
        cells = rows @ deficit @ columns.T
        return x + (bicubic_up(cells, factor) if x.device.type == "cpu" else bicubic_product(cells, factor))


@lru_cache(maxsize=64)
def _upsampling(cells: int, factor: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bicubic upsampling along one axis as a matrix, (cells factor, cells)."""
    with torch.inference_mode(False), torch.no_grad():
        return _along_columns(cells, factor)[:, 0].T.to(device=device, dtype=dtype)


def bicubic_product(lr: Tensor, factor: int) -> Tensor:
    """`bicubic_up` as matrix products: (..., h, w) to (..., h factor, w factor), equal to rounding.

    On GPUs the gradient of torch's bicubic interpolation adds in no fixed order, so that trainings would not
    be reproducible.
    """
    height, width = lr.shape[-2:]
    down = _upsampling(height, factor, lr.device, lr.dtype)
    return down @ lr @ _upsampling(width, factor, lr.device, lr.dtype).T


def fill(height: Tensor, known: Tensor) -> Tensor:
    """Fill gaps of maps (B, P, P) with averages over increasingly large squares, interpolated bilinearly.

    Parameters
    ----------
    height : maps. known : (B, P, P) bool, pixels with a value; others are ignored.
    """
    levels = [(torch.where(known, height, 0.0)[:, None], known.to(height.dtype)[:, None])]
    while min(levels[-1][0].shape[-2:]) > 1 and bool((levels[-1][1] == 0).any()):
        values, weights = levels[-1]
        total = F.avg_pool2d(weights, 2, ceil_mode=True)
        means = F.avg_pool2d(values * weights, 2, ceil_mode=True) / total.clamp_min(1e-9)
        levels.append((means, (total > 0).to(height.dtype)))
    out = levels[-1][0]
    for values, weights in reversed(levels[:-1]):
        wide = F.interpolate(out, size=values.shape[-2:], mode="bilinear", align_corners=False)
        out = torch.where(weights > 0, values, wide)
    return out[:, 0]
