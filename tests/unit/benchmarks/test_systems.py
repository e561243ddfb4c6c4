"""All systems on challenge sets: what the config scores is made of its weights, on the same windows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from model_sets import FACTOR, SIZE, lambert_set

from pipeline.predictors.bicubic import Bicubic
from pipeline.predictors.interface import Predictor
from systems import ROOT, planned, predictors, scored, takes_altimetry, windows


def site(row: int, height: int, nan_at: int | None = None) -> Any:
    """A set whose truth is the bicubic that its batches hold, plus 2 m."""
    layout = SimpleNamespace(row=row, col=0, height=height, width=2 * SIZE)
    asked: list[tuple[int, int, int, bool]] = []
    truth = np.zeros((height, 2 * SIZE))
    batch = lambert_set(1, 2, halo_cells=2)
    for top in range(-row % FACTOR, height - SIZE + 1, SIZE):
        for left in (0, SIZE):
            truth[top : top + SIZE, left : left + SIZE] = batch.prior[0] + float(batch.reference[0]) + 2.0
    if nan_at is not None:
        truth[nan_at, 0] = np.nan

    def batch_of(window: Any, halo_cells: int, altimetry: bool) -> Any:
        asked.append((window.row, window.col, halo_cells, altimetry))
        return batch

    ground = SimpleNamespace(layout=layout)
    return SimpleNamespace(ground=ground, size=SIZE, truth=truth, batch=batch_of, asked=asked)


def test_windows_are_whole_cells_within_the_truth() -> None:
    found = [(w.row, w.col) for w, _ in windows(site(3, 2 * SIZE + 5), FACTOR)]
    assert found == [(FACTOR, 0), (FACTOR, SIZE), (FACTOR + SIZE, 0), (FACTOR + SIZE, SIZE)]
    assert [(w.row, w.col) for w, _ in windows(site(0, SIZE, nan_at=4), FACTOR)] == [(0, SIZE)]


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[Any, Predictor]]:
    plan = planned([ROOT / "config" / "systems.yaml"])
    grid = {"size_px": 96, "factor": 16, "halo_px": 32, "pixel_m": 40.0}
    made_of = predictors(plan, grid, [*plan.predictors])
    return {section.name: (section, predictor) for section, predictor in made_of}


def test_every_scored_row_is_made(made: dict[str, tuple[Any, Predictor]]) -> None:
    assert {"bicubic", "bicubic_window", "photometric", "kriging", "sfs", "hybrid", "pretrained"} <= set(made)
    assert {name for name, made_of in made.items() if takes_altimetry(*made_of)} == {"kriging", "sfs", "moon"}


def test_errors_are_those_of_the_windows(made: dict[str, tuple[Any, Predictor]]) -> None:
    section, here = made["bicubic_window"][0], site(0, SIZE)
    row = scored(here, section, Bicubic(2), FACTOR)
    assert row["n_patches"] == 2 and row["rmse_m"] == pytest.approx(2.0, rel=1e-4)
    assert here.asked == [(0, 0, 2, False), (0, SIZE, 2, False)]
