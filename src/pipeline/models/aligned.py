"""The aligned network: conditioning aligned with the terrain's pixels, at full resolution.

The published network encodes all images in one vector and does not use the Sun's direction. Here a trunk, run
once per sample set, turns the a priori DEM, photometric sums over the set and the output of a small learned
image encoder into a feature map and an estimate of the residual (DEM minus a priori); a small head, run at
every time, takes the state together with these features. Every input is dimensionless: heights in pixels,
radiance over the set's mean lit radiance. The network therefore depends neither on scale nor on exposure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.bridges.base import Generators, normal
from pipeline.models.apriori import match_block_means
from pipeline.models.batch import Batch
from pipeline.models.blocks import TimeEmbedding, group_norm, zero
from pipeline.models.estimate import Estimate
from pipeline.models.guide import IMAGE_CHANNELS, TERRAIN_CHANNELS, ImageGuide
from pipeline.models.inputs import height_scale
from pipeline.models.photometric import SetLight
from pipeline.models.refinement import CHANNELS, refined
from pipeline.models.unet import UNet, levels_for
from pipeline.storage.calibration_law import HEIGHTS
from pipeline.terrain.blocks import block_mean

#: Initial standard deviation of the estimate's error, before training, pixels.
SPREAD_PX = 0.05
#: Range of its logarithm relative to that: up to a pixel, the departure of terrain from its block means.
LOG_SPREAD = (-6.0, 3.0)
#: Radiance above which pixels of refined images count as lit, over the set's mean lit radiance; above haze.
REFINED_LIT_SHARE = 0.1
#: Channels of the hidden layer of the spread.
SPREAD_CHANNELS = 16


@dataclass(frozen=True)
class AlignedCondition:
    """The aligned network's conditioning on a sample set.

    Attributes
    ----------
    features : (B, F, H, W), aligned with the state's pixels.
    estimate : of DEM minus a priori, in the section's unit of height; None in latent space.
    origin : (B, 1, P, P) heights that the head subtracts from the state; None for nothing.
    """

    features: Tensor
    estimate: Estimate | None = None
    origin: Tensor | None = None

    def repeat(self, clones: int) -> AlignedCondition:
        """Repeat each sample set `clones` times in a row, to draw several samples at once."""
        repeated = replace(self, features=self.features.repeat_interleave(clones, dim=0))
        return repeated._mapped(lambda x: x.repeat_interleave(clones, dim=0))

    def in_states(self, scale: float) -> AlignedCondition:
        """Convert heights from the section's unit to units of the states, of size `scale`."""
        return self._mapped(lambda heights: heights / scale)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> AlignedCondition:
        """Apply `change` to all heights."""
        return replace(
            self,
            estimate=None if self.estimate is None else self.estimate.mapped(change),
            origin=None if self.origin is None else change(self.origin),
        )


class Trunk(ImageGuide):
    """The part that does not depend on time: sample set -> features, and the residual's estimate.

    Parameters
    ----------
    size_px : side of the patch, pixels.
    factor : pixels per cell of the a priori DEM.
    base : channels at half resolution; levels have base / 2, base, 2 base, 4 base.
    stride : pixels per cell of the state: 1 in pixel space, more in latent space.
    keep_block_means : make the estimate agree with the a priori DEM's block means exactly.
    spread : give the estimate's standard deviation too.
    refine : take the output of `pipeline.models.refinement` instead of the sample set itself.

    Raises
    ------
    ValueError
        If the state's resolution is not one of the U-Net's levels.
    """

    def __init__(
        self,
        size_px: int,
        factor: int,
        base: int,
        stride: int,
        keep_block_means: bool,
        spread: bool = False,
        refine: bool = False,
    ) -> None:
        side = max(4, base // 4)
        super().__init__(factor, side)
        self.keep_block_means, self.refine = keep_block_means, refine
        levels = levels_for(size_px, 4)
        out_level = stride.bit_length() - 1
        if 2**out_level != stride or out_level >= levels or levels < 2:
            raise ValueError(
                f"patches.size_px: expected a size that halves {max(out_level, 1)} times to 3 cells or "
                f"more with conditioning 'aligned' and {stride} pixels per latent, found {size_px}"
            )
        widths = [max(4, base // 2), base, 2 * base, 4 * base][:levels]
        self.features = widths[out_level]
        channels_in = TERRAIN_CHANNELS + IMAGE_CHANNELS
        down, up = [0, 1, 1, 1][:levels], [1, 1, 1, 1][:levels]
        self.body = UNet(
            channels_in,
            widths,
            down,
            up,
            side_channels=side,
            out_level=out_level,
            more_channels=CHANNELS if refine else 0,
        )
        self.norm = group_norm(self.features)
        # Corrections to a refined DEM differ from those to a bicubic one: different names, so that weights of
        # one cannot be loaded into the other.
        mean: nn.Module | None = zero(nn.Conv2d(self.features, 1, 3, padding=1)) if stride == 1 else None
        self.to_mean: nn.Module | None = None if refine else mean
        self.to_change: nn.Module | None = mean if refine else None
        self.to_spread: nn.Module | None = None
        if spread:
            channels = self.features + channels_in + (CHANNELS if refine else 0)
            first = nn.Conv2d(channels, SPREAD_CHANNELS, 3, padding=1)
            self.to_spread = nn.Sequential(first, nn.SiLU(), zero(nn.Conv2d(SPREAD_CHANNELS, 1, 1)))

    def forward(self, inputs: Batch, about: Tensor | None = None) -> AlignedCondition:
        """Map a sample set to features, the residual's estimate and its standard deviation, in pixels.

        `about` are the maps of a refinement, (B, CHANNELS, P, P).
        """
        # Without haze, and clipped in some products, negative values no longer indicate the noise.
        look = self.look(inputs, REFINED_LIT_SHARE if self.refine else None)
        prior, lr, deficit, threshold = look.prior, look.lr, look.deficit, look.threshold
        x = torch.cat([look.heights, look.photometry, deficit, look.trust], dim=1)
        side = self.encode(inputs, look)
        h = self.body(x.contiguous(memory_format=torch.channels_last), side=side, more=about)
        h = F.silu(self.norm(h))
        to_mean = self.to_mean if self.to_change is None else self.to_change
        if to_mean is None:
            return AlignedCondition(h)
        mean = deficit + to_mean(h).float()
        if self.refine:
            # Without images a network does not improve on the kriging of the spots.
            blind = _blind(inputs)[:, None, None, None]
            mean = torch.where(blind, deficit, mean)
        if self.keep_block_means:
            matched = match_block_means(mean, (lr - block_mean(prior, self.factor))[:, None], self.factor)
            loose = None if inputs.cell_error is None else (inputs.cell_error > 0)[:, None, None, None]
            mean = matched if loose is None else torch.where(loose, mean, matched)
        light = SetLight(threshold, look.sums.lit == 0)
        if self.refine:
            given = inputs.present.any(dim=1)
            light = SetLight(threshold, light.unlit & given[:, None, None, None], _kind(inputs, given))
        if self.to_spread is None:
            return AlignedCondition(h, Estimate(mean, light))
        # The number of images that light a pixel explains most of the spread: the inputs are used too.
        fields = [h, x] if about is None else [h, x, about]
        spread = self.to_spread(torch.cat(fields, dim=1)).float()
        return AlignedCondition(h, Estimate(mean, light, SPREAD_PX * torch.exp(spread.clamp(*LOG_SPREAD))))


def _blind(inputs: Batch) -> Tensor:
    """Sets that are altimetry without any image, (B,) bool."""
    if inputs.cell_error is None:
        return torch.zeros(len(inputs), dtype=torch.bool, device=inputs.lr.device)
    return inputs.cell_error.isinf() & ~inputs.present.any(dim=1)


def _kind(inputs: Batch, with_images: Tensor) -> Tensor:
    """The kinds of B sets, see `SetLight`; `with_images` (B,) marks those that have images."""
    kind = torch.where(with_images, 0, len(HEIGHTS))
    if inputs.cell_error is None:
        return kind
    return kind + torch.where(inputs.cell_error.isinf(), 2, (inputs.cell_error > 0).long())


def noise_scales(size: int) -> tuple[int, ...]:
    """Cell sizes, pixels, of the noise maps that determine a draw: errors at all length scales.

    The largest is the whole patch: one number per draw, for the common error of its pixels.
    """
    scales = [2**k for k in range(size.bit_length()) if size % 2**k == 0]
    return tuple(scales if scales[-1] == size else [*scales, size])


class AlignedNet(nn.Module):
    """Trunk and head.

    The state is in the section's unit of height (or a latent). With ``posterior_mean`` it is the remaining
    residual, DEM - a priori - the estimate's mean; without, it is the section's target itself, and the head
    subtracts the estimate (and the a priori DEM, for target ``dem``) from its input.

    Parameters
    ----------
    trunk : built for the state's resolution.
    head : called with (channels, vector); its input has the state's channels and the trunk's features.
    embedding : width of the time embedding.
    height_unit, target, posterior_mean : keys of the section.
    noises : cell sizes of the noise maps that are inputs of the head; empty where it returns a mean.
    """

    def __init__(
        self,
        trunk: Trunk,
        head: nn.Module,
        embedding: int,
        height_unit: Literal["km", "pixel"],
        target: Literal["dem", "residual"],
        posterior_mean: bool,
        noises: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.noises = noises
        self.trunk, self.head, self.time = trunk, head, TimeEmbedding(embedding)
        self.height_unit, self.target, self.posterior_mean = height_unit, target, posterior_mean

    def condition(self, inputs: Batch) -> AlignedCondition:
        """Run the trunk, once for all times."""
        if self.trunk.refine:
            refinement = refined(inputs, self.trunk.factor)
            found: AlignedCondition = self.trunk(refinement.batch, refinement.about)
            assert found.estimate is not None
            # The estimate is relative to the a priori DEM as given, before the refinement.
            moved = ((refinement.batch.prior - inputs.prior) / inputs.pixel_m[:, None, None])[:, None]
            estimate = replace(found.estimate, mean=found.estimate.mean + moved, start=moved)
            found = replace(found, estimate=estimate)
        else:
            found = self.trunk(inputs)
        if found.estimate is None:
            return found
        scale = height_scale(self.height_unit, inputs.pixel_m)[:, None, None, None]
        pixel = inputs.pixel_m[:, None, None, None] * scale
        estimate = found.estimate.mapped(lambda heights: heights * pixel)
        if self.posterior_mean:
            return replace(found, estimate=estimate)
        mean = estimate.mean
        origin = mean + inputs.prior[:, None] * scale if self.target == "dem" else mean
        return replace(found, estimate=estimate, origin=origin)

    def draw_noise(self, like: Tensor, generator: Generators) -> Tensor:
        """Noise maps for one draw of states (B, C, H, W): (B, len(noises), H, W)."""
        height, width = like.shape[-2:]
        maps = []
        for cell in self.noises:
            coarse = normal(like.new_empty((len(like), 1, height // cell, width // cell)), generator)
            maps.append(coarse.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3))
        return torch.cat(maps, dim=1)

    def forward(self, x_t: Tensor, t: Tensor, cond: AlignedCondition, noise: Tensor | None = None) -> Tensor:
        """Map states (B, C, H, W) at times (B,) in [0, 1] to the process's target, the same shape.

        With noise maps (B, len(noises), H, W) the result is a draw of the target, not its mean.
        """
        state = x_t if cond.origin is None else x_t - cond.origin
        inputs = [state, cond.features] if noise is None else [state, cond.features, noise]
        return self.head(torch.cat(inputs, dim=1), self.time(t))
