"""Losses of the adversarial rivals against closed forms and independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from scipy.optimize import linear_sum_assignment

from pipeline.models.adversarial_losses import (
    critic_loss,
    generator_loss,
    relative,
    similarity_loss,
    sinkhorn_divergence,
    structural_similarity,
)


def maps(count: int, seed: int, size: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, size, size, generator=generator, dtype=torch.float64)


X, Y = maps(6, 0), maps(6, 1) + 0.5


def test_without_regularisation_it_is_half_the_squared_wasserstein_distance() -> None:
    """Of two sets of as many points, the best assignment; distances are root mean squares over pixels."""
    cost = (X[:, None] - Y).square().mean(dim=(2, 3, 4)).numpy()
    wanted = 0.5 * cost[linear_sum_assignment(cost)].mean()
    identity = 0.5 * np.diag(cost).mean()
    found = sinkhorn_divergence(X, Y, 1e-4, scaling=0.95).item()
    assert found == pytest.approx(wanted, rel=2e-3)
    assert identity > 1.02 * wanted  # so that not any plan would do


def test_with_all_regularisation_it_is_half_the_squared_distance_of_the_means() -> None:
    wanted = 0.5 * (X.mean(dim=0) - Y.mean(dim=0)).square().mean().item()
    assert sinkhorn_divergence(X, Y, 1e4).item() == pytest.approx(wanted, rel=1e-3)
    # Less of it sees more than the means.
    assert sinkhorn_divergence(X, Y, 0.1).item() > 1.5 * wanted


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 10.0])
def test_it_is_zero_for_equal_laws_only(epsilon: float) -> None:
    """Whatever the order of the samples; without the debiasing terms it would not be."""
    assert sinkhorn_divergence(X, X.flip(0), epsilon).item() == pytest.approx(0, abs=1e-9)
    assert sinkhorn_divergence(X, Y, epsilon).item() > 0.05
    assert sinkhorn_divergence(X, Y, epsilon).item() == pytest.approx(
        sinkhorn_divergence(Y, X, epsilon).item(), rel=1e-6
    )


def test_one_pair_of_samples_is_half_their_mean_squared_difference() -> None:
    x, y = X[:1], Y[:1]
    for epsilon in (1e-3, 1.0):
        found = sinkhorn_divergence(x, y, epsilon).item()
        assert found == pytest.approx(0.5 * (x - y).square().mean().item(), rel=1e-6)
    assert sinkhorn_divergence(x, x, 0.01).item() == pytest.approx(0, abs=1e-12)


def test_gradients_of_the_divergence_are_those_of_finite_differences() -> None:
    x = X.clone().requires_grad_(True)
    sinkhorn_divergence(x, Y, 1.0, scaling=0.95).backward()
    assert x.grad is not None
    step = 1e-4
    for index in [(0, 0, 0, 0), (2, 0, 1, 3), (5, 0, 3, 2)]:
        moved = [X.clone(), X.clone()]
        moved[0][index] += step
        moved[1][index] -= step
        up, down = (sinkhorn_divergence(each, Y, 1.0, scaling=0.95).item() for each in moved)
        assert x.grad[index].item() == pytest.approx((up - down) / (2 * step), rel=2e-2)


def by_scipy(x: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity of one pair by the formula, with two-dimensional windows."""
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        return correlate(values, window)[5:-5, 5:-5]

    a, b, span = x - truth.min(), truth - truth.min(), np.ptp(truth)
    ma, mb = mean(a), mean(b)
    # Moments about the local means, pixel by pixel, would be the same.
    va, vb, cov = mean(a**2) - ma**2, mean(b**2) - mb**2, mean(a * b) - ma * mb
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    index = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(index.mean())


def test_structural_similarity_is_that_of_an_independent_computation() -> None:
    truth = maps(3, 2, 24).cumsum(dim=2).cumsum(dim=3)
    x = truth + 0.5 * maps(3, 3, 24)
    wanted = [by_scipy(a[0].numpy(), b[0].numpy()) for a, b in zip(x, truth)]
    assert structural_similarity(x, truth).tolist() == pytest.approx(wanted, rel=1e-9)
    assert min(wanted) < 0.99
    assert similarity_loss(x, truth).item() == pytest.approx(-np.log(wanted).mean(), rel=1e-9)


def test_structural_similarity_has_no_unit_no_datum_and_is_one_for_equal_maps() -> None:
    truth = maps(2, 4, 16)
    x = truth + 0.3 * maps(2, 5, 16)
    found = structural_similarity(x, truth)
    torch.testing.assert_close(structural_similarity(40 * x - 1500, 40 * truth - 1500), found)
    torch.testing.assert_close(structural_similarity(truth, truth), torch.ones(2, dtype=torch.float64))
    assert similarity_loss(truth, truth).item() == pytest.approx(0, abs=1e-12)
    # What is unlike in its structure has a loss, too, and flat ground has one.
    assert math.isfinite(similarity_loss(-truth, truth).item())
    assert math.isfinite(similarity_loss(truth, 0 * truth).item())


def test_losses_of_the_critics_are_the_logarithms_of_their_probabilities() -> None:
    real, fake = maps(3, 6), maps(3, 7) - 1
    p, q = (1 / (1 + np.exp(-each.numpy())) for each in (real, fake))
    assert critic_loss(real, fake).item() == pytest.approx(-np.log(p).mean() - np.log(1 - q).mean())
    assert generator_loss(fake).item() == pytest.approx(-np.log(q).mean())
    # Relativistic: sigmoid(C(real) - mean C(fake)), and the other way round.
    above, below = (a.numpy() - b.numpy().mean() for a, b in ((real, fake), (fake, real)))
    wanted = -np.log(1 / (1 + np.exp(-above))).mean() - np.log(1 - 1 / (1 + np.exp(-below))).mean()
    assert critic_loss(*relative(real, fake)).item() == pytest.approx(wanted)
    # Logits that are all higher by a constant are as real as before.
    assert critic_loss(*relative(real + 3, fake + 3)).item() == pytest.approx(wanted)
