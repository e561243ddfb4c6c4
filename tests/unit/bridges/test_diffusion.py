"""The diffusion baseline against its stochastic equation and exact scores of a Gaussian residual."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from pipeline.bridges.diffusion import LAMBDA_END, LAMBDA_START, T_MIN, Diffusion

PIXELS = 400  # 160,000 draws: relative error of a std 0.18 %, of a mean std/400


def signal_and_noise(t: Tensor) -> tuple[Tensor, Tensor]:
    mu = torch.exp(-(LAMBDA_START * t + (LAMBDA_END - LAMBDA_START) * t**2 / 2) / 2)
    return mu, (1 - mu**2).sqrt()


def exact_noise(mean: float, std: float):
    """The best network for residuals Normal(mean, std^2), in units of the process's scale."""

    def predict(y: Tensor, t: Tensor) -> Tensor:
        mu, sigma = signal_and_noise(t.double().reshape(-1, 1, 1, 1))
        return (sigma * (y.double() - mu * mean) / (mu**2 * std**2 + sigma**2)).to(y.dtype)

    return predict


def draw(mean: float, std: float, nfe: int, scale: float = 1.0, **kwargs) -> Tensor:
    process = Diffusion(scale)
    start = torch.full((1, 1, PIXELS, PIXELS), 0.25)
    generator = torch.Generator().manual_seed(1)
    return process.sample(exact_noise(mean, std), start, nfe, generator, **kwargs)


def test_marginal_solves_the_forward_equation():
    def rate(t, state):
        speed = LAMBDA_START + (LAMBDA_END - LAMBDA_START) * t
        return [-0.5 * speed * state[0], speed * (1 - state[1])]

    for t in (1e-3, 0.1, 0.6, 1.0):
        mu, variance = solve_ivp(rate, (0, t), [1.0, 0.0], rtol=1e-10, atol=1e-14).y[:, -1]
        assert Diffusion().marginal(t) == pytest.approx((mu, 0.0, variance**0.5), rel=1e-6)
    assert Diffusion().marginal(1.0).truth == pytest.approx(0.082, abs=5e-4)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.3)])
def test_samples_converge_to_the_truth(mean, std):
    errors = []
    for nfe in (10, 50, 200):
        residual = draw(mean, std, nfe) - 0.25
        errors.append(abs(residual.std() / std - 1) + abs(residual.mean() - mean) / std)
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 0.03
    assert errors[2] < 0.014


def test_few_evaluations_stay_sane():
    """One plain Euler-Maruyama step onto t = 0 would leave a std of 1.6 here after three evaluations."""
    residual = draw(0.5, 0.3, 3) - 0.25
    assert residual.mean() == pytest.approx(0.5, abs=0.02)
    assert residual.std() < 0.3


@pytest.mark.parametrize(("eta", "grid"), [(0.0, "uniform"), (0.0, "quadratic"), (1.0, "uniform")])
def test_implicit_sampler_converges(eta, grid):
    # The quadratic grid may not go below the smallest learned time: 31 evaluations at most.
    nfe = 31 if grid == "quadratic" else 200
    residual = draw(0.0, 0.5, nfe, kind="dbim", eta=eta, grid=grid) - 0.25
    assert residual.mean() == pytest.approx(0.0, abs=0.01)
    assert residual.std() == pytest.approx(0.5, rel=0.05)


def test_scale_only_changes_units():
    small = draw(0.5, 0.8, 20, scale=0.01) - 0.25
    np.testing.assert_allclose(small, 0.01 * (draw(0.5, 0.8, 20) - 0.25), atol=1e-6, rtol=1e-5)


def test_training_pair_writes_the_published_loss():
    """weight * |target - output|^2 equals |-eta/sigma - s|^2 for the score s = -output/sigma."""
    process = Diffusion(scale=0.5, weighting="score")
    generator = torch.Generator().manual_seed(3)
    x0 = 0.1 + 0.2 * torch.randn(50_000, 1, 1, 1, generator=generator)
    x1 = torch.full_like(x0, 0.3)
    pair = process.training_pair(x0, x1, generator)
    assert T_MIN <= pair.t.min() and pair.t.max() < 1
    mu, sigma = signal_and_noise(pair.t[:200].double())
    y = pair.x_t[:200].flatten().double()
    eta = (y - mu * (x0 - x1)[:200].flatten().double() / 0.5) / sigma
    output = torch.linspace(-1, 1, 200, dtype=torch.float64)
    published = (-eta / sigma - (-output / sigma)) ** 2
    ours = pair.weight[:200].double() * (pair.target[:200].flatten().double() - output) ** 2
    np.testing.assert_allclose(ours, published, rtol=5e-3, atol=1e-3)
    assert pair.weight.max() < 1.7e5


def test_training_target_is_what_the_exact_network_returns_on_average():
    process = Diffusion(scale=0.5)
    generator = torch.Generator().manual_seed(4)
    x0 = 0.1 + 0.2 * torch.randn(50_000, 1, 1, 1, generator=generator)
    pair = process.training_pair(x0, torch.full_like(x0, 0.3), generator)
    assert torch.all(pair.weight == 1)
    rest = (pair.target - exact_noise(-0.4, 0.4)(pair.x_t, pair.t)).flatten()
    for feature in (torch.ones_like(rest), pair.x_t.flatten(), pair.t):
        product = rest * feature
        assert abs(product.mean()) < 4.5 * product.std() / rest.numel() ** 0.5


def test_training_states_have_the_marginal_law_at_every_time():
    process = Diffusion(scale=0.5)
    generator = torch.Generator().manual_seed(7)
    x0 = 0.1 + 0.2 * torch.randn(100_000, 1, 1, 1, generator=generator)
    pair = process.training_pair(x0, torch.full_like(x0, 0.3), generator)
    mu, sigma = signal_and_noise(pair.t.double())
    # Residuals are Normal(-0.4, 0.4^2) in units of the scale.
    standard = (pair.x_t.flatten().double() + 0.4 * mu) / (0.16 * mu**2 + sigma**2).sqrt()
    for low in range(10):
        group = standard[(pair.t >= low / 10) & (pair.t < (low + 1) / 10)]
        assert group.mean() == pytest.approx(0, abs=4.5 / len(group) ** 0.5)
        assert group.std() == pytest.approx(1, abs=4.5 / (2 * len(group)) ** 0.5)


def test_the_published_weight_wastes_a_batch_and_the_default_does_not():
    """Effective number of samples, (sum w)^2 / sum w^2, of a batch of 256: 3, median of a thousand."""

    def effective(weighting: str) -> float:
        x0 = torch.zeros(256_000, 1, 1, 1)
        weight = Diffusion(weighting=weighting).training_pair(x0, x0, torch.Generator().manual_seed(5)).weight
        weight = weight.double().reshape(1000, 256)
        return float((weight.sum(dim=1) ** 2 / (weight**2).sum(dim=1)).median())

    assert effective("noise") == 256
    assert effective("score") < 10


@pytest.mark.parametrize("weighting", ["noise", "score"])
def test_both_weights_have_one_best_network(weighting):
    """The weighted error grows whichever way the exact network is changed, early and late."""
    process = Diffusion(weighting=weighting)
    generator = torch.Generator().manual_seed(6)
    x0 = 0.4 * torch.randn(200_000, 1, 1, 1, generator=generator)
    pair = process.training_pair(x0, torch.zeros_like(x0), generator)
    exact = exact_noise(0.0, 0.4)(pair.x_t, pair.t)

    def error(output: Tensor) -> Tensor:
        return pair.weight.double() * (output - pair.target).double().flatten() ** 2

    for low, high in ((0.1, 0.4), (0.4, 1.0)):
        here = (pair.t >= low) & (pair.t < high)
        best = error(exact)[here].mean()
        for factor in (0.9, 1.1):
            assert error(factor * exact)[here].mean() > best


def test_times_never_learned_are_refused():
    with pytest.raises(ValueError, match=r"last evaluation at t >= 0.001, found t = 0.0004"):
        draw(0.0, 1.0, 50, grid="quadratic")
    Diffusion().check_sampler(1000, "euler", 0.0, "uniform")


@pytest.mark.parametrize("kwargs", [{"scale": 0.0}, {"scale": -1.0}, {"weighting": "sigma"}])
def test_bad_settings_are_refused(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        Diffusion(**kwargs)
