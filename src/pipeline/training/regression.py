"""Stage ``regression``: training of direct regression."""

from __future__ import annotations

from functools import partial

from torch import nn

from pipeline.config.rivals import RegressionSection
from pipeline.models.regression import Regression
from pipeline.training.rivals import DirectTask, train_rival_network


class RegressionTask(DirectTask[RegressionSection]):
    """See `DirectTask`."""

    def build(self, size_px: int, factor: int) -> dict[str, nn.Module]:
        """The network."""
        return {"model": Regression(self.section, size_px, factor)}


train = partial(train_rival_network, "regression", RegressionTask, RegressionSection)
