"""A generative adversarial network after ESRGAN (Wang et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.rivals import GanSection
from pipeline.models.gan import Gan
from pipeline.models.rivals import load_rival
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class GanPredictor(Predictor):
    """A trained network with one deterministic member."""

    def __init__(self, setup: Setup) -> None:
        section = GanSection.model_validate(setup.options)
        path = setup.files["model"][0]
        self.network = load_rival(path, "gan", section, setup.grid, Gan, setup.device)
        self.halo_cells = setup.window_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        return self.network.dem(batch)


make = GanPredictor
