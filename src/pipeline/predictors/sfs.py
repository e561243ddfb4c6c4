"""Classical shape from shading: heights whose renderings fit the images, without a network."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.predictors import SfsSection
from pipeline.models.shading import shape_from_shading, start_of
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class ShapeFromShading(Predictor):
    """Starts from the a priori DEM; where that is altimetry, from a spline of its spots."""

    def __init__(self, section: SfsSection, factor: int, halo_cells: int) -> None:
        self.section, self.factor, self.halo_cells = section, factor, halo_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        start = start_of(batch, self.factor)
        return shape_from_shading(batch, start, self.factor, self.section).dem[:, None]


def make(setup: Setup) -> ShapeFromShading:
    """Shape from shading with the options of `SfsSection`."""
    section = SfsSection.model_validate(setup.options)
    return ShapeFromShading(section, int(setup.grid["factor"]), setup.window_cells)
