"""Direct regression with the trunk of the aligned network."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.rivals import RegressionSection
from pipeline.models.regression import Regression
from pipeline.models.rivals import load_rival
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class RegressionPredictor(Predictor):
    """A trained network with one deterministic member."""

    def __init__(self, setup: Setup) -> None:
        section = RegressionSection.model_validate(setup.options)
        path = setup.files["model"][0]
        self.network = load_rival(path, "regression", section, setup.grid, Regression, setup.device)
        self.halo_cells = setup.window_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        return self.network.dem(batch)


make = RegressionPredictor
