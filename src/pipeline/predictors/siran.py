"""The super-resolution network SIRAN (Paul & Gupta 2024)."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.rivals import SiranSection
from pipeline.models.rivals import load_rival
from pipeline.models.siran import Siran
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class SiranPredictor(Predictor):
    """A trained network with one deterministic member."""

    def __init__(self, setup: Setup) -> None:
        section = SiranSection.model_validate(setup.options)
        path = setup.files["model"][0]
        self.network = load_rival(path, "siran", section, setup.grid, Siran, setup.device)
        self.halo_cells = setup.window_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        return self.network.dem(batch)


make = SiranPredictor
