"""Shape from shading that starts from, and is regularised towards, the mean of a trained bridge."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.predictors import HybridSection
from pipeline.models.calibration import load_calibrated
from pipeline.models.shading import shape_from_shading
from pipeline.models.system import System
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class Hybrid(Predictor):
    """The mean of a system's clones, then shape from shading."""

    def __init__(self, section: HybridSection, system: System) -> None:
        self.section, self.system, self.halo_cells = section, system, system.halo_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        clones = self.system.sample(batch, self.section.members, generators, self.section.sampler)
        start = clones.mean(dim=1)
        return shape_from_shading(batch, start, self.system.factor, self.section).dem[:, None]


def make(setup: Setup) -> Hybrid:
    """A bridge with its weights, and the options of `HybridSection`."""
    vae, calibration = (next(iter(setup.files.get(role, ())), None) for role in ("vae", "calibration"))
    system = load_calibrated(setup.files["model"][0], vae, setup.device, calibration)
    return Hybrid(HybridSection.model_validate(setup.options), system)
