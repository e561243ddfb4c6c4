"""Adam with decoupled weight decay, by hand: torch's optimisers import its compiler on their first use, which
takes as long as the import of torch itself in each of a run's many short jobs. Nothing here is compiled.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class AdamW:
    """Kingma & Ba 2015, algorithm 1, with the weight decay of Loshchilov & Hutter 2019, algorithm 2.

    Parameters
    ----------
    parameters : what is trained; a parameter without a gradient stays as it is.
    learning_rate : step size; may be set before each step.
    betas : decay of the first and the second moment.
    weight_decay : share of the weights that is lost a step, in units of the learning rate.
    epsilon : added to the root of the second moment.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.betas = learning_rate, betas
        self.weight_decay, self.epsilon = weight_decay, epsilon
        self.steps = 0
        self.first = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.second = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters along their gradients."""
        self.steps += 1
        moved = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        if not moved:
            return
        weights: list[Tensor] = [self.parameters[i] for i in moved]
        gradients = [g for i in moved if (g := self.parameters[i].grad) is not None]
        first, second = [self.first[i] for i in moved], [self.second[i] for i in moved]
        decay_1, decay_2 = self.betas
        torch._foreach_mul_(weights, 1 - self.learning_rate * self.weight_decay)
        torch._foreach_lerp_(first, gradients, 1 - decay_1)
        torch._foreach_mul_(second, decay_2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - decay_2)
        # Both moments start at zero; the corrections make up for it.
        root = torch._foreach_sqrt(second)
        torch._foreach_div_(root, (1 - decay_2**self.steps) ** 0.5)
        torch._foreach_add_(root, self.epsilon)
        torch._foreach_addcdiv_(weights, first, root, -self.learning_rate / (1 - decay_1**self.steps))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        out = {"steps": torch.tensor(self.steps)}
        for i, (first, second) in enumerate(zip(self.first, self.second)):
            out |= {f"first/{i}": first, f"second/{i}": second}
        return out

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Invert `state`."""
        self.steps = int(state["steps"])
        for i, (first, second) in enumerate(zip(self.first, self.second)):
            first.copy_(state[f"first/{i}"])
            second.copy_(state[f"second/{i}"])
