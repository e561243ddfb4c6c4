"""A trained network that draws members by a stochastic process."""

from __future__ import annotations

from torch import Tensor

from pipeline.models.stochastic import StochasticNetwork
from pipeline.predictors.interface import Generators
from pipeline.predictors.learned import Learned
from pipeline.shards.batches import Batch


class Stochastic(Learned[StochasticNetwork]):
    """A network with its sampler."""

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, M, P, P): see `Predictor.sample`."""
        return self.network.sample(batch, members, generators)
