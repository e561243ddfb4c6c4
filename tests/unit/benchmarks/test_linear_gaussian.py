"""The linear-Gaussian bound against closed forms, explicit joint solves and random draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from linear_gaussian import (
    Cameras,
    Light,
    Posterior,
    block_means,
    covariance,
    differences,
    fit_hurst,
    information,
    linearised,
    precision,
    slope_of,
    slopes,
)
from pipeline.models.refinement_slopes import slopes_of

Floats = NDArray[np.float64]
SIZE, SUNS = 12, 5


def relief(size: int, hurst: float, count: int, seed: int = 0) -> Floats:
    """(count, size, size) draws of the self-affine field."""
    root = np.linalg.cholesky(covariance(size, hurst))
    noise = np.random.default_rng(seed).normal(size=(count, size * size))
    return np.asarray((noise @ root.T).reshape(count, size, size))


@pytest.fixture(scope="module")
def light() -> Light:
    """Images of a rough window, some pixels of which are dark."""
    azimuth = np.linspace(0, 2, SUNS)
    suns = np.stack([np.sin(azimuth), np.cos(azimuth), np.full(SUNS, 0.2)], axis=1) / np.hypot(1, 0.2)
    lit = np.random.default_rng(1).random((SUNS, SIZE, SIZE)) < 0.7
    return linearised(0.1 * relief(SIZE, 0.9, 1)[0], suns, lit, Cameras(model=0.1))


def design(light: Light) -> Floats:
    """(K N, 2 N + 4 K) derivatives by heights, and by albedos and cameras in units of their priors."""
    right, up = (operator.toarray() for operator in slopes(SIZE))
    images, pixels = light.radiance.shape
    out = np.zeros((images, pixels, 2 * pixels + 4 * images))
    for k in range(images):
        out[k, :, :pixels] = light.right[k, :, None] * right + light.up[k, :, None] * up
        out[k, :, pixels : 2 * pixels] = np.diag(light.albedo * light.radiance[k])
        out[k, :, 2 * pixels + 4 * k : 2 * pixels + 4 * k + 4] = light.cameras[k].T
    return out.reshape(images * pixels, -1)


def test_neighbours_differ_by_one_and_farther_pixels_by_the_hurst_exponent():
    table = covariance(24, 0.7)[0].reshape(24, 24)
    differ = 2 * (table[0, 0] - table[0])
    assert differ[1] == pytest.approx(1)
    assert_allclose(differ[16], 16**1.4, rtol=0.15)  # the outer scale is far, not endless
    assert_allclose(covariance(4, 0.7) @ precision(4, 0.7), np.eye(16), atol=1e-6)


def test_the_fit_finds_what_was_drawn_under_any_tilt():
    windows = 0.2 * relief(32, 0.8, 6) + 0.3 * np.arange(32)
    assert np.mean([fit_hurst(window) for window in windows]) == pytest.approx(0.8, abs=0.06)
    assert np.mean([slope_of(window, 0.8) for window in windows]) == pytest.approx(0.2, rel=0.05)


def test_one_spot_leaves_what_textbooks_say():
    prior, noise = 0.01 * covariance(6, 0.9), 0.3
    weight = np.zeros(36)
    weight[14] = noise**-2
    found = Posterior(100 * precision(6, 0.9) + np.diag(weight))
    gain = prior[14] / (prior[14, 14] + noise**2)
    assert_allclose(found.variance(), prior.diagonal() - gain * prior[14], rtol=1e-6)
    assert_allclose(found.mean(weight * 2.0), gain * 2.0, rtol=1e-6)


def test_white_terrain_and_white_noise():
    found = Posterior(np.eye(16) / 4 + np.eye(16) / 9)
    assert_allclose(found.variance(), 36 / 13)
    assert_allclose(found.mean(np.ones(16) / 9), 4 / 13)


def test_exact_block_means_are_kept_and_have_no_variance():
    cells, prior = block_means(8, 4), covariance(8, 0.9)
    found = Posterior(precision(8, 0.9), cells)
    # The conditional law of a Gaussian: C - C A^T (A C A^T)^-1 A C.
    inner = np.linalg.inv(cells @ prior @ cells.T)
    wanted = prior - prior @ cells.T @ inner @ cells @ prior
    assert_allclose(found.variance(), wanted.diagonal(), rtol=1e-5)
    values = np.array([1.0, 2.0, -1.0, 0.5])
    mean = found.mean(np.zeros(64), values)
    assert_allclose(cells @ mean, values, atol=1e-9)
    assert_allclose(mean, prior @ cells.T @ inner @ values, atol=1e-5)
    white = Posterior(np.eye(64), cells)
    assert_allclose(white.variance(), 15 / 16)


def test_slopes_are_those_of_the_refinement():
    z = np.random.default_rng(3).normal(size=(SIZE, SIZE))
    wanted = slopes_of(torch.from_numpy(z)[None])
    for operator, slope in zip(slopes(SIZE), wanted):
        assert_allclose(operator @ z.ravel(), slope[0].numpy().ravel(), atol=1e-12)
    assert_allclose(differences(7) @ np.arange(7.0), 1)


def test_the_linearisation_is_the_derivative_of_the_radiance(light: Light):
    suns = np.array([[0.6, 0.3, 0.5], [-0.2, 0.7, 0.3]])
    lit = np.ones((2, SIZE, SIZE), bool)
    z, step = 0.1 * relief(SIZE, 0.9, 2, seed=4)
    one, other = (linearised(z + s * 1e-5 * step, suns, lit, Cameras()) for s in (1, -1))
    right, up = (operator @ step.ravel() for operator in slopes(SIZE))
    here = linearised(z, suns, lit, Cameras())
    assert_allclose(
        here.right * right + here.up * up, (one.radiance - other.radiance) / 2e-5, rtol=1e-5, atol=1e-7
    )
    assert (light.weight == 0).any() and not light.weight[light.radiance <= 0].any()


def test_elimination_equals_the_explicit_joint_solve(light: Light):
    matrix = design(light)
    joint = matrix.T @ (light.weight.reshape(-1, 1) * matrix)
    known = np.ones(len(joint))
    known[: SIZE * SIZE] = 0  # heights have a prior of their own
    joint += np.diag(known)
    pixels = SIZE * SIZE
    tied = joint[:pixels, pixels:]
    wanted = joint[:pixels, :pixels] - tied @ np.linalg.solve(joint[pixels:, pixels:], tied.T)
    assert_allclose(information(light), wanted, atol=1e-8 * np.abs(wanted).max())
    # A camera that is not known tells less; an image that does not count tells nothing.
    sure = information(replace(light, cameras=0 * light.cameras, albedo=1e-6))
    assert np.trace(sure) > 1.05 * np.trace(wanted)
    assert not information(replace(light, weight=0 * light.weight)).any()


def test_errors_of_the_estimate_have_the_stated_variance(light: Light):
    rng, pixels, draws = np.random.default_rng(7), SIZE * SIZE, 400
    prior, matrix = 0.01 * covariance(SIZE, 0.9), design(light)
    cells = block_means(SIZE, 4)
    seen = light.weight.ravel() > 0
    sigma = np.sqrt(1 / light.weight.ravel()[seen])
    # Draws of terrain, albedo and cameras, and of what images then show.
    unknown = rng.normal(size=(matrix.shape[1], draws))
    unknown[:pixels] = np.linalg.cholesky(prior) @ unknown[:pixels]
    shown = matrix[seen] @ unknown + sigma[:, None] * rng.normal(size=(len(sigma), draws))
    # Best linear estimate of heights from images and cells, by covariances only.
    whole = np.eye(matrix.shape[1])
    whole[:pixels, :pixels] = prior
    every = np.concatenate([matrix[seen], np.pad(cells, ((0, 0), (0, matrix.shape[1] - pixels)))])
    between = every @ whole @ every.T
    between[: len(sigma), : len(sigma)] += np.diag(sigma**2)
    gain = np.linalg.solve(between, every @ whole[:, :pixels]).T
    left = gain @ np.concatenate([shown, cells @ unknown[:pixels]]) - unknown[:pixels]
    stated = Posterior(100 * precision(SIZE, 0.9) + information(light), cells).variance()
    assert np.mean(left**2) == pytest.approx(stated.mean(), rel=0.05)
    assert_allclose(np.mean(left**2, axis=1), stated, rtol=0.4)
    assert stated.mean() < 0.8 * Posterior(100 * precision(SIZE, 0.9), cells).variance().mean()
