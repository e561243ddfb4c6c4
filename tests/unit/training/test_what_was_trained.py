"""The config beside weights says what was trained, and nothing that the training does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training_setups import ALIGNED, bridge_stage

from pipeline.config.bridge import SAMPLER_KINDS, BridgeSampler, BridgeSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import BridgeStage
from pipeline.models.files import load_system
from pipeline.training.bridge import train_bridge


def trained(manifest: Path, out: Path, section: BridgeStage, previous: list[str]) -> dict[str, Any]:
    """The config.json of a training with a section."""
    runtime = RuntimeSection(device="cpu", checkpoint_minutes=60)
    train_bridge(section, out.name, manifest, [], previous, runtime, out / "model.safetensors")
    config: dict[str, Any] = json.loads((out / "config.json").read_text())
    return config


def test_each_stage_adds_its_optimiser_to_those_before(small_manifest: Path, tmp_path: Path) -> None:
    first = bridge_stage(ALIGNED, "fibonacci", {"samples": 4, "batch": 2})
    later = {"samples": 6, "batch": 3, "learning_rate": 2e-4, "decay": "none"}
    second = bridge_stage(ALIGNED, "arcs", later)
    one = trained(small_manifest, tmp_path / "a", first, [])
    two = trained(small_manifest, tmp_path / "b", second, [str(tmp_path / "a" / "model.safetensors")])
    assert one["section"]["stages"] == {"fibonacci": first.optimiser.model_dump(mode="json")}
    assert two["section"]["stages"] == {
        "fibonacci": first.optimiser.model_dump(mode="json"),
        "arcs": second.optimiser.model_dump(mode="json"),
    }
    own = first.bridge.trained()
    for config in (one, two):
        assert {name: value for name, value in config["section"].items() if name != "stages"} == own
        assert not {"sampler", "calibrate"} & set(config["section"])


@pytest.mark.parametrize("process", SAMPLER_KINDS)
def test_weights_without_a_sampler_load_whatever_their_process(
    process: str, small_manifest: Path, tmp_path: Path
) -> None:
    sampler = BridgeSampler(kind=SAMPLER_KINDS[process][0], nfe=4)
    section = BridgeSection.model_validate({**ALIGNED, "process": process, "sampler": sampler})
    given = bridge_stage(section.model_dump(), optimiser={"samples": 2, "batch": 2})
    config = trained(small_manifest, tmp_path / "a", given, [])
    assert "sampler" not in config["section"]
    system = load_system(tmp_path / "a" / "model.safetensors")
    assert system.section.trained() == section.trained()
    assert system.section.sampler.kind in SAMPLER_KINDS[process]
