"""The aligned network: conditioning in register with the terrain, at full resolution.

The published network squeezes all images into one vector and never sees the Sun. Here a trunk, run once a
sample set, turns the a priori DEM, photometric sums over the set and a light learned image encoder into
a map of features and an estimate of the residual (DEM minus a priori); a light head, run at every time,
reads the state beside those features. Every input is dimensionless: heights in pixels, radiance over the
set's mean lit radiance. So the network depends neither on the scale nor on the exposure.
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

#: Standard deviation of what the estimate leaves over before anything is learned of it, pixels.
SPREAD_PX = 0.05
#: How far its logarithm may go from there: up to a pixel, what terrain itself departs from its block means.
LOG_SPREAD = (-6.0, 3.0)
#: What counts as lit in refined images, over the set's mean lit radiance: more than is left of haze.
REFINED_LIT_SHARE = 0.1
#: Channels of the layer that reads it.
SPREAD_CHANNELS = 16


@dataclass(frozen=True)
class AlignedCondition:
    """What the aligned network keeps of a sample set.

    Attributes
    ----------
    features : (B, F, H, W) in register with the state.
    estimate : of DEM minus a priori, in the section's unit of height; None in latent space.
    origin : (B, 1, P, P) what the head subtracts from the state; None where it subtracts nothing.
    """

    features: Tensor
    estimate: Estimate | None = None
    origin: Tensor | None = None

    def repeat(self, clones: int) -> AlignedCondition:
        """Repeat each sample set `clones` times in a row, to draw several samples of it at once."""
        repeated = replace(self, features=self.features.repeat_interleave(clones, dim=0))
        return repeated._mapped(lambda x: x.repeat_interleave(clones, dim=0))

    def in_states(self, scale: float) -> AlignedCondition:
        """Heights, which are in the section's unit, divided by the `scale` that counts as 1."""
        return self._mapped(lambda heights: heights / scale)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> AlignedCondition:
        """Apply `change` to all that is a height."""
        return replace(
            self,
            estimate=None if self.estimate is None else self.estimate.mapped(change),
            origin=None if self.origin is None else change(self.origin),
        )


class Trunk(ImageGuide):
    """Everything that does not depend on time: sample set -> features, and the residual's estimate.

    Parameters
    ----------
    size_px : side of the patch, pixels.
    factor : pixels a cell of the a priori DEM.
    base : channels at half resolution; levels have base / 2, base, 2 base, 4 base.
    stride : pixels a cell of the state: 1 in pixel space, more in latent space.
    keep_block_means : make the estimate agree with the a priori DEM's block means exactly.
    spread : give the estimate's standard deviation too.
    refine : look at what `pipeline.models.refinement` makes of a sample set.

    Raises
    ------
    ValueError : the state's resolution is not one of the U-Net's levels.
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
                f"more with conditioning 'aligned' and {stride} pixels a latent, found {size_px}"
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
        # What is added to a refined DEM is another thing than what is added to a bicubic one: the weights of
        # the one must not become the other's.
        mean: nn.Module | None = zero(nn.Conv2d(self.features, 1, 3, padding=1)) if stride == 1 else None
        self.to_mean: nn.Module | None = None if refine else mean
        self.to_change: nn.Module | None = mean if refine else None
        self.to_spread: nn.Module | None = None
        if spread:
            seen = self.features + channels_in + (CHANNELS if refine else 0)
            first = nn.Conv2d(seen, SPREAD_CHANNELS, 3, padding=1)
            self.to_spread = nn.Sequential(first, nn.SiLU(), zero(nn.Conv2d(SPREAD_CHANNELS, 1, 1)))

    def forward(self, inputs: Batch, about: Tensor | None = None) -> AlignedCondition:
        """Map a sample set to features, the residual's estimate and its standard deviation, in pixels.

        `about` is what a refinement tells of the pixels, (B, CHANNELS, P, P).
        """
        # Freed of haze, and clipped in some products, negative values tell nothing of the noise.
        seen = self.look(inputs, REFINED_LIT_SHARE if self.refine else None)
        prior, lr, deficit, threshold = seen.prior, seen.lr, seen.deficit, seen.threshold
        x = torch.cat([seen.heights, seen.photometry, deficit, seen.trust], dim=1)
        side = self.encode(inputs, seen)
        h = self.body(x.contiguous(memory_format=torch.channels_last), side=side, more=about)
        h = F.silu(self.norm(h))
        to_mean = self.to_mean if self.to_change is None else self.to_change
        if to_mean is None:
            return AlignedCondition(h)
        mean = deficit + to_mean(h).float()
        if self.refine:
            # Without an image a network knows terrain no better than the kriging of its spots does.
            blind = _blind(inputs)[:, None, None, None]
            mean = torch.where(blind, deficit, mean)
        if self.keep_block_means:
            matched = match_block_means(mean, (lr - block_mean(prior, self.factor))[:, None], self.factor)
            loose = None if inputs.cell_error is None else (inputs.cell_error > 0)[:, None, None, None]
            mean = matched if loose is None else torch.where(loose, mean, matched)
        light = SetLight(threshold, seen.sums.lit == 0)
        if self.refine:
            given = inputs.present.any(dim=1)
            light = SetLight(threshold, light.unlit & given[:, None, None, None], _kind(inputs, given))
        if self.to_spread is None:
            return AlignedCondition(h, Estimate(mean, light))
        # How many images light a pixel says most of what is left open: inputs stand beside the features.
        told = [h, x] if about is None else [h, x, about]
        spread = self.to_spread(torch.cat(told, dim=1)).float()
        return AlignedCondition(h, Estimate(mean, light, SPREAD_PX * torch.exp(spread.clamp(*LOG_SPREAD))))


def _blind(inputs: Batch) -> Tensor:
    """Which of B sets are altimetry without any image, (B,)."""
    if inputs.cell_error is None:
        return torch.zeros(len(inputs), dtype=torch.bool, device=inputs.lr.device)
    return inputs.cell_error.isinf() & ~inputs.present.any(dim=1)


def _kind(inputs: Batch, seen: Tensor) -> Tensor:
    """The kinds of B sets, of which some have images: (B,), see `SetLight`."""
    kind = torch.where(seen, 0, len(HEIGHTS))
    if inputs.cell_error is None:
        return kind
    return kind + torch.where(inputs.cell_error.isinf(), 2, (inputs.cell_error > 0).long())


def noise_scales(size: int) -> tuple[int, ...]:
    """Cells, in pixels a side, of the noise maps that steer a draw: what errors look like at all lengths.

    The largest is the whole patch: one number a draw, for what is off together.
    """
    scales = [2**k for k in range(size.bit_length()) if size % 2**k == 0]
    return tuple(scales if scales[-1] == size else [*scales, size])


class AlignedNet(nn.Module):
    """Trunk and head.

    The state is in the section's unit of height (or a latent). With ``posterior_mean`` it is what the
    estimate leaves over, DEM - a priori - its mean; without, it is the section's target itself, and the head
    subtracts the estimate (and the a priori, for target ``dem``) before it looks.

    Parameters
    ----------
    trunk : built for the state's resolution.
    head : called with (channels, vector); its input has the state's channels and the trunk's features.
    embedding : width of the time embedding.
    height_unit, target, posterior_mean : keys of the section.
    noises : cell sizes of the noise maps that the head reads beside the features; none where it gives a mean.
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
            # The estimate counts from the a priori DEM as it was given.
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
