"""Given weights in a run: what is planned, what moves which key, and what does not fit is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from pipeline.bundle.write import results
from pipeline.config import shipped
from pipeline.config.pretrained import PretrainedSampler, PretrainedSection, weights_file
from pipeline.config.root import ConfigError, load_config
from pipeline.provenance.plan import Plan
from saved_models import save_system, save_vae

ROOT = Path(__file__).resolve().parents[3]
STAGES = {
    "terrain", "patches", "selected", "split", "visibility", "arcs", "masks", "shards_test", "manifest_test",
    "evaluation_bicubic", "evaluation_bicubic_window", "evaluation_photometric", "evaluation_pretrained",
    "evaluation", "region", "report", "bundle",
}  # fmt: skip
USERS = {"evaluation_pretrained", "evaluation", "region", "report", "bundle"}
SHOWN = {"report", "bundle"}
SMALL = {
    "inputs": {"dem": "dem.tif"},
    "pretrained": {"weights": "w"},
    "patches": {"size_px": 32, "factor": 8, "halo_px": 16, "stride_px": 32},
    "illumination": {"halo_px": 16},
    "region": {"size_px": 64, "stride_px": 16},
}


def overlay(*changes: dict[str, Any]) -> dict[str, Any]:
    """config/evaluate.yaml with changes, as Snakemake merges them."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for change in (yaml.safe_load((ROOT / "config" / "evaluate.yaml").read_text()), *changes):
        update_config(config, change)
    return config


def plan(root: Path, *changes: dict[str, Any]) -> Plan:
    return Plan(load_config(overlay(SMALL, *changes)), root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A working directory with a DEM (planning looks at its bytes alone) and a small model."""
    (tmp_path / "dem.tif").write_text("heights")
    save_system(tmp_path / "w")
    return tmp_path


def moved(one: Plan, two: Plan) -> set[str]:
    assert set(one.stages) == set(two.stages)
    return {name for name, stage in two.stages.items() if stage.key != one[name].key}


# --- the plan -------------------------------------------------------------------------------------------


def test_nothing_is_trained(root: Path) -> None:
    found = plan(root)
    assert set(found.stages) == STAGES
    assert (found.systems, found.scored) == ([], ["pretrained"])
    assert found.files_of("pretrained")["model"] == ["w/model.safetensors"]
    assert found.files_of("pretrained")["vae"] == found.files_of("bicubic")["vae"] == []
    assert found["region"].inputs == ("terrain", "split")
    assert found["evaluation_pretrained"].inputs == ("manifest_test",)
    assert json.loads(found["region"].section)["sampler"] == PretrainedSampler().model_dump()
    assert set(json.loads(found.record_json)["stages"]) == STAGES


def test_bytes_of_weights_move_what_uses_them(root: Path) -> None:
    before = plan(root)
    save_system(root / "w", seed=1)
    assert moved(before, plan(root)) == USERS


def test_weights_of_an_installed_wheel_have_the_keys_of_a_checkout(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"pretrained": {"weights": "pretrained/small"}}
    wheel = tmp_path / "wheel"
    shutil.copytree(root / "w", root / "pretrained" / "small")
    before = plan(root, named)
    (root / "pretrained").rename(wheel)
    monkeypatch.setattr(shipped, "CARRIED", wheel.parent / "_project")
    with pytest.raises(ConfigError, match=r"pretrained/small/model\.safetensors"):
        plan(root, named)
    (wheel.parent / "_project").mkdir()
    wheel.rename(wheel.parent / "_project" / "pretrained")
    after = plan(root, named)
    assert moved(before, after) == set()
    assert after.given_files("model") == [
        f"{tmp_path}/_project/pretrained/small/{name}" for name in ("model.safetensors", "config.json")
    ]


def test_what_is_said_of_weights_counts_too(root: Path) -> None:
    """The section and the scale of states beside the weights change what they mean."""
    before = plan(root)
    path = root / "w" / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "state_scale": 0.5}))
    assert moved(before, plan(root)) == USERS


@pytest.mark.parametrize("weights", ["elsewhere", "elsewhere/model.safetensors"])
def test_the_place_of_weights_does_not_count(root: Path, weights: str) -> None:
    """The report shows where they are; nothing else depends on it."""
    before = plan(root)
    (root / "w").rename(root / "elsewhere")
    assert moved(before, plan(root, {"pretrained": {"weights": weights}})) == SHOWN


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"run": "mine"}, SHOWN),
        ({"runtime": {"workers": 1, "log_level": "DEBUG"}}, set()),
        ({"pretrained": {"sampler": {"nfe": 8}}}, USERS),
        ({"evaluation": {"members": 4}}, {"evaluation_pretrained", "evaluation", *SHOWN}),
        ({"region": {"seed": 1}}, {"region", *SHOWN}),
        ({"vae": {"base": 8}, "bridge": {"width": 36}}, SHOWN),
        ({"inputs": {"pixel_m": 20}}, STAGES),
        (
            {"arcs": {"test": {"main": {"images": 5}}}},
            {"arcs", "masks", "shards_test", "manifest_test", "evaluation_bicubic",
             "evaluation_bicubic_window", "evaluation_photometric", "evaluation_pretrained", "evaluation",
             *SHOWN},
        ),
    ],
)  # fmt: skip
def test_a_change_moves_what_depends_on_it(root: Path, change: dict[str, Any], wanted: set[str]) -> None:
    assert moved(plan(root), plan(root, change)) == wanted


def test_a_latent_model_brings_its_vae_and_its_floors(root: Path) -> None:
    latent = {"space": "latent", "target": "dem", "posterior_mean": False, "keep_block_means": False}
    vae = save_vae(root / "v", height_unit="pixel")
    save_system(root / "w", vae=vae, **latent)
    found = plan(root, {"pretrained": {"vae": "v"}})
    assert set(found.stages) == STAGES | {"evaluation_vae_truth", "evaluation_vae_bicubic"}
    wanted = ["v/model.safetensors"]
    assert found.files_of("pretrained")["vae"] == found.files_of("vae_truth")["vae"] == wanted
    assert not any(found.files_of("bicubic").values())
    assert found.given_files("vae") == ["v/model.safetensors", "v/config.json"]
    with pytest.raises(ConfigError, match=r"pretrained\.vae: expected the VAE of the latent model w/model"):
        plan(root)
    save_vae(root / "other", seed=1)
    with pytest.raises(ConfigError, match=r"pretrained\.vae: expected the VAE \w{16} that w/model\.safeten"):
        plan(root, {"pretrained": {"vae": "other"}})
    # Its own heights are in kilometres, so the model is not scale-free.
    vae = save_vae(root / "v", height_unit="km")
    save_system(root / "w", vae=vae, **latent)
    with pytest.raises(ConfigError, match=r"inputs\.pixel_m: expected 40, .* found null"):
        plan(root, {"pretrained": {"vae": "v"}})


def test_the_bundle_holds_the_given_weights(root: Path) -> None:
    found = plan(root)
    (root / "stages.json").write_text(found.record_json)
    (root / "any").write_text("a file")
    inputs: dict[str, Any] = dict.fromkeys(("report", "evaluation", "region"), str(root / "any"))
    inputs |= {"stages": str(root / "stages.json"), "manifests": [], "models": [], "pretrained_vae": []}
    inputs["pretrained"] = [str(root / path) for path in found.given_files("model")]
    members = results(inputs, found.record())
    for name in ("model.safetensors", "config.json"):
        assert members[f"models/pretrained/{name}"] == root / "w" / name
    assert b"pretrained" in members["records/evaluation_pretrained.json"]


def test_a_recorded_plan_needs_no_files(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A reviewer has neither the DEM nor the place of the weights."""
    found = plan(root)
    record = json.loads(found.record_json)
    again = Plan(load_config(record["config"]), tmp_path_factory.mktemp("elsewhere"), record)
    assert again.stages == found.stages
    assert again.record() == found.record()


# --- what does not fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "change", "message"),
    [
        ({"size_px": 64}, {}, r"patches\.size_px: expected 64, as the model of w/config\.json has, found 32"),
        ({"factor": 4}, {}, r"patches\.factor: expected 4, as the model of w/config\.json has, found 8"),
        ({"lr_halo_px": 24}, {}, r"patches\.halo_px: expected at least 24 px, the lr_halo_px .*found 16"),
        (
            {"height_unit": "km"},
            {},
            r"inputs\.pixel_m: expected 40, since .*w/config\.json.*km\), found null",
        ),
        ({"height_unit": "km"}, {"inputs": {"pixel_m": 20}}, r"inputs\.pixel_m: expected 40, .* found 20"),
        (
            {},
            {"pretrained": {"sampler": {"kind": "euler"}}},
            r"pretrained\.sampler\.kind: expected one of posterior, ode, dbim with process 'i2sb'",
        ),
        (
            {"steps": 5, "sampler": {"nfe": 1}},
            {"pretrained": {"sampler": {"nfe": 5}}},
            r"pretrained\.sampler\.nfe: expected less than steps = 5 with process 'i2sb' of w/config\.json",
        ),
        (
            {"steps": 9, "sampler": {"nfe": 1}},
            {"evaluation": {"conditions": {"main": {}, "more": {"nfe": 9, "systems": "last"}}}},
            r"evaluation\.conditions\.more\.nfe: expected less than steps = 9 .* of w/config\.json, found 9",
        ),
        (
            {"process": "interpolant", "sampler": {"nfe": 1, "kind": "euler"}},
            {
                "pretrained": {"sampler": {"kind": "heun"}},
                "evaluation": {"conditions": {"main": {}, "odd": {"nfe": 3}}},
            },
            r"evaluation\.conditions\.odd\.nfe: expected an even number with kind 'heun' of w/config\.json",
        ),
        ({}, {"pretrained": {"weights": "none"}}, r"weights: .* found no file 'none/model\.safetensors'"),
        (
            {},
            {"pretrained": {"vae": "w"}},
            r"pretrained\.vae: expected null, since w/model\.safetensors works",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_any_work(
    root: Path, made: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    save_system(root / "w", **made)
    with pytest.raises(ConfigError, match=message):
        plan(root, change)


@pytest.mark.parametrize("pixel_m", [None, 5.0, 40.0])
def test_a_scale_free_model_takes_any_pixel_size(root: Path, pixel_m: float | None) -> None:
    assert plan(root, {"inputs": {"pixel_m": pixel_m}}).given.facts["scale-free"] is True


def test_a_model_in_kilometres_takes_its_own_pixel_size(root: Path) -> None:
    save_system(root / "w", height_unit="km")
    assert plan(root, {"inputs": {"pixel_m": 40}}).given.facts["scale-free"] is False


def break_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def drop_entry(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    del content["grid"]["factor"]
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: (w / "config.json").unlink(), r"found no file 'w/config\.json'"),
        (break_json, r"w/config\.json: expected JSON, found a file that does not parse"),
        (drop_entry, r"expected a model saved by this project, .* in w/config\.json"),
        (save_vae, r"expected a model of kind 'bridge', found 'vae' in w/config\.json"),
    ],
)
def test_what_is_no_model_is_named(root: Path, spoil: Any, message: str) -> None:
    spoil(root / "w")
    with pytest.raises(ConfigError, match=message) as told:
        plan(root)
    assert "pretrained.weights" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"systems": ["bridge"]}, r"systems: expected \[\] with pretrained\.weights .*found \['bridge'\]"),
        ({"primary": "bridge_missing"}, r"primary: expected 'pretrained' with pretrained\.weights"),
        ({"pretrained": {"weights": None}}, r"systems: expected published or bridge, or pretrained\.weights"),
        ({"pretrained": {"weights": None, "vae": "v"}}, r"vae: expected null without weights, found 'v'"),
        (
            {"pretrained": {"weights": None}, "systems": ["bridge"], "primary": "bridge_missing"},
            r"split\.method: expected 'block', 'site', 'random' or 'index', since the systems \['bridge'\]",
        ),
        (
            {"inputs": {"dem": None}},
            r"inputs\.dem: .* found null; .*--config inputs='\{\"dem\": \"my/\*\.tif\"\}'",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(overlay(SMALL, change))


def test_weights_can_be_scored_on_the_test_split_of_their_training(root: Path) -> None:
    split = {"split": {"method": "site", "test_sites": ["a*"], "validation_sites": ["b*"]}}
    assert set(plan(root, split).stages) == STAGES


# --- config/evaluate.yaml -------------------------------------------------------------------------------


def test_the_overlay_waits_for_a_dem_alone() -> None:
    with pytest.raises(ConfigError, match=r"inputs\.dem: expected a path"):
        load_config(overlay())
    config = load_config(overlay({"inputs": {"dem": "my/*.tif"}}))
    assert (config.run, config.systems, config.primary) == ("evaluate", [], "pretrained")
    assert (config.split.method, config.coverage.min_share) == ("test", 0)
    main = config.arcs.test["main"]
    assert (main.latitude.low, main.latitude.high, main.images.low, main.images.high) == (85, 85, 20, 20)
    assert set(config.arcs.test) == {"main"}
    assert {name: c.missing for name, c in config.evaluation.conditions.items()} == {
        "main": False, "missing": True,
    }  # fmt: skip
    assert config.imperfections.test.off
    assert config.pretrained == PretrainedSection(weights=config.pretrained.weights)


def test_weights_are_a_folder_or_a_file(tmp_path: Path) -> None:
    assert weights_file("a/b") == Path("a/b/model.safetensors")
    assert weights_file(tmp_path / "c.safetensors") == tmp_path / "c.safetensors"


def test_the_shipped_weights_fit_the_shipped_config(tmp_path: Path) -> None:
    named = overlay()["pretrained"]["weights"]
    assert sum(p.stat().st_size for p in (ROOT / named).iterdir()) < 10e6
    (tmp_path / "dem.tif").write_text("heights")
    shutil.copytree(ROOT / named, tmp_path / named)
    found = Plan(load_config(overlay({"inputs": {"dem": "dem.tif"}})), tmp_path)
    assert found.given is not None and found.given.facts["scale-free"] is True
