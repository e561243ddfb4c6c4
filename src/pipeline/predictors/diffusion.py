"""The diffusion model of residuals (DM of Yasuda 2025)."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.stochastic import DiffusionSection
from pipeline.models.rivals import load_rival
from pipeline.models.stochastic import DiffusionNetwork
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class DiffusionPredictor(Predictor):
    """A trained network and its sampler."""

    def __init__(self, setup: Setup) -> None:
        section = DiffusionSection.model_validate(setup.options)
        path = setup.files["model"][0]
        self.network = load_rival(path, "diffusion", section, setup.grid, DiffusionNetwork, setup.device)
        self.halo_cells = setup.window_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, M, P, P): see `Predictor.sample`."""
        return self.network.sample(batch, members, generators)


make = DiffusionPredictor
