"""Adversarial trainings: one step of the generator and one of the critic on every batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.config.rivals import AdversarialSection
from pipeline.models.adversarial import Critic
from pipeline.models.rivals import in_pixels
from pipeline.training.rivals import Prepared, RivalTask

A = TypeVar("A", bound=AdversarialSection)
#: Weight and value of each part of a loss.
Terms = dict[str, tuple[float, Tensor]]


class AdversarialTask(RivalTask[A]):
    """Training of a generator, the module ``model``, and a critic; DEMs (B, 1, P, P) in units of a pixel.

    With several processes, losses that compare samples do so within each process's share of a batch.
    """

    @property
    @abstractmethod
    def critic(self) -> Critic:
        """The critic."""

    @abstractmethod
    def generator_terms(self, made: Tensor, truth: Tensor) -> Terms:
        """The generator's losses except the adversarial one."""

    @abstractmethod
    def adversarial(self, made: Tensor, truth: Tensor) -> Tensor:
        """The generator's adversarial loss."""

    @abstractmethod
    def critic_terms(self, made: Tensor, truth: Tensor, prior: Tensor) -> Terms:
        """The critic's losses; `made` has no gradient."""

    def step(self, prepared: Prepared, numbers: Sequence[int], seen: int) -> dict[str, float]:
        """One step of the generator, then one of the critic, on the same batch."""
        batch, section = self.batch(prepared, numbers), self.section
        assert batch.dem is not None
        truth, prior = in_pixels(batch.dem, batch), in_pixels(batch.prior, batch)
        self.critic.requires_grad_(False)
        with self._autocast():
            made = prior + self.network(batch)
        terms = self.generator_terms(made, truth)
        if section.adversarial_weight > 0 and seen >= section.adversarial_start_samples:
            with self._autocast():
                terms["adversarial"] = section.adversarial_weight, self.adversarial(made, truth)
        loss = _total(terms)
        self._descend("model", loss)
        self.critic.requires_grad_(True)
        with self._autocast():
            judged = self.critic_terms(made.detach(), truth, prior)
        critic = _total(judged)
        self._descend("critic", critic)
        parts = {name: value for name, (_, value) in (terms | judged).items()}
        return {name: value.item() for name, value in {"loss": loss, "critic": critic, **parts}.items()}


def _total(terms: Terms) -> Tensor:
    return torch.stack([weight * value for weight, value in terms.values()]).sum()
