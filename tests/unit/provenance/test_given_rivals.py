"""Given weights of rivals: what is planned and shipped, what moves which key, what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from plan_table import resolved
from snakemake.utils import update_config

from pipeline.bundle.write import results
from pipeline.config.rivals import GanSection
from pipeline.config.root import ConfigError, load_config
from pipeline.models.files import model_config, read_state
from pipeline.models.gan import Gan
from pipeline.models.halved import halve_system
from pipeline.models.rivals import load_rival
from pipeline.provenance.plan import Plan
from saved_models import ADVERSARIAL, GRID, save_each_kind, save_rival, save_system

RUN = {
    "inputs": {"dem": "dem.tif"},
    "pretrained": {"weights": "w"},
    "patches": {"size_px": 32, "factor": 8, "halo_px": 16, "stride_px": 32},
    "illumination": {"halo_px": 16},
    "region": {"size_px": 64, "stride_px": 16},
}
SAMPLER = {"nfe": 2, "kind": "posterior", "eta": 0.0, "grid": "uniform"}


def plan(root: Path, *changes: dict[str, Any]) -> Plan:
    """config/evaluate.yaml with changes, planned."""
    config = resolved("evaluate")
    for change in (RUN, *changes):
        update_config(config, change)
    return Plan(load_config(config), root)


def moved(one: Plan, two: Plan) -> set[str]:
    assert set(one.stages) == set(two.stages)
    return {name for name, stage in two.stages.items() if stage.key != one[name].key}


def rivals(**predictors: Any) -> dict[str, Any]:
    scored = [name for name in predictors if name not in ("bridges", "variants")]
    scored += [*predictors.get("bridges", {}), *predictors.get("variants", {})]
    return {"predictors": {"scored": scored, **predictors}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A DEM, the run's own model, a GAN, and a latent bridge with its VAE."""
    (tmp_path / "dem.tif").write_text("heights")
    save_each_kind(tmp_path)
    return tmp_path


PUBLISHED = {"published": {"weights": "l", "vae": "v", "sampler": SAMPLER}}


def test_given_rivals_are_scored_and_not_trained(root: Path) -> None:
    found = plan(root, rivals(gan={"weights": "gan"}, bridges=PUBLISHED))
    assert found.learned == [] and "gan" not in found.stages
    assert found.files_of("gan")["model"] == ["gan/model.safetensors"]
    assert found.files_of("pretrained")["model"] == ["w/model.safetensors"]
    assert found.files_of("published")["vae"] == found.files_of("vae_truth_published")["vae"]
    assert found.files_of("published")["vae"] == ["v/model.safetensors"]
    section = json.loads(found["evaluation_published"].section)
    assert (section["options"], section["vae"]) == (SAMPLER, "vae_published")
    assert {"evaluation_vae_truth_published", "evaluation_vae_bicubic_published"} <= set(found.stages)
    # What a rival was trained with, its weights say.
    options = json.loads(found["evaluation_gan"].section)["options"]
    assert GanSection(**options) == GanSection(**ADVERSARIAL) and "weights" not in options
    load_rival(root / "gan" / "model.safetensors", "gan", GanSection(**options), GRID, Gan)
    again = Plan(load_config(found.record()["config"]), root / "nowhere", found.record())
    assert again.record() == found.record()


def test_bytes_of_weights_count_and_their_place_does_not(root: Path) -> None:
    change = rivals(gan={"weights": "gan"}, bridges=PUBLISHED)
    before = plan(root, change)
    (root / "gan").rename(root / "elsewhere")
    shown = {"report", "bundle"}
    elsewhere = rivals(gan={"weights": "elsewhere/model.safetensors"}, bridges=PUBLISHED)
    assert moved(before, plan(root, elsewhere)) == shown
    save_rival(root / "gan", seed=1)
    assert moved(before, plan(root, change)) == {"evaluation_gan", "evaluation", *shown}


@pytest.mark.parametrize(
    ("predictors", "wanted"),
    [
        ({"gan": {"weights": "nowhere"}}, r"predictors\.gan\.weights: expected model weights .*nowhere"),
        ({"gan": {"weights": "w"}}, r"predictors\.gan\.weights: expected a model of kind 'rival', found"),
        ({"siran": {"weights": "gan"}}, r"predictors\.siran\.weights: expected weights of 'siran', fou"),
        ({"gan": {"weights": "gan", "width": 16}}, r"predictors\.gan\.width: expected 8, as the .*found 16"),
        (
            {"variants": {"other": {"of": "gan", "weights": "gan", "blocks": 3}}},
            r"predictors\.variants\.other\.blocks: expected 1, as the weights of gan/config\.json have",
        ),
        ({"gan": {}}, r"expected no learned rivals without weights where systems is \[\], found \['gan'\]"),
        (
            {"bridges": {"published": {"weights": "l", "sampler": SAMPLER}}},
            r"predictors\.bridges\.published\.vae: expected the VAE of the latent model l/model",
        ),
        (
            {"bridges": {"published": {**PUBLISHED["published"], "sampler": {"kind": "heun"}}}},
            r"predictors\.bridges\.published\.sampler\.kind: expected one of posterior, .* found 'heun'",
        ),
        ({"bridges": {"published": {}}}, r"bridges\.published\.weights: expected a folder of weights"),
        ({"bridges": {"gan": {"weights": "l"}}}, r"bridges\.gan: expected another name than that of a sect"),
        ({"bridges": {"bridge": {"weights": "w"}}}, r"predictors\.bridges: expected names of no predictor"),
    ],
)
def test_what_does_not_fit_is_named(root: Path, predictors: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        plan(root, rivals(**predictors))


def test_weights_of_another_grid_are_named(root: Path) -> None:
    change = {**rivals(gan={"weights": "gan"}), "pretrained": {"weights": "big"}}
    save_system(root / "big", size_px=64, lr_halo_px=16)
    with pytest.raises(ConfigError, match=r"patches\.size_px: expected 32, as the model of gan/config\.json"):
        plan(root, change, {"patches": {"size_px": 64, "stride_px": 64}})


def test_a_bundle_holds_all_weights(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(root, rivals(gan={"weights": "gan"}, bridges=PUBLISHED))
    monkeypatch.chdir(root)
    files = {"stages": "s", "report": "r", "evaluation": [], "region": [], "manifests": [], "models": []}
    held = results(files, json.loads(found.record_json))
    for name in ("gan", "published", "vae_published"):
        assert held[f"models/{name}/model.safetensors"].is_file(), name
        assert held[f"models/{name}/config.json"].is_file(), name


# --- half precision ---------------------------------------------------------------------------------------


def test_halved_weights_name_each_other(root: Path) -> None:
    halve_system(str(root / "l/model.safetensors"), str(root / "v/model.safetensors"), None, root / "half")
    bridge = model_config(root / "half" / "model.safetensors", "bridge")
    vae = model_config(root / "half_vae" / "model.safetensors", "vae")
    assert bridge["vae_fingerprint"] == vae["fingerprint"]
    assert bridge["key"] == model_config(root / "l" / "model.safetensors", "bridge")["key"]
    stored = read_state(root / "half" / "model.safetensors", bridge["fingerprint"])
    assert {value.dtype for value in stored.values()} == {torch.float16}
    given = {"weights": "half", "vae": "half_vae", "sampler": SAMPLER}
    assert plan(root, rivals(bridges={"published": given})).files_of("published")["vae"]


def test_changed_weights_are_refused(root: Path) -> None:
    path = root / "gan" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"model\.safetensors: expected weights with fingerprint"):
        halve_system(str(path), None, None, root / "half")


def test_what_a_run_ships(tmp_path: Path) -> None:
    """The last stage of each system, with its VAE and calibration, and the learned rivals."""
    found = Plan(load_config({**resolved("tiny"), "predictors": {"scored": ["gan"]}}), tmp_path)
    assert set(found.shipped) == {"published", "bridge", "gan"}
    folders = {name: [f and f.split("/")[2] for f in files] for name, files in found.shipped.items()}
    assert folders["published"] == ["published_missing", "vae", None]
    assert folders["bridge"] == ["bridge_missing", None, "calibration_bridge_missing"]
    assert folders["gan"] == ["gan", None, None]


def test_a_run_of_given_weights_ships_nothing(root: Path) -> None:
    assert plan(root, rivals(gan={"weights": "gan"})).shipped == {}
