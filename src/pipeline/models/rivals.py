"""Common parts of learned rivals: a network that maps a batch to one DEM, and its weights on disk."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pipeline.config.rivals import RivalSection
from pipeline.models.apriori import crop_halo, match_block_means
from pipeline.models.batch import Batch
from pipeline.models.files import load_state, model_config
from pipeline.terrain.blocks import block_mean

KIND = "rival"
S = TypeVar("S", bound=RivalSection)
N = TypeVar("N", bound=nn.Module)


class RivalNetwork(nn.Module):
    """A network that maps sample sets to DEM minus a priori DEM, in pixels.

    Parameters
    ----------
    section : key ``keep_block_means``. factor : pixels per cell of the a priori DEM.
    """

    def __init__(self, section: RivalSection, factor: int) -> None:
        super().__init__()
        self.keep_block_means, self.factor = section.keep_block_means, factor

    @abstractmethod
    def residual(self, batch: Batch) -> Tensor:
        """DEM minus a priori DEM (B, 1, P, P), pixels, as the network gives it."""

    def forward(self, batch: Batch) -> Tensor:
        """DEM minus a priori DEM (B, 1, P, P), pixels; with `keep_block_means`, exact cells are kept."""
        residual = self.residual(batch).float()
        return with_block_means(residual, batch, self.factor) if self.keep_block_means else residual

    @torch.no_grad()
    def dem(self, batch: Batch) -> Tensor:
        """The DEM (B, 1, P, P), metres above the batch's reference."""
        return batch.prior[:, None] + self(batch) * batch.pixel_m[:, None, None, None]


def with_block_means(residual: Tensor, batch: Batch, factor: int) -> Tensor:
    """DEM minus a priori DEM (B, M, P, P), pixels, corrected to the block means of exact cells."""
    prior, pixel = batch.prior, batch.pixel_m[:, None, None]
    cells = crop_halo(batch.lr, prior.shape[-1] // factor) - block_mean(prior, factor)
    wanted = (cells / pixel)[:, None].expand(-1, residual.shape[1], -1, -1)
    matched = match_block_means(residual, wanted, factor)
    if batch.cell_error is None:
        return matched
    return torch.where((batch.cell_error > 0)[:, None, None, None], residual, matched)


def in_pixels(heights: Tensor, batch: Batch) -> Tensor:
    """Heights (B, P, P) in metres as maps (B, 1, P, P) in pixels."""
    return (heights / batch.pixel_m[:, None, None])[:, None]


def weights_config(name: str, section: RivalSection, grid: Mapping[str, Any]) -> dict[str, Any]:
    """Contents of the ``config.json`` beside a rival's weights."""
    trained = section.trained().model_dump(mode="json", exclude={"weights"})
    return {"kind": KIND, "name": name, "section": trained, "grid": dict(grid)}


def load_rival(
    path: Path | str,
    name: str,
    section: S,
    grid: Mapping[str, Any],
    build: Callable[[S, int, int], N],
    device: torch.device | str = "cpu",
) -> N:
    """Load a rival's weights.

    Parameters
    ----------
    path : weights; their config is beside them. name : of the predictor. section : its options.
    grid : of the patches. build : makes its network from section, patch side and factor.
    device : of the network.

    Raises
    ------
    ValueError
        If the weights are another rival's, or were trained with other options or on another grid.
    """
    config = model_config(path, KIND)
    for key, expected in weights_config(name, section, grid).items():
        found = config.get(key)
        if key == "grid":
            sizes = ("size_px", "factor")
            expected, found = ({each: part.get(each) for each in sizes} for part in (expected, found or {}))
        if found != expected:
            raise ValueError(
                f"{Path(path).with_name('config.json')}: expected {key} {expected}, found {found}"
            )
    network = build(section, int(grid["size_px"]), int(grid["factor"]))
    load_state(path, network, config["fingerprint"])
    return network.to(device).eval()
