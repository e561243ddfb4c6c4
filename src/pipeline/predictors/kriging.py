"""Kriging of altimetry spots: the best linear estimate of terrain that needs no images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.refinement_ground import HURST, SLOPE, SPOT_M, SPOT_PX
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch

#: Side of the blocks that are kriged together, pixels, and the least number of spots used for a block.
BLOCK_PX, LEAST_SPOTS = 32, 1500


class Kriging(Predictor):
    """Ordinary kriging of altimetry spots (Matheron 1963); the bicubic of the window without spots.

    Self-affine terrain and errors of spots as in `pipeline.models.refinement_ground`. Each block of pixels
    is solved exactly, from at least 1,500 spots around it if the patch has as many. Images are not used; it
    is scored under all conditions, since some have altimetry.
    """

    def __init__(self, halo_cells: int) -> None:
        self.halo_cells = halo_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        out = batch.prior.clone()
        if batch.spots is not None:
            for row in batch.spots.flatten(1).any(dim=1).nonzero()[:, 0].tolist():
                pixel = float(batch.pixel_m[row])
                error = (SPOT_PX**2 + (SPOT_M / pixel) ** 2) ** 0.5
                out[row] = pixel * kriged(batch.prior[row] / pixel, batch.spots[row] > 0, error)
        return out[:, None]


def kriged(heights: Tensor, hit: Tensor, error: float) -> Tensor:
    """Krige a map, block by block.

    Parameters
    ----------
    heights : (H, W) in units of a pixel, used only where `hit`.
    hit : (H, W) bool, pixels with spots, at least one. error : 1-sigma of the heights, in units of a pixel.

    Returns
    -------
    (H, W) heights in units of a pixel, in double precision.
    """
    if int(hit.sum()) <= LEAST_SPOTS:
        return _block(heights, hit, 0, 0, heights.shape, error)
    out = torch.empty(heights.shape, dtype=torch.float64, device=heights.device)
    for top in range(0, heights.shape[0], BLOCK_PX):
        for left in range(0, heights.shape[1], BLOCK_PX):
            block = slice(top, top + BLOCK_PX), slice(left, left + BLOCK_PX)
            around = _around(hit, top, left)
            window = heights[around], hit[around], top - around[0].start, left - around[1].start
            out[block] = _block(*window, out[block].shape, error)
    return out


def _around(hit: Tensor, top: int, left: int) -> tuple[slice, slice]:
    """The smallest window around a block with enough spots, at most the whole map: margins double."""
    reach = BLOCK_PX // 4
    while True:
        rows, columns = (slice(max(0, at - reach), at + BLOCK_PX + reach) for at in (top, left))
        if reach >= max(hit.shape) or int(hit[rows, columns].sum()) >= LEAST_SPOTS:
            return rows, columns
        reach *= 2


def _block(heights: Tensor, hit: Tensor, top: int, left: int, shape: Sequence[int], error: float) -> Tensor:
    """Kriging of a block of given shape, whose first pixel is (`top`, `left`), from all spots of a map."""
    rows, columns = (torch.arange(n, device=heights.device) for n in heights.shape)
    # Semivariogram: half of the mean squared height difference over a distance.
    variogram = 0.5 * SLOPE**2 * (rows[:, None].double() ** 2 + columns.double() ** 2) ** HURST
    down, right = hit.nonzero(as_tuple=True)
    values = heights[down, right].double()
    # Covariances of differences to the first pixel; with an unknown mean they serve as those of heights.
    start = variogram[down, right]
    matrix = start[:, None] + start - variogram[(down[:, None] - down).abs(), (right[:, None] - right).abs()]
    matrix.diagonal().add_(error**2)
    ones = torch.ones_like(values)
    solved = torch.cholesky_solve(torch.stack([values, ones], dim=1), torch.linalg.cholesky(matrix))
    mean = solved[:, 0].sum() / solved[:, 1].sum()
    weights = solved[:, 0] - mean * solved[:, 1]
    # One row of pixels at a time; weights sum to 0, so that the semivariogram to the first pixel cancels.
    across = (right[:, None] - columns[left : left + shape[1]]).abs()
    wanted = rows[top : top + shape[0]]
    far = [weights @ variogram[(down - row).abs()[:, None], across] for row in wanted]
    return mean + weights @ start - torch.stack(far)


def make(setup: Setup) -> Kriging:
    """Kriging, with the window of the setup."""
    return Kriging(setup.window_cells)
