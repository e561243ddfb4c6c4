"""I2SB against closed forms, the published schedule's numbers and an exact denoiser."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.bridges.i2sb import I2SB

PIXELS = 400  # 160,000 pixels are as many draws: relative error of a std 0.18 %, of a mean std/400


def exact_network(process: I2SB, mean: float, std: float, x1: float):
    """The best network for pixels Normal(mean, std^2) that do not depend on a constant start."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        k = (t.double() * (process.steps - 1)).round().long().numpy()
        b, a, c, sf = (
            v[k].reshape(-1, 1, 1, 1) for v in (process.truth, process.start, process.std, process.sf)
        )
        state = x.double().numpy()
        gain = b * std**2 / (b**2 * std**2 + c**2)
        return torch.from_numpy((state - mean - gain * (state - b * mean - a * x1)) / sf).to(x.dtype)

    return predict


def draw(process: I2SB, std: float, nfe: int, **kwargs) -> Tensor:
    x1 = torch.zeros(1, 1, PIXELS, PIXELS)
    generator = torch.Generator().manual_seed(1)
    return process.sample(exact_network(process, 0.2, std, 0.0), x1, nfe, generator, **kwargs)


def test_published_schedule():
    process = I2SB(0.3, 1000)
    assert process.variance.dtype == np.float64
    assert process.variance[0] == pytest.approx(1e-4)
    np.testing.assert_array_equal(process.variance, process.variance[::-1])
    assert process.variance.sum() == pytest.approx(0.1410, abs=5e-5)
    assert process.sf[-1] == pytest.approx(0.3755, abs=5e-5)
    assert process.std.max() == pytest.approx(0.188, abs=5e-4)


@pytest.mark.parametrize("steps", [2, 7, 1000])
def test_schedule_is_symmetric_for_any_number_of_steps(steps):
    process = I2SB(0.3, steps)
    assert process.variance.shape == (steps,)
    np.testing.assert_allclose(process.sf, process.sb[::-1], rtol=1e-12)
    np.testing.assert_allclose(process.truth + process.start, 1.0, rtol=1e-12)


def test_marginals_and_posteriors_are_brownian_conditionals():
    """Condition the joint Gaussian of a Brownian motion started at x0."""
    process = I2SB()
    forward = process.sf**2
    for k in (0, 1, 250, 499, 500, 998, 999):
        end = forward[k] + process.sb[k] ** 2  # variance gathered when the motion reaches x1
        of_end, variance = forward[k] / end, forward[k] - forward[k] ** 2 / end
        marginal = process.marginal(k)
        assert marginal == pytest.approx((1 - of_end, of_end, np.sqrt(variance)), rel=1e-9)
    for n, m in ((999, 0), (999, 500), (300, 299), (10, 1)):
        gain = forward[m] / forward[n]
        expected = (1 - gain, gain, np.sqrt(forward[m] - gain * forward[m]))
        assert process.posterior(n, m) == pytest.approx(expected, rel=1e-9)


def test_steps_compose_when_the_truth_is_known():
    """Two posterior steps equal one: weights multiply and variances add through the second step."""
    process = I2SB()
    for n, middle, m in ((999, 500, 100), (999, 998, 1), (400, 40, 4)):
        x0_a, x_a, std_a = process.posterior(n, middle)
        x0_b, x_b, std_b = process.posterior(middle, m)
        x0, x, std = process.posterior(n, m)
        assert x0_b + x_b * x0_a == pytest.approx(x0, rel=1e-12)
        assert x_b * x_a == pytest.approx(x, rel=1e-12)
        assert (x_b * std_a) ** 2 + std_b**2 == pytest.approx(std**2, rel=1e-12)


def test_training_states_have_the_marginal_law_at_every_time():
    process = I2SB(0.3, 50)
    x0, x1 = torch.full((40_000, 1, 2, 2), 0.7), torch.full((40_000, 1, 2, 2), -0.4)
    pair = process.training_pair(x0, x1, torch.Generator().manual_seed(2))
    index = (pair.t * 49).round().long()
    assert torch.equal(index.unique(), torch.arange(50))
    np.testing.assert_allclose(pair.t, index / 49, rtol=1e-6, atol=1e-6)
    assert torch.all(pair.weight == 1)
    for k in range(50):
        states = pair.x_t[index == k].double().numpy().ravel()  # about 3200 values
        law = process.marginal(k)
        standard = (states - law.truth * 0.7 + law.start * 0.4) / law.std
        assert standard.mean() == pytest.approx(0, abs=4.5 / np.sqrt(states.size))
        assert standard.std() == pytest.approx(1, abs=4.5 / np.sqrt(2 * states.size))


def test_a_share_of_the_pairs_is_at_the_start():
    x0, x1 = torch.full((20_000, 1, 1, 1), 0.7), torch.zeros(20_000, 1, 1, 1)
    index = I2SB(0.3, 50, start_share=0.4).training_pair(x0, x1, torch.Generator().manual_seed(0)).t * 49
    counts = torch.bincount(index.round().long(), minlength=50) / len(x0)
    assert counts[49].item() == pytest.approx(0.4 + 0.6 / 50, abs=0.015)
    torch.testing.assert_close(counts[:49], torch.full((49,), 0.6 / 50), atol=0.004, rtol=0)


def test_training_target_is_what_the_exact_network_returns_on_average():
    process = I2SB()
    generator = torch.Generator().manual_seed(3)
    x0 = 0.2 + 0.1 * torch.randn(50_000, 1, 1, 1, generator=generator)
    pair = process.training_pair(x0, torch.zeros_like(x0), generator)
    rest = (pair.target - exact_network(process, 0.2, 0.1, 0.0)(pair.x_t, pair.t)).flatten()
    for feature in (torch.ones_like(rest), pair.x_t.flatten(), pair.t):
        product = rest * feature
        assert abs(product.mean()) < 4.5 * product.std() / rest.numel() ** 0.5


@pytest.mark.parametrize(
    ("std", "nfe", "ratio"),
    [
        *[(0.1, 5, 0.49), (0.1, 10, 0.63), (0.1, 20, 0.74)],
        *[(0.3, 5, 0.72), (0.3, 10, 0.83), (0.3, 20, 0.89)],
        *[(1.0, 5, 0.64), (1.0, 10, 0.80), (1.0, 20, 0.89)],
    ],
)
def test_spread_of_the_published_sampler(std, nfe, ratio):
    """Even an exact network gives too little spread; tolerance: the table's rounding + 4 errors of a std."""
    assert draw(I2SB(), std, nfe).std() / std == pytest.approx(ratio, abs=0.012)


@pytest.mark.parametrize("kind", ["posterior", "dbim"])
def test_mean_and_spread_reach_the_truth_with_many_evaluations(kind):
    samples = draw(I2SB(), 0.3, 400, kind=kind)
    assert samples.mean() == pytest.approx(0.2, abs=0.005)
    assert samples.std() == pytest.approx(0.3, rel=0.02)


def test_ode_without_noise_equals_the_noise_free_posterior():
    process = I2SB()
    ode = draw(process, 0.3, 7, kind="ode")
    assert torch.equal(ode, draw(process, 0.3, 7, kind="posterior", noise_free=True))
    assert ode.std() < 1e-6


@pytest.mark.parametrize(("std", "nfe"), [(0.1, 10), (1.0, 5)])
def test_dbim_with_all_noise_has_the_posteriors_spread(std, nfe):
    full = float(draw(I2SB(), std, nfe, kind="dbim", eta=1.0).std())
    assert full == pytest.approx(float(draw(I2SB(), std, nfe).std()), rel=0.02)


def test_dbim_and_the_quadratic_grid_keep_more_of_a_small_spread():
    """Exact network, std 0.1, 10 evaluations: 0.63 published, 0.65 dbim, 0.79 quadratic, 0.855 both."""
    ratios = [
        float(draw(I2SB(), 0.1, 10, kind=kind, grid=grid).std() / 0.1)
        for grid in ("uniform", "quadratic")
        for kind in ("posterior", "dbim")
    ]
    assert ratios == pytest.approx([0.63, 0.65, 0.788, 0.855], abs=0.01)


@pytest.mark.parametrize("grid", ["uniform", "quadratic"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_dbim_states_have_the_law_the_network_was_trained_on(eta, grid):
    process = I2SB()
    seen = {}

    def known_truth(x: Tensor, t: Tensor) -> Tensor:
        k = round(float(t[0]) * 999)
        seen[k] = x
        return (x - 0.7) / float(process.sf[k])

    x1 = torch.full((1, 1, 200, 200), -0.4)
    samples = process.sample(
        known_truth, x1, 8, torch.Generator().manual_seed(4), kind="dbim", eta=eta, grid=grid
    )
    np.testing.assert_allclose(samples, torch.full_like(samples, 0.7), rtol=1e-6, atol=1e-6)
    for k, states in list(seen.items())[1:]:
        law = process.marginal(k)
        assert states.mean() == pytest.approx(law.truth * 0.7 - law.start * 0.4, abs=4.5 * law.std / 200)
        assert states.std() == pytest.approx(law.std, rel=4.5 / 283)


@pytest.mark.parametrize("std", [0.1, 1.0])
@pytest.mark.parametrize("kind,eta", [("posterior", 0.0), ("dbim", 1.0), ("dbim", 0.0)])
@pytest.mark.parametrize("nfe", [1, 2, 4, 10])
def test_a_network_that_draws_its_target_has_the_true_law_at_any_number_of_evaluations(nfe, kind, eta, std):
    process, noise = I2SB(), torch.Generator().manual_seed(5)
    mean_network = exact_network(process, 0.2, std, 0.0)

    def drawn(x: Tensor, t: Tensor) -> Tensor:
        k = round(float(t[0]) * (process.steps - 1))
        # Std of the truth given the state: that of a product of two Gaussians.
        own = (1 / std**2 + (process.truth[k] / process.std[k]) ** 2) ** -0.5
        target = own / process.sf[k] * torch.randn(x.shape, generator=noise)
        return mean_network(x, t) - target

    x1 = torch.zeros(1, 1, PIXELS, PIXELS)
    samples = process.sample(drawn, x1, nfe, torch.Generator().manual_seed(6), kind=kind, eta=eta)
    # The published sampler stops at index 0, which still holds a noise of 0.01.
    assert samples.mean() == pytest.approx(0.2, abs=0.005)
    assert samples.std() == pytest.approx(std, rel=0.015)


@pytest.mark.parametrize("grid", ["uniform", "quadratic"])
@pytest.mark.parametrize("nfe", [1, 3, 10, 99, 999])
def test_indices_fall_strictly_from_the_start_to_the_truth(nfe, grid):
    indices = I2SB().indices(nfe, grid)
    assert len(indices) == nfe + 1
    assert (indices[0], indices[-1]) == (999, 0)
    assert all(n > m for n, m in pairwise(indices))


def test_more_evaluations_than_indices_are_refused():
    with pytest.raises(ValueError, match=r"sampler.nfe: expected less than steps = 10, found 10"):
        I2SB(0.3, 10).sample(lambda x, t: x, torch.zeros(1, 1, 2, 2), 10, torch.Generator())
