"""Scores of single patches pool to the scores of all, and keep every digit on the way through a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.per_patch import TABLE, as_csv, columns, read_csv
from pipeline.jobs.machine import arithmetic

PIXEL_M = 20.0
# Of a row that ends after its seventh cell.
EMPTY = "," * (len(TABLE) - 7)


def scored(members: int, patches: int = 5) -> PatchScores:
    rng = np.random.default_rng(members)
    scores = PatchScores(PIXEL_M)
    for _ in range(patches):
        truth = rng.normal(size=(12, 12)) * 30
        if members:
            scores.add_ensemble(truth + rng.normal(size=(members, 12, 12)), truth, rng)
        else:
            scores.add(truth + rng.normal(size=(12, 12)), truth)
    return scores


@pytest.mark.parametrize("members", [0, 2, 5])
def test_a_table_pools_to_the_summary(members: int, tmp_path: Path) -> None:
    scores = scored(members)
    table = columns(scores, range(5), "cpu:0")
    (tmp_path / "patches.csv").write_text(as_csv({("main", "s"): table}))
    back = read_csv(tmp_path / "patches.csv")["main", "s"]
    assert back == table
    wanted = scores.summary(50, 3)
    found = PatchScores(PIXEL_M, back).summary(50, 3)
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-12), key


def test_one_changed_digit_moves_the_pooled_score() -> None:
    table = columns(scored(3), range(5), "cpu:0")
    before = PatchScores(PIXEL_M, table).summary(20, 0)
    table["mse_m2"][2] *= 1 + 1e-6
    assert PatchScores(PIXEL_M, table).summary(20, 0)["rmse_m"] > before["rmse_m"] * (1 + 1e-8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patch,rmse\n1,2\n", "expected the columns condition, system, patch"),
        (",".join(TABLE) + "\nmain,s,1\n", f"line 2: expected {len(TABLE)} cells, found 3"),
        (
            ",".join(TABLE) + f"\nmain,s,1,cpu:0,0,0:0,many{EMPTY}\n",
            "line 2: mse_m2: expected a number, found 'many'",
        ),
        (
            ",".join(TABLE) + f"\nmain,s,1,c,0,0:0,1{EMPTY}\nmain,s,2,c,0,,1{EMPTY}\n",
            "same cells in every row",
        ),
        (
            ",".join(TABLE) + f"\nmain,s,1,c,here,0:0,1{EMPTY}\n",
            "line 2: site: expected a number, found 'here'",
        ),
        ("", "expected the columns"),
    ],
)
def test_a_table_that_is_none_is_told(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "patches.csv").write_text(text)
    with pytest.raises(ValueError, match=r"patches\.csv") as caught:
        read_csv(tmp_path / "patches.csv")
    assert words in str(caught.value)


def test_arithmetic_is_the_same_twice_and_touches_no_generator() -> None:
    state = torch.get_rng_state()
    one = arithmetic()
    from pipeline.jobs import machine as module

    module._arithmetic.cache_clear()
    assert arithmetic("cpu") == one
    assert one.startswith("cpu:") and len(one) == 16
    assert torch.equal(torch.get_rng_state(), state)
