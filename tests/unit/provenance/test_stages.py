"""The stages of a training: those that the config gives, and the weights that the first starts from."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from plan_table import BASE, moved_between, plan

from pipeline.config.names import BRIDGE_STAGES, SystemName
from pipeline.config.root import ConfigError, load_config
from pipeline.provenance.plan import Plan
from saved_models import save_system, save_vae

REAL: dict[str, Any] = {"samples": 8, "batch": 4}
ONLY_REAL: dict[str, Any] = {"fibonacci": None, "arcs": None, "missing": None, "real": REAL}


def bridges(stages: dict[str, Any], primary: str, **section: Any) -> dict[str, Any]:
    """The tiny config with one system, of these stages."""
    config = copy.deepcopy(BASE)
    config["bridge"]["stages"] |= stages
    config["bridge"] |= section
    return config | {"systems": ["bridge"], "primary": primary}


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config with a section of scenes."""
    monkeypatch.setitem(BASE, "scenes", {})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_system(tmp_path / "w")


@pytest.mark.usefixtures("scenes")
def test_a_run_may_train_on_real_scenes_only(tmp_path: Path) -> None:
    found = plan(bridges(ONLY_REAL, "bridge_real"), tmp_path)
    assert found.systems == found.scored == ["bridge_real"]
    assert [name for name in found.stages if name.startswith("bridge_")] == ["bridge_real"]
    assert found.config.primary == "bridge_real"
    assert (found.previous("bridge_real"), found.last("bridge_real")) == (None, True)
    assert found["bridge_real"].inputs == ("manifest",)
    section = json.loads(found["bridge_real"].section)
    assert (section["stage"], section["optimiser"]["samples"]) == ("real", 8)
    assert section["images"] is section["arcs"] is section["init"] is None
    assert section["masks"] == found.config.masks.train.model_dump(mode="json")
    assert section["scenes"]["apriori"] == "cells"
    assert {"calibration_bridge_real", "evaluation_bridge_real"} <= set(found.stages)
    assert found["region"].inputs[-2:] == ("bridge_real", "calibration_bridge_real")


@pytest.mark.usefixtures("scenes")
def test_what_a_real_stage_draws_of_its_scenes_moves_it_and_not_the_scenes(tmp_path: Path) -> None:
    base = bridges(ONLY_REAL, "bridge_real")
    found = plan(base, tmp_path)
    for section, change in (
        ("patches", {"apriori": "mixed"}), ("altimetry", {"one_way": 0.5}), ("scenes", {"images_power": 2.0}),
        ("scenes", {"cell_error_px": [0.01, 0.1]}),
    ):  # fmt: skip
        other = plan(base | {section: base.get(section, {}) | change}, tmp_path)
        moved = moved_between(found, other)
        assert "bridge_real" in moved and not {"scenes", "patches", "shards"} & moved, section


@pytest.mark.usefixtures("scenes")
def test_stages_follow_each_other_in_one_order_without_those_left_out(tmp_path: Path) -> None:
    stages = {"real_3": REAL, "real": REAL, "arcs": None}
    found = plan(bridges(stages, "bridge_real_3"), tmp_path)
    assert found.systems == ["bridge_fibonacci", "bridge_missing", "bridge_real", "bridge_real_3"]
    assert [found.previous(name) for name in found.systems] == [None, *found.systems[:-1]]
    assert [found.last(name) for name in found.systems] == [False, False, False, True]
    for before, name in zip(found.systems, found.systems[1:], strict=False):
        assert found[name].inputs == ("manifest", before)
    assert not found.last("bicubic")


@pytest.mark.usefixtures("scenes")
def test_a_condition_for_the_last_stage_is_for_the_last_that_there_is(tmp_path: Path) -> None:
    config = bridges({"real": REAL}, "bridge_real")
    config["evaluation"]["conditions"]["extra"] = {"light": "arcs", "draw": "main", "systems": "last"}
    found = plan(config, tmp_path)
    held = [
        name
        for name in found.systems
        if "extra" in json.loads(found[f"evaluation_{name}"].section)["conditions"]
    ]
    assert held == ["bridge_real"]


@pytest.mark.usefixtures("scenes")
def test_a_further_stage_changes_no_other_training(tmp_path: Path) -> None:
    one = plan(bridges({}, "bridge_missing"), tmp_path)
    two = plan(bridges({"real": REAL}, "bridge_missing"), tmp_path)
    assert set(two.stages) - set(one.stages) == {
        "bridge_real", "calibration_bridge_real", "evaluation_bridge_real"
    }  # fmt: skip
    two.stages = {name: two[name] for name in one.stages}
    assert moved_between(one, two) == {"evaluation", "report", "bundle"}


@pytest.mark.parametrize(
    ("stages", "primary", "message"),
    [
        ({"real": REAL}, "bridge_missing", "bridge.stages.real: expected section scenes, found none"),
        ({"real_2": REAL}, "bridge_missing", "bridge.stages.real_2: expected section scenes, found none"),
        (dict.fromkeys(BRIDGE_STAGES), "bridge_arcs", "bridge.stages: expected at least one stage, found"),
        (
            {"arcs": None}, "bridge_arcs",
            "primary: expected one of the stages that are trained, bridge_fibonacci, bridge_missing, found "
            "'bridge_arcs'",
        ),
        ({}, "bridge_real", "primary: expected one of the stages that are trained"),
        ({}, "bridge_real_4", "primary: String should match pattern"),
    ],
)  # fmt: skip
def test_impossible_stages_are_refused(stages: dict[str, Any], primary: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(bridges(stages, primary))
    assert message in str(error.value)


@pytest.mark.parametrize("stage", BRIDGE_STAGES)
def test_names_are_read_as_they_are_written(stage: str) -> None:
    name = SystemName("bridge", stage)
    assert SystemName.parse(str(name)) == SystemName.of(str(name)) == name


@pytest.mark.parametrize("text", ["bicubic", "bicubic_window", "bridge_2", "_real", "real_2", "vae_truth"])
def test_other_names_are_not_of_systems(text: str) -> None:
    assert SystemName.parse(text) is None
    with pytest.raises(ValueError, match="expected <system>_<stage>"):
        SystemName.of(text)


# --- weights to start from ------------------------------------------------------------------------------


def test_bytes_of_init_enter_the_first_stage_and_their_place_does_not(weights: Path, tmp_path: Path) -> None:
    def made(init: str | None) -> Plan:
        return plan(bridges({"fibonacci": None}, "bridge_missing", init=init), tmp_path)

    without, found = made(None), made("w")
    trained = {"bridge_arcs", "bridge_missing"}
    assert trained <= moved_between(without, found)
    assert not {"vae", "manifest", "split"} & moved_between(without, found)
    assert found.init("bridge_missing") is without.init("bridge_arcs") is None
    init = found.init("bridge_arcs")
    assert init is not None and init.model == "w/model.safetensors"
    first, second = (json.loads(found[name].section) for name in ("bridge_arcs", "bridge_missing"))
    assert first["init"] == init.identity and set(init.identity) == {"model.weights", "model.config"}
    assert second["init"] is first["bridge"]["init"] is second["bridge"]["init"] is None
    weights.rename(tmp_path / "elsewhere")
    assert moved_between(found, made("elsewhere/model.safetensors")) == {"report", "bundle"}
    save_system(tmp_path / "w", seed=1)
    assert trained <= moved_between(found, made("w"))


@pytest.mark.usefixtures("scenes", "weights")
def test_init_enters_the_key_of_a_run_on_real_scenes_only(tmp_path: Path) -> None:
    without, found = (plan(bridges(ONLY_REAL, "bridge_real", init=init), tmp_path) for init in (None, "w"))
    assert {"bridge_real", "calibration_bridge_real", "region"} <= moved_between(without, found)


@pytest.mark.usefixtures("weights")
def test_a_recorded_plan_with_init_is_made_again_without_the_files(tmp_path: Path) -> None:
    found = plan(bridges({}, "bridge_missing", init="w"), tmp_path)
    again = Plan(found.config, tmp_path / "nowhere", recorded=found.record())
    assert moved_between(found, again) == set()


def test_weights_that_are_no_bridge_are_refused(weights: Path, tmp_path: Path) -> None:
    save_vae(tmp_path / "v")
    for init, message in (
        ("gone", r"bridge\.init: expected model weights .*, found no file 'gone/model\.safetensors'"),
        ("v", r"bridge\.init: expected a model of kind 'bridge', found 'vae' in v/config\.json"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(bridges({}, "bridge_missing", init=init), tmp_path)
    (weights / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"bridge\.init: .*found no file 'w/config\.json'"):
        plan(bridges({}, "bridge_missing", init="w"), tmp_path)


@pytest.mark.usefixtures("weights")
def test_a_variants_own_init_is_named(tmp_path: Path) -> None:
    config = bridges({}, "other_missing") | {"systems": ["other"]}
    config["variants"] = {"other": {"init": "gone"}}
    with pytest.raises(ConfigError, match=r"config: variants\.other\.init: expected model weights"):
        plan(config, tmp_path)
    config["variants"] = {"other": {"seed": 3}}
    config["bridge"]["init"] = "gone"
    with pytest.raises(ConfigError, match=r"config: bridge\.init: expected model weights"):
        plan(config, tmp_path)
