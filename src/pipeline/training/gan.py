"""Stage ``gan``: training of a GAN after ESRGAN (Wang et al. 2018).

Generator loss: weighted sum of absolute error and relativistic average adversarial loss (Jolicoeur-Martineau
2018).
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config.rivals import GanSection
from pipeline.models.adversarial import Critic
from pipeline.models.adversarial_losses import critic_loss, relative
from pipeline.models.gan import Gan
from pipeline.training.adversarial import AdversarialTask, Terms
from pipeline.training.rivals import train_rival_network


class GanTask(AdversarialTask[GanSection]):
    """See `AdversarialTask`."""

    def build(self, size_px: int, factor: int) -> dict[str, nn.Module]:
        """Generator with its guide; the critic, which is not shipped."""
        critic = Critic(self.section.critic_base, factor)
        return {"model": Gan(self.section, size_px, factor), "critic": critic}

    @property
    def critic(self) -> Critic:
        """See `AdversarialTask`."""
        critic = self.modules["critic"]
        assert isinstance(critic, Critic)
        return critic

    def generator_terms(self, made: Tensor, truth: Tensor) -> Terms:
        """See `AdversarialTask`."""
        return {"pixel": (self.section.pixel_weight, F.l1_loss(made, truth))}

    def adversarial(self, made: Tensor, truth: Tensor) -> Tensor:
        """See `AdversarialTask`; it also asks that real maps seem less real than the mean generated map."""
        real, fake = relative(self.critic(truth), self.critic(made))
        return critic_loss(fake, real)

    def critic_terms(self, made: Tensor, truth: Tensor, prior: Tensor) -> Terms:
        """See `AdversarialTask`."""
        return {"judged": (1.0, critic_loss(*relative(self.critic(truth), self.critic(made))))}


train = partial(train_rival_network, "gan", GanTask, GanSection)
