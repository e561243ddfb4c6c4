"""Parts of the training loop: the learning rate, the average of the weights, the curve."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from pipeline.config.training import OptimiserSection
from pipeline.training.loop import Ema, learning_rate
from pipeline.training.progress import Progress


def test_the_learning_rate_warms_up_and_decays() -> None:
    flat = OptimiserSection(samples=1000, batch=10, learning_rate=0.5)
    assert {learning_rate(flat, seen) for seen in range(0, 1000, 10)} == {0.5}
    warm = OptimiserSection(samples=1000, batch=10, learning_rate=0.5, warmup_samples=100)
    rates = [learning_rate(warm, seen) for seen in range(0, 200, 10)]
    assert rates[0] == pytest.approx(0.5 * 10 / 110)
    assert [b - a for a, b in itertools.pairwise(rates[:10])] == pytest.approx([0.5 * 10 / 110] * 9)
    assert rates[10:] == [0.5] * 10
    cosine = OptimiserSection(samples=1000, batch=10, learning_rate=0.5, decay="cosine")
    assert learning_rate(cosine, 0) == 0.5
    assert learning_rate(cosine, 500) == pytest.approx(0.25)
    assert learning_rate(cosine, 250) == pytest.approx(0.25 * (1 + math.sqrt(0.5)))
    assert learning_rate(cosine, 1000) == pytest.approx(0)
    assert learning_rate(cosine, 2000) == pytest.approx(0)


def test_the_average_follows_its_formula() -> None:
    module = nn.Linear(2, 1)
    module.register_buffer("count", torch.tensor(0))
    average, wanted = Ema(module, 0.5), module.weight.detach().clone()
    for step in range(1, 12):
        with torch.no_grad():
            module.weight.fill_(step)
        module.count.fill_(step)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    torch.testing.assert_close(average.state()["weight"], wanted)
    assert average.state()["count"] == 11


def test_no_average_ships_the_weights() -> None:
    module = nn.Linear(2, 1)
    average = Ema(module, 0.0)
    average.update()
    assert torch.equal(average.state()["weight"], module.weight)
    assert average.state()["weight"].data_ptr() != module.weight.data_ptr()


def test_the_curve_averages_steps_and_has_a_bounded_length() -> None:
    progress = Progress(batch=1, samples=1000)
    for step in range(1000):
        progress.advance({"loss": float(step)}, 0.1)
    assert len(progress.history) == 200
    assert progress.history[0] == {"samples": 5, "learning_rate": 0.1, "loss": 2.0}
    assert progress.history[-1]["samples"] == 1000
    short = Progress(batch=7, samples=20)
    lines = [short.advance({"loss": 1.0}, 0.1) for _ in range(3)]
    assert [line["samples"] for line in lines if line] == [7, 14, 21]


def test_a_loss_that_some_steps_have_is_averaged_over_these() -> None:
    straight, first = Progress(batch=1, samples=800), Progress(batch=1, samples=800)
    steps = [{"loss": 1.0}, {"loss": 3.0, "critic": 5.0}, {"critic": 7.0}, {"loss": 2.0}]
    for step in steps:
        straight.advance(step, 0.1)
    assert straight.history == [{"samples": 4, "learning_rate": 0.1, "loss": 2.0, "critic": 6.0}]
    for step in steps[:2]:
        first.advance(step, 0.1)
    resumed = Progress(batch=1, samples=800)
    resumed.resume(2, first.state())
    for step in steps[2:]:
        resumed.advance(step, 0.1)
    assert resumed.history == straight.history
