"""Metrics against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.metrics import (
    PatchScores,
    fair_crps,
    js_distance_from_uniform,
    ranks,
    slope_error_deg,
)


def test_slope_error_of_a_tilted_difference_is_its_angle():
    truth = np.zeros((8, 8))
    estimate = truth + 20.0 * np.tan(np.radians(3.0)) * np.arange(8)[None, :]
    along_x, along_y = slope_error_deg(estimate, truth, pixel_m=20.0)
    np.testing.assert_allclose(along_x, 3.0)
    np.testing.assert_allclose(along_y, 0.0)


@given(st.integers(2, 9), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_fair_crps_equals_the_double_sum(m, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(m, 5)), rng.normal(size=5)
    pairs = np.abs(x[:, None] - x[None]).sum(axis=(0, 1)) / (2 * m * (m - 1))
    np.testing.assert_allclose(fair_crps(x, y), np.abs(x - y).mean(axis=0) - pairs)


def test_fair_crps_does_not_depend_on_the_number_of_members():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200_000)
    few = fair_crps(rng.normal(size=(2, y.size)), y).mean()
    many = fair_crps(rng.normal(size=(20, y.size)), y).mean()
    exact = 1 / np.sqrt(np.pi)  # E|X-Y| - E|X-X'|/2 of a standard normal with itself
    assert few == pytest.approx(exact, abs=0.006)
    assert many == pytest.approx(exact, abs=0.003)


def test_a_calibrated_ensemble_has_ratio_one_flat_ranks_and_a_correlated_spread():
    rng = np.random.default_rng(1)
    scores = PatchScores(20.0)
    for _ in range(40):
        scale = rng.uniform(0.2, 3.0, (24, 24))
        centre = rng.normal(size=(24, 24))
        scores.add_ensemble(
            centre + scale * rng.normal(size=(16, 24, 24)), centre + scale * rng.normal(size=(24, 24)), rng
        )
    row = scores.summary(100, 0)
    assert row["spread_skill_fair"] == pytest.approx(1.0, abs=0.02)
    assert row["rank_js_distance"] < 0.02
    assert row["spread_error_correlation"] > 0.4
    low, high = row["rmse_m_ci95"]
    assert low < row["rmse_m"] < high


def test_an_overconfident_ensemble_is_seen():
    rng = np.random.default_rng(2)
    scores = PatchScores(20.0)
    for _ in range(10):
        scores.add_ensemble(0.3 * rng.normal(size=(8, 24, 24)), rng.normal(size=(24, 24)), rng)
    row = scores.summary(50, 0)
    assert row["spread_skill_fair"] < 0.45
    assert row["rank_js_distance"] > 0.2


def test_ties_are_broken_evenly_and_js_has_its_known_ends():
    rng = np.random.default_rng(3)
    found = ranks(np.zeros((4, 50_000)), np.zeros(50_000), rng)
    counts = np.bincount(found, minlength=5)
    assert counts.min() > 9_500
    assert js_distance_from_uniform(np.full(17, 5)) == 0.0
    one = np.zeros(17, int)
    one[0] = 9
    # Divergence of a point mass from uniform over n: closed form.
    n = 17
    expected = np.sqrt((np.log(2 * n / (n + 1)) + np.log(2 / (n + 1)) / n + (n - 1) / n * np.log(2)) / 2)
    assert js_distance_from_uniform(one) == pytest.approx(expected)


def test_rmse_is_pooled_over_pixels():
    scores = PatchScores(40.0)
    scores.add(np.full((6, 6), 3.0), np.zeros((6, 6)))
    scores.add(np.full((6, 6), 4.0), np.zeros((6, 6)))
    row = scores.summary(20, 0)
    assert row["rmse_m"] == pytest.approx(np.sqrt(12.5))
    assert row["rmse_px"] == pytest.approx(np.sqrt(12.5) / 40)
    assert row["slope_deg"] == 0
