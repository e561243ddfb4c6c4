"""A training that starts from given weights."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_setups import ALIGNED, bridge_stage

from pipeline.config.bridge import BridgeSection
from pipeline.config.names import BRIDGE_STAGES
from pipeline.config.runtime import RuntimeSection
from pipeline.models.files import load_system, save_model
from pipeline.models.system import System
from pipeline.training.bridge import order_seed, train_bridge, training_scene
from pipeline.training.init import scales, start_from
from saved_models import save_system, save_vae

FEW = {"samples": 4, "learning_rate": 1e-9, "warmup_samples": 0}


def network(**section: Any) -> torch.nn.Module:
    torch.manual_seed(7)
    return System(BridgeSection.model_validate({**ALIGNED, **section}), 32, 8, 0.25).network


def saved(folder: Path, **section: Any) -> Path:
    return save_system(folder, **{**ALIGNED, "score": "squared", **section}) / "model.safetensors"


def test_tensors_that_fit_are_taken_and_the_log_names_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path / "w")
    given, own = load_file(path), network()
    extra = torch.nn.ModuleDict({"net": own, "more": torch.nn.Linear(2, 3)})
    changed = next(name for name, value in given.items() if value.dim() == 4)
    fitting = {f"net.{name}": value for name, value in given.items() if name != changed}
    fitting[f"net.{changed}"] = torch.zeros(1)
    save_model(path, {**fitting, "left.over": torch.ones(2)}, {"kind": "bridge"})
    before = {name: value.clone() for name, value in extra.state_dict().items()}
    with caplog.at_level(logging.INFO):
        start_from(path, extra)
    after = extra.state_dict()
    for name, value in after.items():
        taken = name in fitting and name != f"net.{changed}"
        torch.testing.assert_close(value, fitting[name] if taken else before[name], rtol=0, atol=0)
    assert f"{len(after) - 3} of the network's {len(after)} tensors taken" in caplog.text
    assert f"3 tensors not there, left as initialised: more.bias, more.weight, net.{changed}" in caplog.text
    assert f"2 tensors of no use here: left.over, net.{changed}" in caplog.text


def test_a_wider_network_that_hardly_fits_is_refused(tmp_path: Path) -> None:
    path, wide = saved(tmp_path / "w"), network(base=16)
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"fit at least half of the network's \d+ tensors .*, found \d+ that"
    ):
        start_from(path, wide)
    for name, value in wide.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_that_are_no_whole_bridge_are_refused(tmp_path: Path) -> None:
    vae = save_vae(tmp_path / "v")
    with pytest.raises(ValueError, match=r"config\.json: expected a model of kind 'bridge', found 'vae'"):
        start_from(vae, network())
    path = saved(tmp_path / "w")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        start_from(path, network())


def test_the_first_stage_starts_from_init(small_manifest: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "w", size_px=16, factor=4)
    runtime, out = RuntimeSection(device="cpu"), tmp_path / "a" / "model.safetensors"
    stage = bridge_stage(ALIGNED, "arcs", FEW)
    train_bridge(stage, "key", small_manifest, [], [], runtime, out, init=[str(path)])
    given = load_file(path)
    for name, value in load_file(out).items():
        torch.testing.assert_close(value, given[name], atol=1e-6, rtol=0)
    config = json.loads(out.with_name("config.json").read_text())
    assert config["init"] == json.loads(path.with_name("config.json").read_text())["fingerprint"]
    assert "init" not in config["section"] and set(config["section"]["stages"]) == {"arcs"}
    # States are what they were to the weights, not what this terrain would make them.
    assert config["state_scale"] == load_system(path).state_scale == 0.25
    second = tmp_path / "c" / "model.safetensors"
    last = bridge_stage(ALIGNED, "missing", FEW)
    train_bridge(last, "key", small_manifest, [], [str(out)], runtime, second)
    assert json.loads(second.with_name("config.json").read_text())["init"] == config["init"]
    anew = tmp_path / "b" / "model.safetensors"
    train_bridge(stage, "key", small_manifest, [], [], runtime, anew)
    other = json.loads(anew.with_name("config.json").read_text())
    assert other["state_scale"] != 0.25 and "init" not in other


@pytest.mark.parametrize(
    ("section", "kept"),
    [
        ({"state_scale": None}, True),
        ({"state_scale": None, "base": 16, "seed": 4}, True),
        ({"state_scale": 0.5}, False),
        ({"state_scale": None, "target": "dem"}, False),
        ({"state_scale": None, "height_unit": "km"}, False),
        ({"state_scale": None, "posterior_mean": False}, False),
    ],
)
def test_scales_are_kept_for_states_of_the_same_kind(
    section: dict[str, Any], kept: bool, tmp_path: Path
) -> None:
    wanted = BridgeSection.model_validate({**ALIGNED, **section})
    # The scale of residuals is a diffusion's; these weights are of a bridge.
    assert scales(saved(tmp_path / "w"), wanted) == ((0.25, None) if kept else None)


def test_stages_and_seeds_draw_different_samples() -> None:
    seeds = [order_seed(seed, stage) for seed in (0, 1, 2, 2**32 - 1) for stage in BRIDGE_STAGES]
    # The first three are as they were for seeds that differ; those on scenes meet none of any other.
    assert seeds[:3] == [1, 2, 3] and seeds[6:9] == [5, 6, 7]
    assert len(set(seeds)) == len(seeds)


def test_a_stage_without_images_is_refused() -> None:
    stage = bridge_stage(ALIGNED, "real").model_copy(update={"arcs": None})
    with pytest.raises(ValueError, match=r"stage real: expected rendered scenes \(section scenes\), found"):
        training_scene(stage)
