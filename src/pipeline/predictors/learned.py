"""A trained network that makes one DEM."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pipeline.config.rivals import EstimateSection
from pipeline.models.rivals import RivalNetwork, load_rival
from pipeline.predictors.interface import Generators, Predictor, Setup
from pipeline.shards.batches import Batch


class Learned(Predictor):
    """A network with one deterministic member.

    Parameters
    ----------
    setup : files and options. name : of the predictor whose weights these are.
    section : class of its options. network : makes its network from options, patch side and factor.
    """

    def __init__(
        self,
        setup: Setup,
        name: str,
        section: type[EstimateSection],
        network: Callable[..., RivalNetwork],
    ) -> None:
        options = section.model_validate(setup.options)
        self.network = load_rival(setup.files["model"][0], name, options, setup.grid, network, setup.device)
        self.halo_cells = setup.window_cells

    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """(B, 1, P, P): see `Predictor.sample`."""
        return self.network.dem(batch)
