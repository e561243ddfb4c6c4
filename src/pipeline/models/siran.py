"""SIRAN: a generator whose guide is gated by its critic's spatial attention (Paul & Gupta 2024).

    G(x, z * PSA(A_s(x))),   x: the bicubic a priori DEM, z: the guide, A_s: the critic's attention maps.

From the source: the gating, polarised self-attention of the critic's maps, and the losses (see
`pipeline.training.siran`). Chosen here: instead of one multi-spectral image, z are the maps that `GuideMaps`
computes from a set; A_s are as many maps as z has, between 0 and 1, by which the critic weights its own
features; polarised self-attention belongs to the generator, is trained by its losses, and keeps maps between
0 and 1; generator and critic are those of `pipeline.models.adversarial`, since the source does not describe
its own. The critic's weights are part of the model: without them there is no gate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config.rivals import SiranSection
from pipeline.models.adversarial import Critic, Generator
from pipeline.models.batch import Batch
from pipeline.models.guide import TERRAIN_CHANNELS, GuideMaps, terrain_fields
from pipeline.models.polarised import PolarisedAttention
from pipeline.models.rivals import RivalNetwork, in_pixels


class Siran(RivalNetwork):
    """Generator and critic.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.

    Attributes
    ----------
    critic : classifies DEMs as real or fake; its attention gates the guide.
    """

    def __init__(self, section: SiranSection, size_px: int, factor: int) -> None:
        super().__init__(section, factor)
        self.critic = Critic(section.critic_base, factor, looks=section.spatial_attention)
        channels = self.critic.channels
        self.guide = GuideMaps(factor, channels) if section.guide else None
        self.polarised = PolarisedAttention(channels) if section.polarised_attention else None
        sizes = section.width, section.growth, section.blocks
        channels_in = TERRAIN_CHANNELS + (channels if section.guide else 0)
        self.generator = Generator(channels_in, *sizes)

    def generator_parameters(self) -> list[nn.Parameter]:
        """All parameters except the critic's."""
        critic = {id(p) for p in self.critic.parameters()}
        return [p for p in self.parameters() if id(p) not in critic]

    def gate(self, batch: Batch) -> Tensor:
        """Factors on the guide maps: (B, C, P, P) between 0 and 1. No gradient reaches the critic."""
        with torch.no_grad():
            maps = self.critic.attention(in_pixels(batch.prior, batch))
        if self.polarised is not None:
            maps = self.polarised(maps)
        return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)

    def residual(self, batch: Batch) -> Tensor:
        """See `RivalNetwork`."""
        if self.guide is None:
            return self.generator(terrain_fields(batch, self.factor))
        terrain, z = self.guide(batch)
        if self.critic.looks is not None:
            z = z * self.gate(batch)
        return self.generator(torch.cat([terrain, z], dim=1))
