"""What every process promises: shapes, calls, determinism, independence; and the factory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from pipeline.bridges.base import Process, distances
from pipeline.bridges.diffusion import Diffusion
from pipeline.bridges.factory import make_process, sampler_kwargs
from pipeline.bridges.i2sb import I2SB
from pipeline.bridges.interpolant import StochasticInterpolant
from pipeline.config.bridge import SAMPLER_KINDS, BridgeSampler, BridgeSection

PROCESSES: dict[str, Process] = {
    "i2sb": I2SB(),
    "interpolant": StochasticInterpolant(),
    "diffusion": Diffusion(0.5),
}
CASES = [(name, kind) for name, process in PROCESSES.items() for kind in process.kinds]

cases = st.sampled_from(CASES)
shapes = st.tuples(*[st.integers(1, high) for high in (3, 4, 5, 5)])
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=30, deadline=None)


def network(x: Tensor, t: Tensor) -> Tensor:
    """Some elementwise function, so that samples of a batch do not meet in it."""
    return torch.tanh(x) + t.reshape(-1, 1, 1, 1) * 0.3


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@quick
@given(cases, shapes, st.integers(1, 12), st.sampled_from(["uniform", "quadratic"]), st.floats(0, 1), seeds)
def test_samples_have_the_starts_shape_and_cost_exactly_nfe_calls(case, shape, nfe, grid, eta, seed):
    name, kind = case
    nfe *= 2 if kind == "heun" else 1
    calls: list[Tensor] = []

    def counted(x: Tensor, t: Tensor) -> Tensor:
        assert x.shape == shape and x.dtype == torch.float32
        assert t.shape == shape[:1] and t.dtype == torch.float32
        calls.append(t)
        return network(x, t)

    start = torch.randn(shape, generator=seeded(0))
    kept = start.clone()
    kwargs = {"kind": kind, "grid": grid, "eta": eta}
    first = PROCESSES[name].sample(counted, start, nfe, seeded(seed), **kwargs)
    assert len(calls) == nfe
    assert all(bool(((t >= 0) & (t <= 1)).all()) for t in calls)
    assert first.shape == shape and bool(torch.isfinite(first).all())
    assert torch.equal(start, kept)
    assert torch.equal(first, PROCESSES[name].sample(network, start, nfe, seeded(seed), **kwargs))


@quick
@given(cases, st.integers(2, 4), seeds)
def test_with_its_own_generator_a_sample_does_not_depend_on_its_batch_mates(case, batch, seed):
    """One generator for the whole batch draws one tensor: then a sample's noise follows its place in it."""
    name, kind = case
    process, kwargs = PROCESSES[name], {"kind": kind, "eta": 0.5}
    start = torch.randn(batch, 2, 4, 4, generator=seeded(seed))
    together = process.sample(network, start, 4, [seeded(seed + i) for i in range(batch)], **kwargs)
    for i in range(batch):
        alone = process.sample(network, start[i : i + 1], 4, [seeded(seed + i)], **kwargs)
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-6, atol=1e-6)


@quick
@given(st.sampled_from(sorted(PROCESSES)), shapes, st.booleans(), seeds)
def test_training_pairs_are_deterministic_and_their_target_gives_back_the_truth(name, shape, each, seed):
    process = PROCESSES[name]
    x0 = torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
    x1 = torch.randn(shape, generator=seeded(seed + 1), dtype=torch.float64)

    def generators():
        return [seeded(seed + i) for i in range(shape[0])] if each else seeded(seed)

    pair, again = (process.training_pair(x0, x1, generators()) for _ in range(2))
    for field in ("x_t", "t", "target", "weight"):
        assert torch.equal(getattr(pair, field), getattr(again, field))
    assert pair.x_t.shape == pair.target.shape == shape
    assert pair.t.shape == pair.weight.shape == shape[:1]
    assert pair.t.dtype == pair.weight.dtype == torch.float32
    # Times reach the denoiser in float32; the interpolant amplifies their rounding by up to 1/t.
    tolerance = 1e-5 / float(pair.t.clamp_min(1e-3).min())
    np.testing.assert_allclose(process.denoise(pair.x_t, pair.t, pair.target, x1), x0, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_noise_follows_the_seed_unless_noise_free(name, kind):
    process, start = PROCESSES[name], torch.ones(1, 1, 8, 8)
    noisy = [process.sample(network, start, 4, seeded(i), kind=kind) for i in (0, 1)]
    assert torch.equal(*noisy) == (kind == "ode")
    free = process.sample(network, start, 4, None, kind=kind, noise_free=True)
    assert float(free.std()) < 1e-6


@pytest.mark.parametrize("name", PROCESSES)
def test_half_precision_networks_keep_float32_states(name):
    def half(x: Tensor, t: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        return network(x, t).bfloat16()

    start = torch.ones(2, 1, 4, 4, dtype=torch.bfloat16)
    assert PROCESSES[name].sample(half, start, 3, seeded(0)).dtype == torch.float32


@pytest.mark.parametrize("name", PROCESSES)
def test_sampling_keeps_no_graph(name):
    weight = torch.ones((), requires_grad=True)
    start = torch.ones(1, 1, 4, 4)
    assert not PROCESSES[name].sample(lambda x, t: weight * x, start, 3, seeded(0)).requires_grad


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"kind": "leapfrog"}, "sampler.kind: expected one of posterior, ode, dbim"),
        ({"grid": "cubic"}, "sampler.grid: expected one of uniform, quadratic"),
        ({"eta": 1.5}, "sampler.eta: expected a number in"),
        ({"nfe": 0}, "sampler.nfe: expected at least 1"),
        ({"generator": None}, "generator: expected a torch.Generator"),
        ({"generator": [torch.Generator()]}, "generator: expected one per sample, 2 in all, found 1"),
        ({"predict": lambda x, t: x[:1]}, "network output: expected shape"),
    ],
)
def test_what_cannot_be_sampled_is_refused(kwargs, message):
    call = {"predict": network, "x1": torch.ones(2, 1, 4, 4), "nfe": 3, "generator": seeded(0)} | kwargs
    with pytest.raises(ValueError, match=message):
        PROCESSES["i2sb"].sample(**call)


@pytest.mark.parametrize("name", PROCESSES)
def test_training_refuses_other_shapes_and_too_few_generators(name):
    x0 = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match="x1: expected the truth's shape"):
        PROCESSES[name].training_pair(x0, x0[:1], seeded(0))
    with pytest.raises(ValueError, match="expected one per sample, 2 in all, found 3"):
        PROCESSES[name].training_pair(x0, x0, [seeded(i) for i in range(3)])


def test_grids_run_from_the_truth_to_the_start():
    assert distances(4, "uniform").tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert distances(4, "quadratic").tolist() == [0.0, 0.0625, 0.25, 0.5625, 1.0]


def test_factory_builds_what_the_section_names():
    bridge = make_process(BridgeSection(beta_max=0.1, steps=200))
    assert isinstance(bridge, I2SB) and bridge.steps == 200
    assert bridge.sf[-1] == pytest.approx(I2SB(0.1, 200).sf[-1])
    euler = BridgeSampler(kind="euler", nfe=7)
    interpolant = make_process(BridgeSection(process="interpolant", noise=0.05, sampler=euler))
    assert isinstance(interpolant, StochasticInterpolant) and interpolant.noise == 0.05
    diffusion = make_process(BridgeSection(process="diffusion", sampler=euler), residual_scale=0.02)
    assert isinstance(diffusion, Diffusion) and diffusion.scale == 0.02
    sample = diffusion.sample(network, torch.ones(1, 1, 4, 4), generator=seeded(0), **sampler_kwargs(euler))
    assert sample.shape == (1, 1, 4, 4)


def test_config_and_processes_know_the_same_samplers():
    assert {name: process.kinds for name, process in PROCESSES.items()} == SAMPLER_KINDS


@pytest.mark.parametrize("process", SAMPLER_KINDS)
@pytest.mark.parametrize("kind", ["posterior", "ode", "euler", "heun", "dbim"])
def test_config_and_factory_refuse_a_foreign_sampler(process, kind):
    sampler = BridgeSampler(kind=kind)
    if kind in SAMPLER_KINDS[process]:
        assert kind in make_process(BridgeSection(process=process, sampler=sampler)).kinds
        return
    with pytest.raises(ValidationError, match=r"sampler.kind: expected one of"):
        BridgeSection(process=process, sampler=sampler)
    unchecked = BridgeSection().model_copy(update={"process": process, "sampler": sampler})
    with pytest.raises(ValueError, match=r"sampler.kind: expected one of"):
        make_process(unchecked)


def test_config_refuses_impossible_evaluations():
    with pytest.raises(ValidationError, match="expected an even number with kind 'heun', found 5"):
        BridgeSampler(kind="heun", nfe=5)
    with pytest.raises(ValidationError, match="expected less than steps = 10"):
        BridgeSection(steps=10)
