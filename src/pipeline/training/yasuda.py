"""Stage ``yasuda``: training of the stochastic interpolant (SM of Yasuda 2025)."""

from __future__ import annotations

from functools import partial

from torch import nn

from pipeline.config.stochastic import YasudaSection
from pipeline.models.stochastic import InterpolantNetwork
from pipeline.training.rivals import train_rival_network
from pipeline.training.stochastic import StochasticTask


class YasudaTask(StochasticTask[YasudaSection]):
    """See `StochasticTask`; the unit of height is the RMS of training patches about their means."""

    def build(self, size_px: int, factor: int) -> dict[str, nn.Module]:
        """The network."""
        return {"model": InterpolantNetwork(self.section, size_px, factor)}

    def own_unit_px(self) -> float:
        """See `StochasticTask`."""
        return self.shards.statistics["relief_px"]


train = partial(train_rival_network, "yasuda", YasudaTask, YasudaSection)
