"""Interface of predictors: a batch of patches in, members in metres out."""

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
    """Arguments of a predictor's constructor.

    Attributes
    ----------
    grid : of the patches: ``size_px`` and ``halo_px`` (side and halo, pixels), ``factor`` (pixels per a
        priori cell, along a side) and ``pixel_m`` (pixel size, metres).
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
        """A priori cells around the patch that its bicubic interpolation uses: 2, or the smaller halo."""
        return min(2, int(self.grid["halo_px"]) // int(self.grid["factor"]))


class Predictor(ABC):
    """A source of fine DEMs.

    Attributes
    ----------
    halo_cells : a priori cells around the patch in its batches.
    exact : whether its batches hold only terrain, in double precision and with absolute heights; else they
        are in single precision relative to each patch's a priori mean, with images if the registry says so.
    """

    halo_cells: int = 0
    exact: bool = False

    @abstractmethod
    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """Draw members.

        Parameters
        ----------
        batch : B patches; without the truth, except for floors.
        members : number of members M; a deterministic predictor always returns one.
        generators : one per patch, the only source of randomness of its members.

        Returns
        -------
        (B, M, P, P) heights, metres above the batch's reference.
        """
