"""A trained network that draws members by a stochastic process, and its sampler."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.stochastic import StochasticSection
from pipeline.models.rivals import load_rival
from pipeline.models.stochastic import StochasticNetwork
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class Stochastic(Predictor):
    """A network with its sampler.

    Parameters
    ----------
    setup : files and options. name : of the predictor whose weights these are.
    section : class of its options. network : class of its network.
    """

    def __init__(
        self, setup: Setup, name: str, section: type[StochasticSection], network: type[StochasticNetwork]
    ) -> None:
        options = section.model_validate(setup.options)
        self.network = load_rival(setup.files["model"][0], name, options, setup.grid, network, setup.device)
        self.halo_cells = setup.window_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, M, P, P): see `Predictor.sample`."""
        return self.network.sample(batch, members, generators)
