"""Model cards, shipped ones and those that bundles write: what the Hugging Face Hub reads of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from pipeline.bundle.documents import model_card

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "pretrained").glob("*/model.safetensors"))
NAMES = [path.parent.name for path in SHIPPED]
TAG = re.compile(r"[a-z0-9][a-z0-9-]*")


def parts(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and text of a card, split as the Hub does: a block between lines of dashes at its start."""
    match = re.match(r"---\n(.*?)\n---\n\n(# .*)", card, re.DOTALL)
    assert match, card[:200]
    return yaml.safe_load(match[1]), match[2]


def numbers(text: str) -> set[float]:
    return {float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e[+-]\d+)?", text.replace(",", ""))}


def check(data: dict[str, Any], text: str, name: str) -> list[dict[str, Any]]:
    """The fields that the Hub asks for; every measured number stands in the text. Returns the results."""
    assert set(data) <= {"license", "library_name", "pipeline_tag", "tags", "datasets", "model-index"}
    assert (data["license"], data["library_name"]) == ("apache-2.0", "lunar-bridge")
    assert len(set(data["tags"])) == len(data["tags"]) and all(TAG.fullmatch(tag) for tag in data["tags"])
    if "model-index" not in data:
        return []
    [index] = data["model-index"]
    assert index["name"] == name and index["results"]
    written = numbers(text)
    for result in index["results"]:
        assert set(result) == {"task", "dataset", "metrics"}
        assert result["task"]["type"] == data["pipeline_tag"]
        assert {"type", "name", "split"} <= set(result["dataset"]) <= {"type", "name", "split", "config"}
        assert len({metric["name"] for metric in result["metrics"]}) == len(result["metrics"]) > 0
        for metric in result["metrics"]:
            assert set(metric) == {"type", "name", "value"} and TAG.fullmatch(metric["type"])
            assert isinstance(metric["value"], float | int) and metric["value"] in written, metric
    places = [(r["dataset"]["name"], r["dataset"].get("config")) for r in index["results"]]
    assert len(set(places)) == len(places)
    return list(index["results"])


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_card_gives_the_hub_the_numbers_that_it_tells_people(name: str) -> None:
    data, text = parts((ROOT / "pretrained" / name / "README.md").read_text(encoding="utf-8"))
    results = check(data, text, name)
    assert text.startswith(f"# Model card: `{name}`")
    assert data["pipeline_tag"] == "image-to-image" and data["datasets"]
    assert all({"rmse", "spread-skill"} & {m["type"] for m in result["metrics"]} for result in results)
    assert results


def written(folder: Path, kind: str, rows: dict[str, dict[str, float]], dem: Any = "synthetic") -> str:
    """The card of a model ``m`` of a run ``r``, with scores per condition."""
    path = folder / "model.safetensors"
    save_file({"w": np.zeros((3, 4), np.float32)}, path)
    section = {
        "base": 8, "latent_channels": 4, "process": "i2sb", "space": "pixel", "target": "residual",
        "conditioning": "aligned", "network": "unet", "height_unit": "pixel",
    }  # fmt: skip
    config = {"kind": kind, "name": "siran", "section": section, "fingerprint": "ab", "key": "cd"}
    conditions = {label: {"systems": {"m": row}} for label, row in rows.items()}
    metrics = {"conditions": {**conditions, "other": {"systems": {"x": {"rmse_m": 7.0}}}}, "floors": {}}
    run = {
        "split": {"method": "block"},
        "inputs": {"dem": dem},
        "photometry": {"law": "lambert"},
        "illumination": {"sun": "point"},
    }
    return model_card("m", path, config, metrics, {"run": "r", "config": run, "found": {}})


def test_a_bundle_s_card_gives_the_scores_of_its_table(tmp_path: Path) -> None:
    rows = {
        "main": {"rmse_m": 1.66449, "slope_deg": 0.351, "spread_skill_fair": 1.0204, "n_patches": 204},
        "missing: a": {"rmse_m": 12345.6},
    }
    data, text = parts(written(tmp_path, "bridge", rows))
    main, missing = check(data, text, "m")
    assert {m["type"]: m["value"] for m in main["metrics"]} == {
        "rmse": 1.66, "slope-error": 0.351, "spread-skill": 1.02,
    }  # fmt: skip
    assert [m["value"] for m in missing["metrics"]] == [12300.0]
    assert main["dataset"] == {"type": "synthetic", "name": "Run r, main", "config": "main", "split": "test"}
    assert missing["dataset"]["config"] == "missing: a"
    assert data["tags"][-1] == "bridge"


def test_what_was_not_scored_has_no_index_and_an_autoencoder_no_task(tmp_path: Path) -> None:
    data, text = parts(written(tmp_path, "vae", {}))
    assert check(data, text, "m") == []
    assert "pipeline_tag" not in data and "It was not scored" in text


def test_terrain_of_files_is_not_called_synthetic(tmp_path: Path) -> None:
    data, text = parts(written(tmp_path, "rival", {"main": {"rmse_m": 2.0}}, dem=["a.tif"]))
    [result] = check(data, text, "m")
    assert result["dataset"]["type"] == "dem" and "synthetic" not in text
