"""What a predictor is: batches of patches in, members in metres out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.shards.batches import Batch

Generators = Sequence[torch.Generator]


@dataclass(frozen=True)
class Setup:
    """What a predictor is made of.

    Attributes
    ----------
    grid : ``size_px``, ``halo_px``, ``factor`` and ``pixel_m`` of the patches.
    options : its config section, as JSON values.
    files : paths of its weights by role; a role without a file has an empty list.
    device : where it computes.
    """

    grid: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    device: torch.device | str = "cpu"

    @property
    def window_cells(self) -> int:
        """A priori cells beyond the patch that a bicubic of the whole window reaches, at most 2."""
        return min(2, int(self.grid["halo_px"]) // int(self.grid["factor"]))


class Predictor(ABC):
    """A source of fine DEMs.

    Attributes
    ----------
    halo_cells : a priori cells beyond the patch in the batches that it is given.
    exact : whether its batches hold terrain only, in double precision above zero; else they are in single
        precision above each patch's a priori mean, with images where the registry asks for them.
    """

    halo_cells: int = 0
    exact: bool = False

    @abstractmethod
    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """Draw members.

        Parameters
        ----------
        batch : B patches; without the truth, except for floors.
        members : M; a deterministic predictor returns one whatever it is.
        generators : one per patch; a patch's members depend on nothing else random.

        Returns
        -------
        (B, M, P, P) metres above the batch's reference.
        """
