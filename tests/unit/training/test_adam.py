"""The optimiser is torch's to the last bit, without what torch's classes import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipeline.training.adam import Adam


def network() -> nn.Module:
    """Two layers that learn and one that the loss never reaches."""
    torch.manual_seed(1)
    return nn.ModuleDict({"a": nn.Linear(7, 5), "b": nn.Linear(5, 3), "idle": nn.Linear(2, 2)})


def descend(net: nn.Module, optimiser: Adam | torch.optim.Optimizer, steps: range, rate: Callable) -> None:
    for step in steps:
        if isinstance(optimiser, Adam):
            optimiser.learning_rate = rate(step)
        else:
            optimiser.param_groups[0]["lr"] = rate(step)
        optimiser.zero_grad()
        x = torch.randn(4, 7, generator=torch.Generator().manual_seed(step))
        loss = (net["b"](net["a"](x).tanh()) ** 2).mean()  # type: ignore[index]
        loss.backward()
        optimiser.step()


def rate(step: int) -> float:
    return 1e-2 / (1 + step)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_weights_are_those_of_torch_bit_for_bit(decay: float, betas: tuple[float, float]) -> None:
    ours, theirs = network(), network()
    descend(ours, Adam(ours.parameters(), 1.0, betas, decay), range(6), rate)
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    descend(theirs, kind(theirs.parameters(), lr=1.0, betas=betas, weight_decay=decay), range(6), rate)
    start = network().state_dict()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
        assert torch.equal(value, start[name]) == name.startswith("idle")


def test_a_state_goes_on_where_it_was_left() -> None:
    straight, resumed = network(), network()
    descend(straight, Adam(straight.parameters(), 1.0), range(6), rate)
    first = Adam(resumed.parameters(), 1.0)
    descend(resumed, first, range(3), rate)
    second = Adam(resumed.parameters(), 1.0)
    saved = first.state()
    second.load_state(saved)
    before = {i: {k: v.clone() for k, v in slots.items()} for i, slots in saved.items()}
    descend(resumed, second, range(3, 6), rate)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert all(torch.equal(v, before[i][k]) for i, slots in saved.items() for k, v in slots.items())
    assert set(saved) == {0, 1, 2, 3}  # what never got a gradient has no state


def test_a_training_step_does_not_import_the_compiler() -> None:
    code = """if True:
        import sys, torch
        from pipeline.training.adam import Adam
        net = torch.nn.Linear(2, 2)
        optimiser = Adam(net.parameters(), 1e-3)
        net(torch.ones(1, 2)).sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        sys.exit("torch._dynamo" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
