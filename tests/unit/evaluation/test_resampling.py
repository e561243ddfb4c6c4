"""Intervals over sites: seeded, of the right width, and blind to nothing that patches of one site share."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.resampling import block_of, site_weights, weighted_means


def test_blocks_hold_four_by_four_patches() -> None:
    names = {block_of(row, col, 96) for row in range(0, 4 * 96, 96) for col in range(0, 4 * 96, 96)}
    assert names == {"r0c0"}
    assert block_of(4 * 96, 3 * 96, 96) == "r1c0"


def test_draws_are_seeded_and_bring_whole_blocks() -> None:
    sites, blocks = [3] * 6 + [8] * 4, ["0:0"] * 3 + ["0:1"] * 3 + ["0:0"] * 4
    one, two = (site_weights(sites, blocks, 50, 5) for _ in range(2))
    assert (one == two).all()
    assert (one != site_weights(sites, blocks, 50, 6)).any()
    for here in (slice(0, 3), slice(3, 6), slice(6, 10)):
        assert (one[:, here] == one[:, here][:, :1]).all()
    # Two sites are drawn, each with as many blocks as it has.
    assert set(one[:, 0] / 2 + one[:, 3] / 2 + one[:, 6]) == {2.0}


def test_the_spread_of_means_is_that_of_sites() -> None:
    """Where all patches of a site are alike, n patches are as good as one: closed form of the bootstrap."""
    effects = np.random.default_rng(0).normal(size=12)
    sites = np.repeat(np.arange(12), 20)
    weights = site_weights(sites.tolist(), ["0:0"] * len(sites), 4000, 1)
    found = weighted_means(weights, effects[sites].tolist())
    assert found.std() == pytest.approx(effects.std() / np.sqrt(12), rel=0.05)
    assert found.mean() == pytest.approx(effects.mean(), abs=0.02)


def test_blocks_add_their_own_spread() -> None:
    """One site of 25 blocks of 4 alike patches: the spread of a mean of 25."""
    effects = np.random.default_rng(1).normal(size=25)
    blocks = np.repeat(np.arange(25), 4)
    weights = site_weights([0] * 100, [f"0:{b}" for b in blocks], 4000, 1)
    found = weighted_means(weights, effects[blocks].tolist())
    assert found.std() == pytest.approx(effects.std() / 5, rel=0.05)


def test_intervals_over_sites_are_wider_where_sites_differ() -> None:
    rng, truth = np.random.default_rng(2), np.zeros((6, 6))
    scores = PatchScores(20.0)
    for site in range(5):
        for patch in range(12):
            scores.place(site, block_of(0, patch * 6, 6))
            scores.add_ensemble((1.0 + site) * rng.normal(size=(3, 6, 6)), truth, rng)
    row = scores.summary(500, 0)
    assert (row["n_sites"], row["n_blocks"]) == (5, 15)
    width, wide = (np.ptp(row[name]) for name in ("rmse_m_ci95", "rmse_m_ci95_sites"))
    assert wide > 2 * width
    low, high = row["rmse_m_ci95_sites"]
    assert low < row["rmse_m"] < high
    assert row["crps_fair_m_ci95_sites"][0] < row["crps_fair_m"] < row["crps_fair_m_ci95_sites"][1]
    assert np.ptp(row["spread_skill_fair_ci95_sites"]) > 0


def test_patches_of_nowhere_have_no_interval_over_sites() -> None:
    scores = PatchScores(20.0)
    scores.add(np.ones((6, 6)), np.zeros((6, 6)))
    assert not [name for name in scores.summary(20, 0) if name.endswith("_sites")]


def test_classes_of_terrain_hold_their_own_patches() -> None:
    """Steeper ground errs more here, whatever the order of the patches."""
    scores = PatchScores(20.0)
    x = np.arange(8) * 20.0
    for tilt in (0.3, 0.05, 0.2, 0.1, 0.25, 0.15):
        truth = tilt * np.broadcast_to(x, (8, 8))
        scores.add(truth + 10 * tilt, truth)
    row = scores.summary(20, 0)
    wanted = [np.sqrt((a * a + b * b) / 2) for a, b in ((0.5, 1.0), (1.5, 2.0), (2.5, 3.0))]
    assert row["terrain_rmse_m"] == pytest.approx(wanted)
    assert row["terrain_patches"] == [2, 2, 2]
    assert row["terrain_edges_deg"] == pytest.approx(np.degrees(np.arctan([0.05, 0.1, 0.2, 0.3])))
    assert "terrain_crps_fair_m" not in row
