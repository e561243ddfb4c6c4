"""Trained bridges and given weights, with their calibration."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.bridge import SamplerSection
from pipeline.models.calibration import load_calibrated
from pipeline.models.system import System
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class Bridge(Predictor):
    """A system with its sampler."""

    def __init__(self, system: System, sampler: SamplerSection) -> None:
        self.system, self.sampler, self.halo_cells = system, sampler, system.halo_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, M, P, P) independent clones, as ranks and fair scores require: see `Predictor.sample`."""
        return self.system.sample(batch, members, generators, self.sampler, mirrored=False)


def make(setup: Setup) -> Bridge:
    """A bridge with its weights; the options are those of `SamplerSection`."""
    vae, calibration = (next(iter(setup.files.get(role, ())), None) for role in ("vae", "calibration"))
    system = load_calibrated(setup.files["model"][0], vae, setup.device, calibration)
    return Bridge(system, SamplerSection.model_validate(setup.options))
