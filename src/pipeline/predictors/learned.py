"""Predictors with a network that a rival's training made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor, nn

from pipeline.config.rivals import RivalSection
from pipeline.models.rivals import RivalNetwork, load_rival
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch

N = TypeVar("N", bound=nn.Module)


class Learned(Predictor, Generic[N]):
    """A trained network.

    Parameters
    ----------
    setup : files and options. name : of the predictor whose weights these are.
    section : class of its options. network : makes its network from options, patch side and factor.
    """

    def __init__(
        self, setup: Setup, name: str, section: type[RivalSection], network: Callable[..., N]
    ) -> None:
        options = section.model_validate(setup.options)
        self.network = load_rival(setup.files["model"][0], name, options, setup.grid, network, setup.device)
        self.halo_cells = setup.window_cells


class Estimate(Learned[RivalNetwork]):
    """A network with one deterministic member."""

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        return self.network.dem(batch)
