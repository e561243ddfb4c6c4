"""Given weights in a bundle: they are those of the keys, and the bundle says where they came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from plan_table import resolved
from snakemake.utils import update_config

from pipeline.bundle.checks import Bundle, other_inputs
from pipeline.bundle.documents import datasheet, readme
from pipeline.bundle.numbers import check_weights
from pipeline.bundle.write import given_files, input_files
from pipeline.config.root import load_config
from pipeline.models.files import model_config
from pipeline.provenance.plan import Plan
from pipeline.storage.atomic import write_json
from saved_models import save_each_kind, save_rival, save_system, save_vae

SAMPLER = {"nfe": 2, "kind": "posterior", "eta": 0.0, "grid": "uniform"}
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
    save_each_kind(tmp_path)
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


# --- input files ------------------------------------------------------------------------------------------


def listed(stages: dict[str, Any]) -> dict[str, Any]:
    return {"synthetic": False, "files": input_files(stages, {})}


def test_every_input_file_is_listed(bundle: Bundle) -> None:
    stages = json.loads(json.dumps(bundle.stages))
    stages["config"]["inputs"]["far"] = ["wide/a.tif", "b.tif"]
    stages["found"]["far"] = ["sha256:" + "a" * 64, "sha256:" + "b" * 64]
    identity = {"model.weights": "sha256:" + "c" * 64, "model.config": "sha256:" + "d" * 64}
    stages["found"]["init"] = {"bridge": {"model": "w/model.safetensors", "identity": identity}}
    inputs = listed(stages)
    found = {(entry["role"], entry["name"]): entry["sha256"] for entry in inputs["files"]}
    assert found["far", "a.tif"] == "a" * 64 and found["far", "b.tif"] == "b" * 64
    assert found["init", "bridge/config.json"] == "d" * 64
    given = {name for role, name in found if role == "given"}
    assert given == set(given_files(stages)) and "models/vae_published/config.json" in given
    assert other_inputs(stages, inputs) == []


def test_another_list_of_inputs_is_found(bundle: Bundle) -> None:
    inputs = listed(bundle.stages)
    inputs["files"][0]["sha256"] = "0" * 64
    del inputs["files"][-1]
    found = other_inputs(bundle.stages, {**inputs, "synthetic": True})
    assert [line.split(":")[1] for line in found] == [
        " not listed", " not listed", " not in stages.json", " synthetic",
    ]  # fmt: skip


def test_an_unpinned_download_may_have_any_digest_and_a_pinned_one_its_own(bundle: Bundle) -> None:
    stages = json.loads(json.dumps(bundle.stages))
    urls = [
        ["resources/downloads/a.tif", "http://x/a.tif", None],
        ["resources/downloads/b.tif", "http://x/b.tif", "1"],
    ]
    stages["found"]["urls"] = urls
    stages["files"] = [["dem", "http://x/a.tif", "unpinned"], ["dem", "http://x/b.tif", "1" * 64]]
    inputs = {"synthetic": False, "files": input_files(stages, {"a.tif": "2" * 64, "b.tif": "2" * 64})}
    assert [entry["sha256"] for entry in inputs["files"][:2]] == ["2" * 64, "1" * 64]
    assert other_inputs(stages, inputs) == []


def test_the_readme_says_how_to_run_again_with_the_weights_of_the_bundle(bundle: Bundle) -> None:
    row = {"n_patches": 1, "members": 2}
    metrics = {"primary": "pretrained", "systems": {"pretrained": row}}
    text = readme(bundle.stages, metrics, {"patches": {"test": 1}})
    assert """-c2 all --config 'pretrained={"weights": "../models/pretrained"}' 'predictors={""" in text
    assert (
        '"bridges": {"published": {"weights": "../models/published", "vae": "../models/vae_published"}}'
        in text
    )
    assert '"gan": {"weights": "../models/gan"}' in text


def test_the_datasheet_follows_from_members_of_the_bundle(bundle: Bundle) -> None:
    manifest = {"grid": {"size_px": 32, "pixel_m": 5.0, "halo_px": 16, "factor": 8}, "shards": [{}]}
    manifests = {"manifest_test": {**manifest, "patches": {"test": 3}}}
    text = datasheet(
        bundle.stages, manifests, {**listed(bundle.stages), "sites": ["rim", "floor"], "dropped": 7}
    )
    assert "Sites: `rim`, `floor`." in text and "7 kept patches" in text
    assert "| given | models/pretrained/model.safetensors |" in text
