"""A GAN in the manner of ESRGAN (Wang et al. 2018), guided by images.

From the source: the generator's blocks without norms, absolute error, relativistic average critic. Chosen
here: sizes, half the resolution inside, a critic of patches, the guide maps as further input channels, and no
perceptual loss, since its network was trained on photographs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.config.rivals import GanSection
from pipeline.models.adversarial import Generator
from pipeline.models.batch import Batch
from pipeline.models.guide import TERRAIN_CHANNELS, GuideMaps
from pipeline.models.rivals import RivalNetwork


class Gan(RivalNetwork):
    """The generator on terrain and guide.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.
    """

    def __init__(self, section: GanSection, size_px: int, factor: int) -> None:
        super().__init__(section, factor)
        channels = 2 * section.critic_base
        self.guide = GuideMaps(factor, channels)
        sizes = section.width, section.growth, section.blocks
        self.generator = Generator(TERRAIN_CHANNELS + channels, *sizes)

    def residual(self, batch: Batch) -> Tensor:
        """See `RivalNetwork`."""
        return self.generator(torch.cat(self.guide(batch), dim=1))
