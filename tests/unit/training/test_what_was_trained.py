"""The config beside weights says what was trained, and nothing that the training does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training_setups import ALIGNED, OPTIMISER, content

from pipeline.config.bridge import SAMPLER_KINDS, BridgeSampler, BridgeSection
from pipeline.config.runtime import RuntimeSection
from pipeline.models.files import load_system
from pipeline.training.bridge import train_bridge


def trained(manifest: Path, out: Path, section: dict[str, Any], previous: list[str]) -> dict[str, Any]:
    """The config.json of a training with a section."""
    runtime = RuntimeSection(device="cpu", checkpoint_minutes=60)
    train_bridge(json.dumps(section), out.name, manifest, [], previous, runtime, out / "model.safetensors")
    config: dict[str, Any] = json.loads((out / "config.json").read_text())
    return config


def optimiser(**keys: Any) -> dict[str, Any]:
    return OPTIMISER.model_dump(mode="json") | keys


def test_each_stage_adds_its_optimiser_to_those_before(small_manifest: Path, tmp_path: Path) -> None:
    first, second = content(ALIGNED), content(ALIGNED, "arcs")
    first["bridge"]["optimiser"] = optimiser(samples=4, batch=2)
    second["bridge"]["optimiser"] = optimiser(samples=6, batch=3, learning_rate=2e-4, decay="none")
    one = trained(small_manifest, tmp_path / "a", first, [])
    two = trained(small_manifest, tmp_path / "b", second, [str(tmp_path / "a" / "model.safetensors")])
    assert one["section"]["stages"] == {"fibonacci": first["bridge"]["optimiser"]}
    assert two["section"]["stages"] == {
        "fibonacci": first["bridge"]["optimiser"],
        "arcs": second["bridge"]["optimiser"],
    }
    own = {name: value for name, value in first["bridge"].items() if name not in ("optimiser", "calibrate")}
    for config in (one, two):
        assert {name: value for name, value in config["section"].items() if name != "stages"} == own
        assert not {"sampler", "calibrate"} & set(config["section"])


@pytest.mark.parametrize("process", SAMPLER_KINDS)
def test_weights_without_a_sampler_load_whatever_their_process(
    process: str, small_manifest: Path, tmp_path: Path
) -> None:
    sampler = BridgeSampler(kind=SAMPLER_KINDS[process][0], nfe=4)
    section = BridgeSection.model_validate({**ALIGNED, "process": process, "sampler": sampler})
    given = content(section.model_dump(mode="json"))
    given["bridge"]["optimiser"] = optimiser(samples=2, batch=2)
    config = trained(small_manifest, tmp_path / "a", given, [])
    assert "sampler" not in config["section"]
    system = load_system(tmp_path / "a" / "model.safetensors")
    assert system.section.trained() == section.trained()
    assert system.section.sampler.kind in SAMPLER_KINDS[process]
