"""State spaces of a process: DEMs in metres to states and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.bridges.base import Generators, normal
from pipeline.config.bridge import BridgeSection
from pipeline.config.vae import VaeSection
from pipeline.models.apriori import crop_halo, match_block_means
from pipeline.models.batch import Batch
from pipeline.models.estimate import Estimate
from pipeline.models.inputs import height_scale
from pipeline.models.vae import AutoencoderKL


class Codec:
    """Heights in metres to the VAE's input and back.

    Parameters
    ----------
    vae : the autoencoder. section : its config (`target`, `height_unit`).
    """

    def __init__(self, vae: AutoencoderKL, section: VaeSection) -> None:
        self.vae, self.section = vae, section

    def maps(self, dem: Tensor, batch: Batch) -> Tensor:
        """The VAE's input for a DEM (B, P, P), metres: (B, 1, P, P) in the section's unit."""
        scale = height_scale(self.section.height_unit, batch.pixel_m)[:, None, None]
        heights = dem - batch.prior if self.section.target == "residual" else dem
        return (heights * scale)[:, None]

    def dem(self, maps: Tensor, batch: Batch) -> Tensor:
        """Invert `maps`: (B, 1, P, P) to metres (B, P, P)."""
        scale = height_scale(self.section.height_unit, batch.pixel_m)[:, None, None]
        heights = maps[:, 0] / scale
        return heights + batch.prior if self.section.target == "residual" else heights

    def encode(self, dem: Tensor, batch: Batch, generator: Generators, count: int = 1) -> list[Tensor]:
        """Sampled latents (B, C, h, w), not scaled, as published: `count` draws from one posterior."""
        posterior = self.vae.encode(self.maps(dem, batch))
        return [posterior.sample(normal(posterior.mean, generator)) for _ in range(count)]

    def decode(self, latents: Tensor, batch: Batch) -> Tensor:
        """Latents (B, C, h, w) to metres (B, P, P)."""
        return self.dem(self.vae.decode(latents), batch)


class Space(ABC):
    """DEMs in metres to states (B, C, H, W) and back."""

    @abstractmethod
    def states(self, dem: Tensor, batch: Batch, generator: Generators, count: int = 1) -> list[Tensor]:
        """`count` states of a DEM (B, P, P); they differ only where encoding is random."""

    @abstractmethod
    def heights(self, states: Tensor, batch: Batch, members: int) -> Tensor:
        """Final states (B M, ...) of M `members` per patch to metres (B, M, P, P)."""

    def starts(self, batch: Batch, generator: Generators, count: int = 1) -> list[Tensor]:
        """Start states of the process: those of the bicubic a priori DEM."""
        return self.states(batch.prior, batch, generator, count)


@dataclass(frozen=True)
class LatentSpace(Space):
    """Latents of a VAE, sampled."""

    codec: Codec

    def states(self, dem: Tensor, batch: Batch, generator: Generators, count: int = 1) -> list[Tensor]:
        """See `Space`; no gradient reaches the VAE, which runs in single precision.

        Training targets are divided by the bridge's standard deviation, which is small near the truth, and
        rounding errors of latents with it.
        """
        with torch.no_grad(), torch.autocast(dem.device.type, enabled=False):
            return self.codec.encode(dem, batch, generator, count)

    def heights(self, states: Tensor, batch: Batch, members: int) -> Tensor:
        """See `Space`."""
        per_member = states.unflatten(0, (-1, members)).unbind(dim=1)
        return torch.stack([self.codec.decode(z, batch) for z in per_member], dim=1)


@dataclass(frozen=True)
class PixelSpace(Space):
    """Heights (B, 1, P, P), scaled.

    Attributes
    ----------
    section : of the bridge. factor : pixels per cell of the a priori DEM.
    state_scale : height, in the section's unit, of a state of 1.
    """

    section: BridgeSection
    factor: int
    state_scale: float

    @property
    def relative(self) -> bool:
        """Whether states are relative to the a priori DEM; with an estimate they are for any target."""
        return self.section.target == "residual" or self.section.posterior_mean

    def scale(self, batch: Batch) -> Tensor:
        """Factor from metres to states, (B, 1, 1)."""
        unit = height_scale(self.section.height_unit, batch.pixel_m) / self.state_scale
        return unit[:, None, None]

    def states(self, dem: Tensor, batch: Batch, generator: Generators, count: int = 1) -> list[Tensor]:
        """See `Space`; nothing is random."""
        state = self.residual(dem, batch) if self.relative else (dem * self.scale(batch))[:, None]
        return [state] * count

    def residual(self, dem: Tensor, batch: Batch) -> Tensor:
        """DEM (B, P, P) minus a priori DEM, scaled as states are: (B, 1, P, P)."""
        return ((dem - batch.prior) * self.scale(batch))[:, None]

    def heights(self, states: Tensor, batch: Batch, members: int) -> Tensor:
        """See `Space`; with `keep_block_means`, block means are those of the a priori DEM."""
        dem = states[:, 0].unflatten(0, (-1, members)) / self.scale(batch)[:, None]
        if self.relative:
            dem = dem + batch.prior[:, None]
        if self.section.keep_block_means:
            lr = crop_halo(batch.lr, dem.shape[-1] // self.factor)[:, None].expand(-1, members, -1, -1)
            matched = match_block_means(dem, lr, self.factor)
            loose = None if batch.cell_error is None else (batch.cell_error > 0)[:, None, None, None]
            dem = matched if loose is None else torch.where(loose, dem, matched)
        return dem


@dataclass(frozen=True)
class Departures(Space):
    """Departures from the estimate of these sample sets, in units of its spread where it has one."""

    pixels: PixelSpace
    estimate: Estimate

    def states(self, dem: Tensor, batch: Batch, generator: Generators, count: int = 1) -> list[Tensor]:
        """See `Space`; no gradient reaches the estimate."""
        rest = self.pixels.residual(dem, batch) - self.estimate.mean.detach()
        spread = self.estimate.spread
        return [rest if spread is None else rest / spread.detach()] * count

    def heights(self, states: Tensor, batch: Batch, members: int) -> Tensor:
        """See `Space`."""
        mean, spread = self.estimate.mean, self.estimate.spread
        if spread is not None:
            states = states * spread.repeat_interleave(members, dim=0)
        return self.pixels.heights(states + mean.repeat_interleave(members, dim=0), batch, members)

    def starts(self, batch: Batch, generator: Generators, count: int = 1) -> list[Tensor]:
        """The estimate itself."""
        return [torch.zeros_like(batch.prior)[:, None]] * count

    def spread_px(self, batch: Batch) -> Tensor | None:
        """The estimate's standard deviation (B, 1, P, P), pixels."""
        if self.estimate.spread is None:
            return None
        return self.estimate.spread / (self.pixels.scale(batch) * batch.pixel_m[:, None, None])[:, None]
