"""Common part of the trainings of `yasuda` and `diffusion`: a unit of height, and the loss of the process."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.config.stages.training import RivalStage
from pipeline.config.stochastic import StochasticSection
from pipeline.models.stochastic import StochasticNetwork
from pipeline.shards.shard_set import ShardSet
from pipeline.training.rivals import Prepared, RivalTask

S = TypeVar("S", bound=StochasticSection)


class StochasticTask(RivalTask[S]):
    """One training; see `RivalTask`."""

    def __init__(
        self,
        stage: RivalStage,
        section: S,
        shards: ShardSet,
        device: torch.device,
        track: Sequence[Path | str] = (),
    ) -> None:
        super().__init__(stage, section, shards, device, track)
        if section.unit_px is None:
            self.stochastic.unit_px.fill_(self.own_unit_px())

    @property
    def stochastic(self) -> StochasticNetwork:
        """The network."""
        network = self.modules["model"]
        assert isinstance(network, StochasticNetwork)
        return network

    @abstractmethod
    def own_unit_px(self) -> float:
        """The unit of height, pixels, if the section has none."""

    def step(self, prepared: Prepared, numbers: Sequence[int], seen: int) -> dict[str, float]:
        """See `pipeline.training.loop.Task`."""
        batch = self.batch(prepared, numbers)
        with self._autocast():
            losses: dict[str, Tensor] = self.stochastic.losses(batch, [self.order.noise(n) for n in numbers])
        self._descend("model", losses["loss"])
        return {name: value.item() for name, value in losses.items()}
