"""The stochastic interpolant against exact drifts of a Gaussian truth, x0 ~ Normal(2, 0.3^2), eps = 0.2."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from pipeline.bridges.interpolant import StochasticInterpolant

MEAN, STD, EPS = 2.0, 0.3, 0.2
PIXELS = 400  # 160,000 draws: error of a mean 0.0008, of a std 0.0005


def exact_drift(x1: float):
    """Regression of the interpolant's velocity on its state (both Gaussian)."""

    def predict(y: Tensor, t: Tensor) -> Tensor:
        t = t.double().reshape(-1, 1, 1, 1)
        covariance = 2 * t**3 * STD**2 - EPS**2 * (1 - t) * t
        variance = t**4 * STD**2 + EPS**2 * (1 - t) ** 2 * t
        slope = torch.where(t > 0, covariance / variance.clamp_min(1e-300), torch.zeros_like(t))
        drift = 2 * t * MEAN - x1 + slope * (y.double() - (1 - t) * x1 - t**2 * MEAN)
        return drift.to(y.dtype)

    return predict


def draw(x1: float, nfe: int, **kwargs) -> Tensor:
    start = torch.full((1, 1, PIXELS, PIXELS), x1)
    generator = torch.Generator().manual_seed(1)
    return StochasticInterpolant(EPS).sample(exact_drift(x1), start, nfe, generator, **kwargs)


@pytest.mark.parametrize("x1", [0.0, 1.0])
def test_euler_maruyama_with_ten_steps(x1):
    samples = draw(x1, 10)
    assert samples.mean() == pytest.approx(1.78, abs=0.006)
    assert samples.std() == pytest.approx(0.268, abs=0.003)


@pytest.mark.parametrize("x1", [0.0, 1.0])
def test_heun_with_ten_steps(x1):
    samples = draw(x1, 20, kind="heun")
    assert samples.mean() == pytest.approx(2.00, abs=0.009)
    assert samples.std() == pytest.approx(0.318, abs=0.003)


@pytest.mark.parametrize(("kind", "nfe", "mean"), [("euler", 1, 0.0), ("heun", 2, 2.0)])
def test_first_step_follows_the_interpolant_with_noise_eps(kind, nfe, mean):
    """At t = 0 the drift is -x1; Heun averages it with 2 x0 - x1, the drift of a state at t = 1."""

    def drift(y: Tensor, t: Tensor) -> Tensor:
        return torch.full_like(y, -1.0 if float(t[0]) == 0.0 else 2 * MEAN - 1.0)

    start = torch.ones(1, 1, PIXELS, PIXELS)
    samples = StochasticInterpolant(EPS).sample(
        drift, start, nfe, torch.Generator().manual_seed(1), kind=kind
    )
    assert samples.mean() == pytest.approx(mean, abs=0.0025)
    assert samples.std() == pytest.approx(EPS, abs=0.0015)


def test_euler_maruyama_converges():
    errors = [(abs(s.mean() - MEAN), abs(s.std() - STD)) for s in (draw(1.0, n) for n in (10, 40, 160))]
    for coarse, fine in pairwise(errors):
        assert fine[0] < 0.4 * coarse[0]
        assert fine[1] < 0.6 * coarse[1]


@pytest.mark.parametrize(("eta", "mean", "std"), [(0.0, 1.994, 0.260), (1.0, 2.000, 0.234)])
def test_exact_transitions_with_ten_evaluations(eta, mean, std):
    """No drift bias as in Euler-Maruyama; what spread is missing is the last denoised step's."""
    samples = draw(1.0, 10, kind="dbim", eta=eta)
    assert samples.mean() == pytest.approx(mean, abs=0.004)
    assert samples.std() == pytest.approx(std, abs=0.003)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_exact_transitions_converge(eta):
    samples = draw(1.0, 200, kind="dbim", eta=eta)
    assert samples.mean() == pytest.approx(MEAN, abs=0.004)
    assert samples.std() == pytest.approx(STD, rel=0.03)


@pytest.mark.parametrize(("kind", "nfe"), [("euler", 10), ("heun", 20), ("dbim", 10)])
def test_no_evaluation_leaves_the_learned_times(kind, nfe):
    times: list[float] = []

    def predict(x: Tensor, t: Tensor) -> Tensor:
        times.append(float(t[0]))
        return x

    start = torch.zeros(1, 1, 2, 2)
    StochasticInterpolant().sample(predict, start, nfe, torch.Generator().manual_seed(0), kind=kind)
    lattice = [i / 10 for i in range(10)]
    expected = {
        "euler": lattice,
        "heun": [t for i in range(10) for t in (i / 10, (i + 1) / 10)],
        "dbim": [0.025, *lattice[1:]],
    }
    assert times == pytest.approx(expected[kind], abs=1e-6)


def test_transition_std_solves_the_sampled_equation():
    """Given both ends, integrate the variance of the sampled SDE from a known state."""
    process = StochasticInterpolant(EPS)

    def slope(t: float) -> float:
        # The drift of a truth known to be x0 = 0 with x1 = 0 is b = -y/(1-t); take the coefficient of y.
        one = torch.ones(1, dtype=torch.float64)
        return float(process._drift(one, t, -one / (1 - t), 0 * one, first=False))

    def rate(t: float, variance):
        return 2 * slope(t) * variance + process.diffusion(t) ** 2

    for t, later in ((0.05, 0.2), (0.3, 0.35), (0.5, 0.95)):
        variance = solve_ivp(rate, (t, later), [0.0], rtol=1e-9, atol=1e-14).y[0, -1]
        assert process.transition_std(t, later) == pytest.approx(variance**0.5, rel=1e-5)
    assert process.transition_std(0.9, 1.0) == 0.0


def test_training_states_and_targets():
    process = StochasticInterpolant(EPS)
    generator = torch.Generator().manual_seed(3)
    x0 = MEAN + STD * torch.randn(100_000, 1, 1, 1, generator=generator)
    pair = process.training_pair(x0, torch.full_like(x0, 0.5), generator)
    t, y = pair.t.double(), pair.x_t.flatten().double()
    assert 0 < t.min() and t.max() <= 1
    standard = (y - 0.5 * (1 - t) - MEAN * t**2) / (t**4 * STD**2 + EPS**2 * (1 - t) ** 2 * t).sqrt()
    for low in range(10):
        group = standard[(t > low / 10) & (t <= (low + 1) / 10)]
        assert group.mean() == pytest.approx(0, abs=4.5 / len(group) ** 0.5)
        assert group.std() == pytest.approx(1, abs=4.5 / (2 * len(group)) ** 0.5)
    # The exact drift is the target's mean given (t, y): what is left correlates with neither.
    rest = (pair.target - exact_drift(0.5)(pair.x_t, pair.t)).flatten()
    for feature in (torch.ones_like(rest), pair.x_t.flatten(), pair.t):
        product = rest * feature
        assert abs(product.mean()) < 4.5 * product.std() / rest.numel() ** 0.5


def test_denoiser_of_the_exact_drift_is_the_posterior_mean():
    process = StochasticInterpolant(EPS)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    y = torch.tensor([1.0, 1.4, 1.9], dtype=torch.float64).reshape(-1, 1, 1, 1)
    x1 = torch.full_like(y, 0.5)
    s = t.reshape(-1, 1, 1, 1)
    gain = s**2 * STD**2 / (s**4 * STD**2 + EPS**2 * (1 - s) ** 2 * s)
    expected = MEAN + gain * (y - (1 - s) * 0.5 - s**2 * MEAN)
    np.testing.assert_allclose(
        process.denoise(y, t, exact_drift(0.5)(y, t), x1), expected, rtol=1e-6, atol=1e-6
    )


def test_denoiser_refuses_the_start():
    zero = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="positive times"):
        StochasticInterpolant().denoise(zero, torch.zeros(1), zero, zero)


def test_heun_refuses_half_a_step():
    with pytest.raises(ValueError, match="expected an even number with 'heun'"):
        StochasticInterpolant().sample(
            lambda x, t: x, torch.zeros(1, 1, 2, 2), 5, torch.Generator(), kind="heun"
        )
