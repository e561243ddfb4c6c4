"""Stage ``diffusion``: training of the diffusion model of residuals (DM of Yasuda 2025)."""

from __future__ import annotations

from functools import partial

from torch import nn

from pipeline.config.stochastic import DiffusionSection
from pipeline.models.rivals import in_pixels
from pipeline.models.stochastic import DiffusionNetwork
from pipeline.training.rivals import train_rival_network
from pipeline.training.stochastic import StochasticTask

RESIDUAL_SAMPLES = 64


class DiffusionTask(StochasticTask[DiffusionSection]):
    """See `StochasticTask`; the process assumes residuals with an RMS of 1."""

    def build(self, size_px: int, factor: int) -> dict[str, nn.Module]:
        """The network."""
        return {"model": DiffusionNetwork(self.section, size_px, factor)}

    def own_unit_px(self) -> float:
        """See `StochasticTask`."""
        numbers = range(RESIDUAL_SAMPLES)
        batch = self._assemble(self.prepare(numbers), numbers)
        assert batch.dem is not None
        return float(in_pixels(batch.dem - batch.prior, batch).square().mean().sqrt())


train = partial(train_rival_network, "diffusion", DiffusionTask, DiffusionSection)
