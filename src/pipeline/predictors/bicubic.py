"""Bicubic upsampling of the a priori DEM: of the patch's cells only (published), or of the whole window."""

from __future__ import annotations

from torch import Tensor

from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class Bicubic(Predictor):
    """The batch's bicubic prior; a halo of two cells makes it the crop of an unbounded DEM's bicubic."""

    exact = True

    def __init__(self, halo_cells: int) -> None:
        self.halo_cells = halo_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        return batch.prior[:, None]


def published(setup: Setup) -> Bicubic:
    """The published baseline: block means of the patch only, edge cells repeated."""
    return Bicubic(0)


def window(setup: Setup) -> Bicubic:
    """The bicubic of the patch and its halo; the kernel reaches two cells."""
    return Bicubic(setup.window_cells)
