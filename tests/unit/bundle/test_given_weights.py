"""Given weights in a bundle: they are those of the keys, and the bundle says where they came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from plan_table import resolved
from snakemake.utils import update_config

from pipeline.bundle.checks import Bundle
from pipeline.bundle.numbers import check_weights
from pipeline.bundle.write import given_files
from pipeline.config.root import load_config
from pipeline.models.files import model_config
from pipeline.provenance.plan import Plan
from pipeline.storage.atomic import write_json
from saved_models import save_rival, save_system, save_vae

SAMPLER = {"nfe": 2, "kind": "posterior", "eta": 0.0, "grid": "uniform"}
LATENT = {"space": "latent", "target": "dem", "posterior_mean": False, "keep_block_means": False}
RUN: dict[str, Any] = {
    "inputs": {"dem": "dem.tif"},
    "pretrained": {"weights": "w"},
    "patches": {"size_px": 32, "factor": 8, "halo_px": 16, "stride_px": 32},
    "illumination": {"halo_px": 16},
    "region": {"size_px": 64, "stride_px": 16},
    "predictors": {
        "scored": ["gan", "published"],
        "gan": {"weights": "gan"},
        "bridges": {"published": {"weights": "l", "vae": "v", "sampler": SAMPLER}},
    },
}
# Folder of the user's weights -> folder in the bundle.
PLACES = {"w": "pretrained", "gan": "gan", "l": "published", "v": "vae_published"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A DEM, and given weights: the run's own, a learned rival, and a latent bridge with its VAE."""
    (tmp_path / "dem.tif").write_text("heights")
    save_system(tmp_path / "w")
    save_rival(tmp_path / "gan")
    save_vae(tmp_path / "v", height_unit="pixel")
    save_system(tmp_path / "l", seed=2, vae=tmp_path / "v" / "model.safetensors", **LATENT)
    return tmp_path


@pytest.fixture
def bundle(root: Path) -> Bundle:
    """What `check_weights` reads of a bundle of these weights."""
    config = resolved("evaluate")
    update_config(config, RUN)
    plan = Plan(load_config(config), root)
    folder = root / "bundle"
    for here, there in PLACES.items():
        shutil.copytree(root / here, folder / "models" / there)
    mark = model_config(root / "w" / "model.safetensors", "bridge")["fingerprint"]
    metrics = {"schema": "metrics/1", "models": {}, "primary": "pretrained"}
    write_json(folder / "evaluation" / "metrics.json", metrics)
    write_json(folder / "region" / "metrics.json", {"schema": "region/1", "model_fingerprint": mark})
    write_json(folder / "stages.json", plan.record())
    write_json(folder / "config.json", plan.record()["config"])
    names = tuple(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    out = Bundle(folder, names)
    out.__dict__["plan"] = plan
    return out


def failures(bundle: Bundle) -> list[str]:
    return [row.detail for row in check_weights(bundle) if row.status == "FAIL"]


def test_weights_of_the_keys_pass(bundle: Bundle) -> None:
    assert failures(bundle) == []
    assert len(given_files(bundle.stages)) == 8


@pytest.mark.parametrize("name", ["pretrained", "gan", "published", "vae_published"])
def test_replaced_weights_that_agree_with_themselves_fail(name: str, bundle: Bundle, tmp_path: Path) -> None:
    makers = {"gan": save_rival, "vae_published": save_vae}
    more = {"vae_published": {"height_unit": "pixel"}}.get(name, {})
    makers.get(name, save_system)(tmp_path / "other", seed=7, **more)  # type: ignore[operator]
    place = bundle.folder / "models" / name
    for file in ("model.safetensors", "config.json"):
        shutil.copy(tmp_path / "other" / file, place / file)
    if name == "pretrained":
        mark = json.loads((place / "config.json").read_text())["fingerprint"]
        write_json(
            bundle.folder / "region" / "metrics.json", {"schema": "region/1", "model_fingerprint": mark}
        )
    found = {line.partition(":")[0]: line for line in failures(bundle)}
    assert set(found) == {f"models/{name}/model.safetensors", f"models/{name}/config.json"}
    line = found[f"models/{name}/model.safetensors"]
    assert "expected sha256:" in line and "as stages.json says, found sha256:" in line


def test_a_calibration_and_its_absence_are_compared(root: Path, bundle: Bundle) -> None:
    stages = json.loads(json.dumps(bundle.stages))
    stages["found"]["given"]["identity"]["model.calibration"] = "sha256:" + "0" * 64
    bundle.__dict__["stages"] = stages
    [line] = failures(bundle)
    assert line.startswith("models/pretrained/calibration.json: expected sha256:") and "no such file" in line
