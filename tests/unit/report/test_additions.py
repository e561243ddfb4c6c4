"""Rows of systems that were scored one by one, in one metrics file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.collect import merged
from pipeline.report.additions import add_parts
from pipeline.report.comparison import main

SETTINGS = {"main": {"light": "arcs"}, "images_5": {"light": "arcs", "images": 5}}


def part(
    name: str, rmse_m: float, labels: tuple[str, ...] = ("main", "images_5"), **more: Any
) -> dict[str, Any]:
    numbers = {"slope_deg": rmse_m / 5, "n_patches": 8, "prior_rmse_m": 9.0, **more}
    rows = {label: {"rmse_m": rmse_m + k, **numbers} for k, label in enumerate(labels)}
    models = {} if "bicubic" in name else {name: {"fingerprint": name[::-1], "key": None}}
    settings = {} if "bicubic" in name else {label: SETTINGS[label] for label in labels if label in SETTINGS}
    return {
        "schema": "evaluation_part/2", "name": name, "rows": rows, "models": models,
        "settings": settings, "patches": {},
    }  # fmt: skip


PARTS = [
    part("bicubic", 16.0, ("main",), prior_rmse_m=16.0), part("bicubic_window", 9.0, ("main",)),
    part("pretrained", 2.0), part("published", 7.0), part("vae_truth_published", 4.0, ("floor",)),
]  # fmt: skip


def write(folder: Path, *parts: dict[str, Any]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{each['name']}.json" for each in parts]
    for path, each in zip(paths, parts, strict=True):
        path.write_text(json.dumps(each))
    return paths


@pytest.mark.parametrize("first", [3, 4, 5])
def test_parts_in_any_two_steps_are_the_whole(tmp_path: Path, first: int) -> None:
    paths, kept = write(tmp_path / "parts", *PARTS), tmp_path / "test.json"
    add_parts(kept, paths[:first])
    if first < len(paths):
        add_parts(kept, paths[first:])
    assert json.loads(kept.read_text()) == merged("pretrained", PARTS)


def test_a_system_scored_again_replaces_its_rows(tmp_path: Path) -> None:
    kept = tmp_path / "test.json"
    add_parts(kept, write(tmp_path, *PARTS))
    again = part("published", 6.0, ("main",))
    add_parts(kept, write(tmp_path, again))
    found = json.loads(kept.read_text())
    assert found["systems"]["published"]["rmse_vs_bicubic"] == pytest.approx(6 / 16)
    assert "published" not in found["conditions"]["images_5"]["systems"]
    assert found["floors"]["vae_truth_published"]["rmse_m"] == 4.0


@pytest.mark.parametrize(
    "wrong, message",
    [
        (part("siran", 5.0, n_patches=9), "siran.json: main: n_patches: expected 8 as in the file, found 9"),
        (
            part("siran", 5.0, prior_rmse_m=9.1),
            "main: prior_rmse_m: expected 9 or 16 as in the file, found 9.1",
        ),
        (part("siran", 5.0) | {"settings": {"main": {"light": "scenes"}}}, "main: expected the settings"),
        (part("siran", 5.0) | {"schema": "evaluation_part/1"}, "evaluation_part/2"),
    ],
)
def test_rows_of_another_comparison_are_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    kept = tmp_path / "test.json"
    add_parts(kept, write(tmp_path, *PARTS))
    before = kept.read_bytes()
    with pytest.raises(ValueError, match=message):
        add_parts(kept, write(tmp_path, wrong))
    assert kept.read_bytes() == before


def test_a_new_file_needs_the_bicubics_and_the_primary_system(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="primary: expected one of"):
        add_parts(tmp_path / "test.json", write(tmp_path, *PARTS[:2]))
    assert not (tmp_path / "test.json").exists()


def test_the_command_adds_and_writes_the_page(tmp_path: Path) -> None:
    (tmp_path / "results" / "metrics").mkdir(parents=True)
    paths = write(tmp_path / "parts", *PARTS)
    assert main([str(tmp_path / "results"), "--add", "test", *map(str, paths)]) == 0
    assert "published: published bridge | 7 |" in (tmp_path / "results.md").read_text()
