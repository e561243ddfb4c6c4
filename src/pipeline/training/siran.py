"""Stage ``siran``: training of SIRAN (Paul & Gupta 2024).

Loss of the generator, for its DEM G and the true DEM y in units of a pixel:

    w_P mean (G - y)^2 - w_S mean log SSIM(G, y) - w_A mean log D(G) + w_OT S_eps(G, y),

with S the debiased Sinkhorn divergence of the batch (the source's slide omits y in the pixel loss). Critic:

    - mean log D(y) - mean log(1 - D(G)) + w_DA mean (A_s(x) - A_s(y))^2.

The last term is the source's domain adaptation: in use, attention maps are computed from the a priori DEM x,
the only one available, while the critic is trained on fine DEMs; maps of x and of y should therefore agree.
It adapts between coarse and fine DEMs, not between regions: no data of test regions may enter a training.
Generator and critic take one step each on every batch; the source does not state this ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config.rivals import SiranSection
from pipeline.config.stages.training import RivalStage
from pipeline.models.adversarial import Critic
from pipeline.models.adversarial_losses import (
    critic_loss,
    generator_loss,
    similarity_loss,
    sinkhorn_divergence,
)
from pipeline.models.siran import Siran
from pipeline.shards.shard_set import ShardSet
from pipeline.training.adversarial import AdversarialTask, Terms
from pipeline.training.rivals import train_rival_network


class SiranTask(AdversarialTask[SiranSection]):
    """See `AdversarialTask`; generator and critic are in one module, each with its own optimiser."""

    def __init__(
        self,
        stage: RivalStage,
        section: SiranSection,
        shards: ShardSet,
        device: torch.device,
        track: Sequence[Path | str] = (),
    ) -> None:
        super().__init__(stage, section, shards, device, track)
        self.optimisers = {
            "model": self._adam(self.siran.generator_parameters()),
            "critic": self._adam(self.critic.parameters()),
        }

    def build(self, size_px: int, factor: int) -> dict[str, nn.Module]:
        """Generator and critic, whose attention the generator needs."""
        return {"model": Siran(self.section, size_px, factor)}

    @property
    def siran(self) -> Siran:
        """Generator and critic."""
        network = self.network
        assert isinstance(network, Siran)
        return network

    @property
    def critic(self) -> Critic:
        """See `AdversarialTask`."""
        return self.siran.critic

    def generator_terms(self, made: Tensor, truth: Tensor) -> Terms:
        """See `AdversarialTask`."""
        section = self.section
        terms: Terms = {"pixel": (section.pixel_weight, F.mse_loss(made, truth))}
        if section.ssim_weight > 0:
            terms["similarity"] = section.ssim_weight, similarity_loss(made, truth)
        if section.sinkhorn:
            terms["sinkhorn"] = section.sinkhorn_weight, sinkhorn_divergence(made, truth, section.epsilon)
        return terms

    def adversarial(self, made: Tensor, truth: Tensor) -> Tensor:
        """See `AdversarialTask`."""
        return generator_loss(self.critic(made))

    def critic_terms(self, made: Tensor, truth: Tensor, prior: Tensor) -> Terms:
        """See `AdversarialTask`."""
        terms: Terms = {"judged": (1.0, critic_loss(self.critic(truth), self.critic(made)))}
        if self.section.spatial_attention:
            difference = F.mse_loss(self.critic.attention(prior), self.critic.attention(truth))
            terms["adaptation"] = self.section.adaptation_weight, difference
        return terms


train = partial(train_rival_network, "siran", SiranTask, SiranSection)
