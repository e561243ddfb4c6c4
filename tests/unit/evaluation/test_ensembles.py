"""Ensemble scores against brute force; perfect, collapsed, biased and wide ensembles are told apart."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.special import gamma

from pipeline.evaluation.ensembles import LEVELS, covered, fair_energy_score
from pipeline.evaluation.metrics import PatchScores, fair_crps

M, SIDE = 10, 24


@cache
def row_of(spread: float = 1.0, bias: float = 0.0, patches: int = 40) -> dict[str, Any]:
    """Numbers of members and truths about common surfaces, with spreads that differ from place to place."""
    rng = np.random.default_rng(7)
    scores = PatchScores(20.0)
    for _ in range(patches):
        width = rng.uniform(0.5, 2.0, (SIDE, SIDE))
        center = 10 * rng.normal(size=(SIDE, SIDE)).cumsum(0)
        truth = center + width * rng.normal(size=(SIDE, SIDE))
        members = center + bias + spread * width * rng.normal(size=(M, SIDE, SIDE))
        scores.add_ensemble(members, truth, rng)
    return scores.summary(20, 0)


def test_a_perfect_ensemble_has_what_is_nominal() -> None:
    row = row_of()
    assert row["spread_skill_fair"] == pytest.approx(1, abs=0.02)
    assert row["spread_skill_plain"] == pytest.approx(np.sqrt(M / (M + 1)), abs=0.02)
    for level in LEVELS:
        assert row[f"coverage_{level}"] == pytest.approx(level / 100, abs=0.01), level
    histogram = np.array(row["rank_histogram"])
    expected = histogram.sum() / (M + 1)
    # Chi-squared with M degrees of freedom: mean 10, standard deviation 4.5.
    assert ((histogram - expected) ** 2 / expected).sum() < 30
    assert row["bias_m"] == pytest.approx(0, abs=0.05)
    # Members and truth are alike: so are their spectra, and a member errs sqrt(2) sigma.
    assert row["member_power_ratio_2_4px"] == pytest.approx(1, abs=0.03)
    assert row["power_ratio_2_4px"] < row["member_power_ratio_2_4px"]
    assert row["member_rmse_case_mean_m"] == pytest.approx(np.sqrt(2 * 1.75), rel=0.02)


def test_a_collapsed_ensemble_is_told() -> None:
    row = row_of(spread=0.2)
    assert row["spread_skill_fair"] < 0.3
    assert row["coverage_95"] < 0.5
    ends = row["rank_histogram"][0] + row["rank_histogram"][-1]
    assert ends > 0.6 * sum(row["rank_histogram"])
    assert abs(row["rank_histogram"][0] / ends - 0.5) < 0.02


def test_an_over_dispersed_ensemble_is_told() -> None:
    row = row_of(spread=2.0)
    assert row["spread_skill_fair"] > 1.5
    assert row["coverage_50"] > 0.7
    assert max(row["rank_histogram"]) == max(row["rank_histogram"][M // 2 - 1 : M // 2 + 2])


def test_a_biased_ensemble_is_told() -> None:
    row, fair = row_of(bias=2.0), row_of()
    assert row["bias_m"] == pytest.approx(2.0, abs=0.05)
    assert row["spread_skill_fair"] < 0.7
    assert row["rank_histogram"][0] > 5 * row["rank_histogram"][-1]
    for score in ("crps_fair_m", "crps_plain_m", "energy_fair_m"):
        assert row[score] > 1.2 * fair[score]


def test_the_proper_scores_prefer_the_perfect_ensemble() -> None:
    rows = {"narrow": row_of(spread=0.2), "right": row_of(), "wide": row_of(spread=2.0)}
    for score in ("crps_fair_m", "energy_fair_m"):
        assert min(rows, key=lambda name: rows[name][score]) == "right"


@pytest.mark.parametrize("members", [2, 5, 30])
def test_coverage_is_nominal_at_any_number_of_members(members: int) -> None:
    rng = np.random.default_rng(members)
    x, y = rng.normal(size=(members, 60_000)), rng.normal(size=60_000)
    found = covered(x.mean(axis=0), x.std(axis=0, ddof=1), y, members) / y.size
    np.testing.assert_allclose(found, np.array(LEVELS) / 100, atol=0.008)


def test_the_energy_score_is_that_of_distances_and_of_one_pixel_the_crps() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 5, 5)), rng.normal(size=(5, 5))
    flat = x.reshape(6, 25)
    wanted = cdist(flat, y.reshape(1, 25)).mean() - pdist(flat).mean() / 2
    assert fair_energy_score(x, y) == pytest.approx(wanted / 5)
    one = rng.normal(size=(6, 1, 1))
    assert fair_energy_score(one, y[:1, :1]) == pytest.approx(fair_crps(one, y[:1, :1]).item())


def test_the_plain_scores_are_their_formulas() -> None:
    """Yasuda's ratio has the mean of standard deviations with divisor M."""
    rng = np.random.default_rng(1)
    scores, crps, stds, variances, errors, singles = PatchScores(20.0), [], [], [], [], []
    for scale in (0.5, 3.0):
        truth = rng.normal(size=(8, 8)).cumsum(0)
        x = truth + scale * rng.normal(size=(4, 8, 8))
        scores.add_ensemble(x, truth, rng)
        crps.append(np.abs(x - truth).mean() - np.abs(x[:, None] - x[None]).mean() / 2)
        stds.append(x.std(axis=0).mean())
        variances.append(x.var(axis=0, ddof=1).mean())
        errors.append(np.mean((x.mean(axis=0) - truth) ** 2))
        singles.append(np.sqrt(((x - truth) ** 2).mean(axis=(1, 2))).mean())
    row, rmse = scores.summary(20, 0), np.sqrt(np.mean(errors))
    assert row["crps_plain_m"] == pytest.approx(np.mean(crps))
    assert row["crps_plain_m"] > row["crps_fair_m"]
    assert row["spread_skill_plain"] == pytest.approx(np.sqrt(np.mean(variances)) / rmse)
    assert row["spread_skill_yasuda"] == pytest.approx(np.mean(stds) / rmse)
    assert row["spread_skill_case_mean"] == pytest.approx(np.mean(np.array(stds) / np.sqrt(errors)))
    assert row["member_rmse_case_mean_m"] == pytest.approx(np.mean(singles))
    assert row["rmse_case_mean_m"] == pytest.approx(np.mean(np.sqrt(errors)))


def test_a_perfect_ensemble_of_unequal_spreads_has_a_small_ratio_after_yasuda() -> None:
    """E[s] / sqrt(E[s^2] (1 + 1/M)), lognormal s, ten members: 0.64 where the fair one is 1."""
    rng, log_std = np.random.default_rng(3), 0.8
    scores = PatchScores(20.0)
    for _ in range(12):
        width = np.exp(log_std * rng.normal(size=(64, 64)))
        truth = width * rng.normal(size=(64, 64))
        scores.add_ensemble(width * rng.normal(size=(M, 64, 64)), truth, rng)
    row = scores.summary(20, 0)
    # The mean of the standard deviation of M normal numbers, with divisor M, over theirs.
    mean_std = np.sqrt(2 / M) * gamma(M / 2) / gamma((M - 1) / 2)
    wanted = np.exp(-(log_std**2) / 2) * mean_std / np.sqrt(1 + 1 / M)
    assert wanted == pytest.approx(0.64, abs=0.005)
    assert row["spread_skill_yasuda"] == pytest.approx(wanted, rel=0.04)
    assert row["spread_skill_fair"] == pytest.approx(1, rel=0.04)
