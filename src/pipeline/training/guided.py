"""Stage ``guided``: training of the deformable kernel network (Kim, Ponce & Ham 2021)."""

from __future__ import annotations

from functools import partial

from torch import nn

from pipeline.config.rivals import GuidedSection
from pipeline.models.guided import DeformableKernels
from pipeline.training.rivals import DirectTask, train_rival_network


class GuidedTask(DirectTask[GuidedSection]):
    """See `DirectTask`."""

    def build(self, size_px: int, factor: int) -> dict[str, nn.Module]:
        """The network."""
        return {"model": DeformableKernels(self.section, size_px, factor)}


train = partial(train_rival_network, "guided", GuidedTask, GuidedSection)
