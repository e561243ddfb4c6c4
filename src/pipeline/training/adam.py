"""Adam and AdamW with torch's functional form.

`torch.optim.Adam` imports torch's compiler when it is created, which takes seconds of CPU time, longer than a
short training. The arithmetic is the same to the last bit, as tests check.
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
    parameters : to train; those without a gradient are not changed and have no state.
    learning_rate : step size; may be set between steps.
    betas : decay rates of the averages of the gradient and of its square.
    weight_decay : each step subtracts this share, times the step size, of each weight; 0 is plain Adam.
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
        self.updates = 0  # of this object; checkpoints do not have it

    def zero_grad(self) -> None:
        """Delete the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have a gradient."""
        self.updates += 1
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
        """A parameter's averages and number of steps (on the CPU, where it is read)."""
        if index not in self._state:
            zeros = partial(torch.zeros_like, parameter, memory_format=torch.preserve_format)
            self._state[index] = {"step": torch.tensor(0.0), "exp_avg": zeros(), "exp_avg_sq": zeros()}
        return self._state[index]

    def state(self) -> dict[int, dict[str, Tensor]]:
        """State for a checkpoint: tensors by number of the parameter and name of the slot."""
        return self._state

    def load_state(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Restore the output of `state`, on the parameters' device."""
        self._state = {
            index: {
                name: value.clone() if name == "step" else value.to(self.parameters[index].device, copy=True)
                for name, value in slots.items()
            }
            for index, slots in state.items()
        }
