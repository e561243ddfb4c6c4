"""Calibration: the fitted law makes clones as far apart as they are wrong; its file is that of its model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from model_sets import lambert_set
from torch.testing import assert_close

from pipeline.config.calibration import Calibration, read_calibration
from pipeline.config.models import SamplerSection
from pipeline.evaluation.calibrate import LOG_SPREADS, Departures, departures, fit, spread_skill
from pipeline.evaluation.metrics import PatchScores
from pipeline.models.apriori import block_mean, crop_halo
from pipeline.models.files import load_system, model_config
from pipeline.training.order import seeded
from saved_models import save_system

PATCHES, MEMBERS, SIDE = 300, 16, 12


def ensemble(scale: float, tail: float, seed: int = 0) -> list[Departures]:
    """Patches whose truth departs exp(scale + tail z) times as far from the estimate as a member does."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(PATCHES):
        spread = np.exp(rng.normal(-1, 0.5, (SIDE, SIDE)))
        estimate = rng.normal(0, 1, (SIDE, SIDE))
        members = estimate + spread * rng.normal(0, 1, (MEMBERS, SIDE, SIDE))
        wider = np.exp(scale + tail * rng.normal())
        out.append(departures(members, estimate, estimate + wider * spread * rng.normal(0, 1, (SIDE, SIDE))))
    return out


@pytest.mark.parametrize("scale,tail", [(0.0, 0.0), (0.7, 0.0), (-0.5, 0.0), (0.3, 0.6)])
def test_the_fit_finds_the_law_of_the_error(scale: float, tail: float) -> None:
    found = fit(ensemble(scale, tail), 0)
    # Second moments fix the sum; the flatness of ranks shares it out.
    assert found["log_scale"] + found["log_spread"] ** 2 == pytest.approx(scale + tail**2, abs=0.15)
    assert found["log_spread"] == pytest.approx(tail, abs=0.21)
    assert found["log_spread"] in LOG_SPREADS
    assert found["spread_skill_fair"] == pytest.approx(1, abs=0.01)
    assert found["rank_js_distance"] < 0.06
    if scale or tail:
        assert abs(found["spread_skill_fair_before"] - 1) > 0.2


def test_the_fit_is_a_function_of_its_seed() -> None:
    found = ensemble(0.3, 0.3)
    assert fit(found, 1) == fit(found, 1)


def test_spread_skill_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(5)
    estimate, truth = rng.normal(size=(2, 4, SIDE, SIDE))
    members = estimate[:, None] + rng.normal(size=(4, MEMBERS, SIDE, SIDE))
    factors = np.exp(rng.normal(size=(1, 4, MEMBERS)))
    scores = PatchScores(1.0)
    for k in range(4):
        moved = estimate[k] + factors[0, k, :, None, None] * (members[k] - estimate[k])
        scores.add_ensemble(moved, truth[k], rng)
    found = [departures(members[k], estimate[k], truth[k]) for k in range(4)]
    assert spread_skill(found, factors) == pytest.approx(scores.summary(10, 0)["spread_skill_fair"])


def test_clones_that_are_all_the_same_cannot_be_calibrated() -> None:
    flat = np.zeros((MEMBERS, SIDE, SIDE))
    with pytest.raises(ValueError, match="expected clones that differ"):
        fit([departures(flat, flat[0], flat[0] + 1)] * 3, 0)


def test_a_calibrated_system_draws_its_clones_further_from_its_estimate(tmp_path: Path) -> None:
    system = load_system(save_system(tmp_path) / "model.safetensors")
    batch = lambert_set(3, 4, size=32, factor=8, halo_cells=2)
    once = SamplerSection(nfe=1)

    def drawn(patches: Sequence[int] = range(3)) -> list[torch.Generator]:
        return [seeded(1, k) for k in patches]

    clones, estimate = system.sample_around(batch, 5, drawn(), once)
    assert_close(system.sample(batch, 5, drawn(), once), clones)
    system.calibration = Calibration(0.5, 0.8)
    again, same = system.sample_around(batch, 5, drawn(), once)
    assert torch.equal(again, clones) and torch.equal(same, estimate)
    wider = system.sample(batch, 5, drawn(), once)
    before, after = clones - estimate[:, None], wider - estimate[:, None]
    ratio = after.flatten(2).norm(dim=2) / before.flatten(2).norm(dim=2)
    assert_close(after, ratio[..., None, None] * before, atol=2e-3, rtol=1e-2)
    assert len(ratio.flatten().unique()) == 15  # a factor of its own for each clone
    z = (ratio.log() - 0.5) / 0.8
    assert abs(z.mean()) < 1 and 0.4 < z.std() < 2
    lr = crop_halo(batch.lr, 4)[:, None].expand(-1, 5, -1, -1)
    assert_close(block_mean(wider, 8), lr, atol=1e-3, rtol=0)
    # A patch's clones are its own, whatever stands beside it.
    row = type(batch)(**{field.name: getattr(batch, field.name)[1:2] for field in fields(batch)})
    assert_close(system.sample(row, 5, drawn([1]), once)[0], wider[1], atol=1e-3, rtol=1e-3)


def test_a_system_without_an_estimate_has_no_clones_around_it(tmp_path: Path) -> None:
    system = load_system(save_system(tmp_path, posterior_mean=False, score="squared") / "model.safetensors")
    with pytest.raises(ValueError, match="posterior_mean: expected true"):
        system.sample_around(lambert_set(1, 4, size=32, factor=8, halo_cells=2), 2, [seeded(0)])


def write(path: Path, **content: object) -> Path:
    path.write_text(json.dumps({"schema": "calibration/1", **content}))
    return path


def test_a_calibration_is_that_of_its_model(tmp_path: Path) -> None:
    model = save_system(tmp_path) / "model.safetensors"
    mark = model_config(model, "bridge")["fingerprint"]
    path = write(tmp_path / "c.json", model=mark, log_scale=0.2, log_spread=0.7)
    assert load_system(model, calibration=path).calibration == Calibration(0.2, 0.7)
    assert load_system(model).calibration is None
    with pytest.raises(ValueError, match=r"c\.json: expected the calibration of the model f00, found"):
        read_calibration(path, "f00")


@pytest.mark.parametrize("value", [None, "wide", float("nan"), float("inf"), 11, -11])
def test_impossible_numbers_are_refused(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "c.json", model="m", log_scale=0.1, log_spread=value)
    with pytest.raises(ValueError, match=r"c\.json: expected log_scale and log_spread of at most 10, found"):
        read_calibration(path, "m")


def test_an_absent_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"c\.json: expected a calibration, found no file"):
        read_calibration(tmp_path / "c.json", "m")
    (tmp_path / "c.json").write_text('{"schema": "model/1"}')
    with pytest.raises(ValueError, match=r"c\.json"):
        read_calibration(tmp_path / "c.json", "m")
