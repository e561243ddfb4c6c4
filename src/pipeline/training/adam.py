"""Adam and AdamW by torch's functional form.

`torch.optim.Adam` imports torch's compiler as soon as it is made: seconds of CPU time in each job, more than
a short training works. The arithmetic is the same to the last bit; tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

_EPS = 1e-8


class Adam:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (AdamW, Loshchilov & Hutter 2019).

    Parameters
    ----------
    parameters : what is trained; those that never get a gradient are left alone and have no state.
    learning_rate : step size; may be set between steps.
    betas : decay of the averages of the gradient and of its square.
    weight_decay : share of each weight, times the step size, that a step takes away; 0 is plain Adam.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.betas, self.weight_decay = learning_rate, betas, weight_decay
        self._state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient."""
        moved = [(i, p) for i, p in enumerate(self.parameters) if p.grad is not None]
        slots = [self._slots(i, p) for i, p in moved]
        averages, squares, steps = ([s[k] for s in slots] for k in ("exp_avg", "exp_avg_sq", "step"))
        parameters, gradients = [p for _, p in moved], [p.grad for _, p in moved]
        adam(
            parameters, gradients, averages, squares, [], steps,  # type: ignore[arg-type]
            decoupled_weight_decay=True, amsgrad=False, maximize=False, eps=_EPS,
            beta1=self.betas[0], beta2=self.betas[1], lr=self.learning_rate, weight_decay=self.weight_decay,
        )  # fmt: skip

    def _slots(self, index: int, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's averages and its count of steps (on the CPU, where it is read)."""
        if index not in self._state:
            zeros = partial(torch.zeros_like, parameter, memory_format=torch.preserve_format)
            self._state[index] = {"step": torch.tensor(0.0), "exp_avg": zeros(), "exp_avg_sq": zeros()}
        return self._state[index]

    def state(self) -> dict[int, dict[str, Tensor]]:
        """What a checkpoint must hold: tensors by the parameter's number and the slot's name."""
        return self._state

    def load_state(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Take over what `state` gave, on the parameters' device."""
        self._state = {
            index: {
                name: value.clone() if name == "step" else value.to(self.parameters[index].device, copy=True)
                for name, value in slots.items()
            }
            for index, slots in state.items()
        }
