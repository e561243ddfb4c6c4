"""Percentiles from counts in bins against those of all pixels."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.errors import BINS, count_errors, percentiles_m, read_counts
from pipeline.evaluation.metrics import PatchScores

PERCENTS = (50, 75, 90, 95, 99)


def test_percentiles_are_numpys_to_half_a_percent() -> None:
    rng = np.random.default_rng(0)
    patches = [rng.normal(scale=scale, size=(96, 96)) for scale in (0.5, 3.0, 20.0)]
    counts = np.sum([read_counts(count_errors(one, 40.0)) for one in patches], axis=0)
    assert counts.sum() == 3 * 96 * 96
    wanted = np.percentile(np.abs(np.concatenate(patches)), PERCENTS)
    np.testing.assert_allclose(percentiles_m(counts, PERCENTS, 40.0), wanted, rtol=5e-3)


def test_a_normal_error_has_its_le90() -> None:
    rng = np.random.default_rng(1)
    scores, zero = PatchScores(20.0), np.zeros((96, 96))
    for _ in range(8):
        scores.add(2.0 * rng.normal(size=(96, 96)) + 0.5, zero)
    row = scores.summary(20, 0)
    spread = np.abs(2.0 * np.random.default_rng(9).normal(size=1_000_000) + 0.5)
    assert row["le90_m"] == pytest.approx(np.percentile(spread, 90), rel=0.01)
    assert row["abs_error_p99_m"] == pytest.approx(np.percentile(spread, 99), rel=0.02)
    assert row["bias_m"] == pytest.approx(0.5, abs=0.03)


def test_no_error_and_errors_beyond_all_bins_are_counted() -> None:
    counts = read_counts(count_errors(np.array([0.0, 0.0, 1e9, -1e9]), 20.0))
    assert counts[0] == 2 and counts[-1] == 2 and counts.sum() == 4
    none = read_counts(count_errors(np.zeros(5), 20.0))
    assert percentiles_m(none, (99,), 20.0)[0] < 1e-3


@pytest.mark.parametrize("text", [f"{BINS - 1} 3 4", "-1 2", "5 -3"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a bin below"):
        read_counts(text)
