"""Yasuda's two models of a DEM's distribution: a stochastic interpolant (SM) and a diffusion (DM).

Both use the same U-Net (Yasuda 2025): four halvings with a residual block after each, multi-head
self-attention after the last of them, four doublings, a sinusoidal embedding of the time that scales and
shifts every block, and all conditions as further input channels.

Chosen here, since the source does not specify it: one residual block per level, added skips, one residual
block after the attention. The conditions are the fields of the a priori DEM, the photometric sums and their
closed-form results (`pipeline.models.guide.ImageGuide`), without its learned encoder.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.bridges.base import Generators, Process, per_sample
from pipeline.bridges.diffusion import Diffusion
from pipeline.bridges.interpolant import StochasticInterpolant
from pipeline.config.stochastic import DiffusionSection, StochasticSection, YasudaSection
from pipeline.models.batch import Batch
from pipeline.models.blocks import TimeEmbedding, group_norm, zero
from pipeline.models.guide import IMAGE_CHANNELS, TERRAIN_CHANNELS, ImageGuide
from pipeline.models.rivals import in_pixels, with_block_means
from pipeline.models.unet import UNet

#: Number of members drawn at a time; bounds the memory.
MEMBER_CHUNK = 16


class StochasticNetwork(nn.Module):
    """The U-Net and its process.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.
    process : from the a priori DEM to the DEM, in units of `unit_px`.

    Attributes
    ----------
    unit_px : height, in pixels, of a state of 1; saved with the weights.

    Raises
    ------
    ValueError
        If the patch's side cannot be halved as often as there are widths.
    """

    unit_px: Tensor

    def __init__(self, section: StochasticSection, size_px: int, factor: int, process: Process) -> None:
        super().__init__()
        self.section, self.factor, self.process = section, factor, process
        halvings = len(section.widths)
        if size_px % 2**halvings:
            wanted = f"a multiple of {2**halvings} with {halvings} widths"
            raise ValueError(f"patches.size_px: expected {wanted}, found {size_px}")
        widths = [section.widths[0], *section.widths]
        self.guide = ImageGuide(factor, channels=0)
        self.time = TimeEmbedding(section.embedding)
        self.unet = UNet(
            1 + TERRAIN_CHANNELS + IMAGE_CHANNELS,
            widths,
            down_blocks=[0, *(1 for _ in section.widths)],
            up_blocks=[1 for _ in widths],
            embedding=section.embedding,
        )
        self.norm = group_norm(widths[0])
        self.head = zero(nn.Conv2d(widths[0], 1, 3, padding=1))
        self.register_buffer("unit_px", torch.tensor(float(section.unit_px or 1.0)))

    def condition(self, batch: Batch) -> Tensor:
        """Input of the network that does not depend on time: (B, C, P, P)."""
        look = self.guide.look(batch)
        return torch.cat([look.heights, look.deficit, look.photometry, look.trust], dim=1)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Map states (B, 1, P, P) at times (B,) to the same shape."""
        h = self.unet(torch.cat([x, condition], dim=1), self.time(t))
        return self.head(F.silu(self.norm(h)))

    @abstractmethod
    def output(self, x: Tensor, t: Tensor, x1: Tensor, condition: Tensor) -> Tensor:
        """The process's network output (B, 1, P, P) for states x with the start x1."""

    @abstractmethod
    def starts(self, batch: Batch) -> Tensor:
        """Start states of members, (B, 1, P, P): the a priori DEM, or 0 for departures from it."""

    def losses(self, batch: Batch, generators: Generators) -> dict[str, Tensor]:
        """Training losses of a batch; ``loss`` is the one to minimise.

        Parameters
        ----------
        batch : with the truth. generators : one per sample, so that samples do not depend on each other.
        """
        assert batch.dem is not None
        x0, x1 = (in_pixels(heights, batch) / self.unit_px for heights in (batch.dem, batch.prior))
        pair = self.process.training_pair(x0, x1, generators)
        output = self.output(pair.x_t, pair.t, x1, self.condition(batch)).float()
        error = ((output - pair.target) ** 2).flatten(1).mean(dim=1)
        return {"loss": (error * pair.weight).mean(), "error": error.mean()}

    @torch.no_grad()
    def sample(self, batch: Batch, members: int, generators: Generators) -> Tensor:
        """Draw members (B, M, P, P), metres above the batch's reference; see `Predictor.sample`.

        Patch by patch and a few members at a time, which bounds the memory; a patch's members do not depend
        on the other patches of the batch.
        """
        assert not isinstance(generators, torch.Generator)
        section, out = self.section, []
        for row, generator in enumerate(generators):
            part = batch.part(slice(row, row + 1))
            condition, x1, drawn = self.condition(part), self.starts(part), []
            for first in range(0, members, MEMBER_CHUNK):
                count = min(MEMBER_CHUNK, members - first)
                start, fields = (each.expand(count, -1, -1, -1) for each in (x1, condition))

                def predict(x: Tensor, t: Tensor, start: Tensor = start, fields: Tensor = fields) -> Tensor:
                    return self.output(x, t, start, fields).float()

                drawn.append(
                    self.process.sample(
                        predict, start, section.nfe, [generator] * count, kind=section.kind, eta=section.eta
                    )
                )
            # Members as channels: the residual of one patch, in pixels.
            residual = (torch.cat(drawn) - x1)[:, 0][None] * self.unit_px
            if section.keep_block_means:
                residual = with_block_means(residual, part, self.factor)
            out.append(part.prior[:, None] + residual * part.pixel_m[:, None, None, None])
        return torch.cat(out)


class InterpolantNetwork(StochasticNetwork):
    """The drift of the interpolant from the a priori DEM to the DEM.

    The a priori DEM's part of the state I_t and of the drift b is known: where the truth equals x1, they are
    (1 - t + t^2) x1 and (2 t - 1) x1. Input and output of the U-Net are the remainders, divided by epsilon;
    those of the source are the whole fields. Process and loss are the same, but the network need not
    reproduce relief that is many times larger than its errors. The remainder obeys the equation of the
    residual, so one network serves the samplers of both; the Euler-Maruyama steps differ, since 1 - t + t^2
    is not linear.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.
    """

    def __init__(self, section: YasudaSection, size_px: int, factor: int) -> None:
        super().__init__(section, size_px, factor, StochasticInterpolant(section.noise))
        self.noise, self.moves_dem = section.noise, section.target == "dem"

    def output(self, x: Tensor, t: Tensor, x1: Tensor, condition: Tensor) -> Tensor:
        """See `StochasticNetwork`: the drift."""
        beyond = (x - per_sample(1 - t + t**2, x) * x1) / self.noise
        return self.noise * self(beyond, t, condition).float() + per_sample(2 * t - 1, x) * x1

    def starts(self, batch: Batch) -> Tensor:
        """See `StochasticNetwork`."""
        prior = in_pixels(batch.prior, batch) / self.unit_px
        return prior if self.moves_dem else torch.zeros_like(prior)


class DiffusionNetwork(StochasticNetwork):
    """The noise in DEM minus a priori DEM.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.
    """

    def __init__(self, section: DiffusionSection, size_px: int, factor: int) -> None:
        super().__init__(section, size_px, factor, Diffusion(weighting=section.weighting))

    def output(self, x: Tensor, t: Tensor, x1: Tensor, condition: Tensor) -> Tensor:
        """See `StochasticNetwork`: the noise."""
        return self(x, t, condition)

    def starts(self, batch: Batch) -> Tensor:
        """See `StochasticNetwork`."""
        return torch.zeros_like(batch.prior)[:, None]
