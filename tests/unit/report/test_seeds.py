"""Numbers over training seeds, and Yasuda's figures, from parts of an evaluation and from metrics.json."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.per_patch import as_csv, columns
from pipeline.report.seeds import main, nfe_series, over_seeds, read_scores, spread_and_error, write_seeds

SEEDS, MEMBERS, PATCHES = 3, 4, 5


def part(name: str, seed: int, labels: dict[str, int]) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """A part of an evaluation, and the members (patches, M, P, P) and truths of its last condition."""
    rng = np.random.default_rng(seed)
    content: dict[str, Any] = {"schema": "evaluation_part/2", "name": name, "rows": {}, "patches": {}}
    for label, nfe in labels.items():
        scores = PatchScores(20.0)
        truths = rng.standard_normal((PATCHES, 16, 16))
        members = truths[:, None] + rng.standard_normal((PATCHES, MEMBERS, 16, 16)) * (1 + seed)
        for each, truth in zip(members, truths, strict=True):
            scores.add_ensemble(each, truth, rng)
        content["rows"][label] = {**scores.summary(20, 0), "nfe": nfe}
        content["patches"][label] = columns(scores, list(range(PATCHES)), "here")
    return content, members, truths


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    out = []
    for number, name in enumerate(["yasuda", *(f"yasudaseed{i}" for i in range(1, SEEDS + 1))]):
        content, _, _ = part(name, number, {"main": 10, "nfe_3": 3, "nfe_10": 10})
        out.append(tmp_path / f"{name}.json")
        out[-1].write_text(json.dumps(content))
    return out


def test_numbers_over_seeds_are_their_mean_and_standard_deviation(files: list[Path], tmp_path: Path) -> None:
    written = {path.name: path for path in write_seeds(files, tmp_path / "out")}
    rows = {(r["condition"], r["system"]): r for r in csv.DictReader(written["seeds.csv"].open())}
    assert set(rows) == {(c, s) for c in ("main", "nfe_3", "nfe_10") for s in ("yasuda", "yasuda over seeds")}
    found = rows["main", "yasuda over seeds"]
    own = [json.loads(path.read_text())["rows"]["main"] for path in files[1:]]
    assert (found["seeds"], rows["main", "yasuda"]["seeds"]) == (str(SEEDS), "1")
    for key in ("member_rmse_case_mean_m", "spread_skill_yasuda", "rank_js_distance", "crps_plain_m"):
        values = [row[key] for row in own]
        assert float(found[key]) == pytest.approx(np.mean(values), rel=1e-5)
        assert float(found[f"{key}_std"]) == pytest.approx(np.std(values, ddof=1), rel=1e-4)
    loss = np.mean([1 - row["member_ssim"] for row in own])
    assert float(found["member_ssim_loss"]) == pytest.approx(loss, rel=1e-5)
    assert {"spread.png", "ranks_yasuda.png", "nfe.png"} <= set(written)
    assert all(written[name].read_bytes().startswith(b"\x89PNG") for name in written if name.endswith("png"))
    first = {name: path.read_bytes() for name, path in written.items()}
    again = write_seeds(files, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in again} == first


def test_the_scatter_has_yasudas_spread_and_each_patchs_error() -> None:
    """By brute force: the standard deviation with divisor M, averaged; the RMSE of the mean."""
    content, members, truths = part("yasuda", 1, {"main": 10})
    spread, rmse = spread_and_error(content["patches"]["main"])
    np.testing.assert_allclose(spread, members.std(axis=1, ddof=0).mean(axis=(1, 2)))
    wanted = np.sqrt(((members.mean(axis=1) - truths) ** 2).mean(axis=(1, 2)))
    np.testing.assert_allclose(rmse, wanted)
    ratio = spread.mean() / np.sqrt(np.mean(rmse**2))
    assert content["rows"]["main"]["spread_skill_yasuda"] == pytest.approx(ratio)


def test_errors_over_nfe_are_those_of_the_conditions(files: list[Path]) -> None:
    rows, _ = read_scores(files)
    series = nfe_series(rows, "member_rmse_case_mean_m")
    assert set(series) == {"yasuda", "yasuda over seeds"} and set(series["yasuda"]) == {3, 10}
    mean, std = series["yasuda over seeds"][3]
    values = [rows["nfe_3"][f"yasudaseed{i}"]["member_rmse_case_mean_m"] for i in range(1, SEEDS + 1)]
    assert (mean, std) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))


def test_metrics_json_gives_the_same_and_deterministic_rows_stand_beside(tmp_path: Path) -> None:
    content, _, _ = part("yasuda", 0, {"main": 10})
    row = content["rows"]["main"]
    metrics = {
        "schema": "metrics/1",
        "systems": {"yasuda": row, "bicubic": {"rmse_m": 3.0}},
        "conditions": {},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "patches.csv").write_text(as_csv({("main", "yasuda"): content["patches"]["main"]}))
    rows, tables = read_scores([tmp_path / "metrics.json"])
    assert over_seeds(rows["main"])["bicubic"] == {"rmse_m": (3.0, 0.0, 1)}
    assert over_seeds(rows["main"])["yasuda"]["rmse_m"][0] == row["rmse_m"]
    assert ("main", "yasuda") in tables
    names = {path.name for path in write_seeds([tmp_path / "metrics.json"], tmp_path / "out")}
    assert names == {"seeds.csv", "spread.png", "ranks_yasuda.png"}


def test_mistakes_in_the_files_are_named(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"yasuda\.json: expected each system once, found yasuda under main"):
        main([str(files[0]), str(files[0]), "--out", str(tmp_path / "out")])
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"schema": "split/1"}))
    with pytest.raises(SystemExit, match=r"other\.json: expected schema metrics/1 or .*, found 'split/1'"):
        main([str(other), "--out", str(tmp_path / "out")])
