"""What `make gpu` does with its seconds, and the weights that it brings back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shard_files import FACTOR, SIZE

import pipeline
from gpu_budget import IMAGE_S, START_S, Clock, attempted, fitted_scenes, teller
from gpu_moon import halve, spaced
from pipeline.models.files import model_config, read_state, save_model
from pipeline.predict import super_resolve
from saved_models import save_system


@pytest.mark.parametrize("seconds", [10.0, 30.0, 60.0, 150.0, 2000.0])
@pytest.mark.parametrize("cores", [1, 12])
def test_scenes_fit_into_their_seconds(seconds: float, cores: int) -> None:
    patches, sets = fitted_scenes(seconds, cores, patches=3000, sets=4, images=40)
    assert 1 <= patches <= 3000 and 1 <= sets <= 4
    if (patches, sets) != (1, 1):
        assert START_S + patches * sets * 40 * IMAGE_S / cores <= seconds


def test_fewer_sets_before_few_patches() -> None:
    fitted = [fitted_scenes(s, 12, patches=1000, sets=4, images=40) for s in (2000, 60, 45, 30)]
    assert fitted == [(1000, 4), (622, 3), (533, 2), (266, 1)]
    # Where there are few patches, all of them keep all their sets.
    assert fitted_scenes(60, 12, patches=100, sets=4, images=40) == (100, 4)


def test_a_part_with_too_few_seconds_is_skipped_and_said_so(tmp_path: Path, capsys: Any) -> None:
    say, told = teller(tmp_path)
    clock = Clock(20)
    assert clock.allows("long enough", 15, say) and not told
    assert not clock.share(0.5).allows("too short", 15, say)
    assert [(line["what"], line["part"]) for line in told] == [("skipped", "too short")]
    assert "15 s needed" in told[0]["why"]
    assert (
        json.loads((tmp_path / "timings.jsonl").read_text()) == told[0] == json.loads(capsys.readouterr().out)
    )
    assert Clock(-5).share(0.5).left <= 0


def test_a_part_that_fails_leaves_the_others_their_seconds(tmp_path: Path) -> None:
    say, told = teller(tmp_path)
    assert attempted("fine", lambda: 3, say) == 3 and not told
    assert attempted("broken", lambda: [][1], say) is None
    assert told[0]["what"] == "failed" and told[0]["why"] == "IndexError: list index out of range"


def test_patches_are_spaced_evenly() -> None:
    assert spaced(list("abcdef"), 3) == ["a", "c", "e"]
    assert spaced(list("ab"), 5) == ["a", "b"]


def test_half_precision_weights_load_in_single_precision(tmp_path: Path) -> None:
    full = save_system(tmp_path / "full", 3, SIZE, FACTOR, 2 * FACTOR) / "model.safetensors"
    half = tmp_path / "half" / "model.safetensors"
    halve(full, half)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    stored = read_state(half)
    assert all(value.dtype == torch.float16 for value in stored.values())
    system = pipeline.load(half)  # its fingerprint is that of the tensors as they are stored
    given, loaded = pipeline.load(full).network.state_dict(), system.network.state_dict()
    for name, value in loaded.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, given[name].half().float(), rtol=0, atol=0)
    rng = np.random.default_rng(0)
    cells = rng.normal(0, 30, (system.size_px // FACTOR + 2 * system.halo_cells,) * 2)
    images, suns = rng.random((2, SIZE, SIZE)), [[0.8, 0, 0.6], [0, 0.8, 0.6]]
    drawn = [super_resolve(pipeline.load(p), cells, images, suns, 40.0, members=2) for p in (full, half)]
    assert np.abs(drawn[1].mean - drawn[0].mean).max() < 0.02 * np.abs(drawn[0].mean - drawn[0].prior).max()


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    full = save_system(tmp_path / "full", 3, SIZE, FACTOR, 2 * FACTOR) / "model.safetensors"
    state, config = read_state(full), model_config(full, "bridge")
    name = min(state)
    state[name].view(-1)[0] = 1e5
    save_model(full, state, {k: v for k, v in config.items() if k not in ("schema", "fingerprint")})
    with pytest.raises(ValueError, match=f"below 65504, found larger ones in {name}"):
        halve(full, tmp_path / "half" / "model.safetensors")
    assert not (tmp_path / "half").exists()
