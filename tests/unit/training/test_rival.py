"""A learned rival from its registry entry to its scores: training, weights, plan."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from plan_table import BASE
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.config.root import load_config
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import RivalStage
from pipeline.predictors import registry
from pipeline.predictors.registry import Entry
from pipeline.provenance import digest
from pipeline.provenance.plan import Plan
from pipeline.training.rival import train_rival

NAME = "rival_of_this_test"


@pytest.fixture
def rival(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry with one more entry, whose module trains one number: the mean height of the first patch."""
    module = types.ModuleType(NAME)

    def train(section: RivalStage, key: str, manifest: Path, runtime: Any, out: Path, track: Any) -> None:
        from pipeline.shards.shard_set import ShardSet

        shard, patch = ShardSet(manifest, "train").at(0)
        network = nn.Linear(1, 1, bias=False)
        network.weight.data.fill_(float(shard.dem(patch).mean()))
        save_file(network.state_dict(), out)

    module.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, NAME, module)
    entry = Entry("pipeline.predictors.photometric", files=("model",), train=NAME)
    monkeypatch.setitem(registry.PREDICTORS, "learned", entry)
    found = digest._module_file
    monkeypatch.setattr(
        digest, "_module_file", lambda name, source: Path(__file__) if name == NAME else found(name, source)
    )


def test_a_learned_rival_is_a_stage_that_its_evaluation_reads(rival: None, tmp_path: Path) -> None:
    plan = Plan(load_config({**BASE, "predictors": {"scored": ["learned"]}}), tmp_path)
    assert plan.learned == ["learned"]
    assert plan["learned"].inputs == ("manifest",)
    assert plan["evaluation_learned"].inputs == ("manifest_test", "learned")
    assert plan.files_of("learned")["model"] == [plan["learned"].path("model.safetensors")]
    base = Plan(load_config(BASE), tmp_path)
    moved = {
        name for name, stage in base.stages.items() if name in plan.stages and plan[name].key != stage.key
    }
    assert moved == {"evaluation", "report", "bundle"}


def test_its_training_gets_its_section(rival: None, small_manifest: Path, tmp_path: Path) -> None:
    plan = Plan(load_config({**BASE, "predictors": {"scored": ["learned"]}}), tmp_path)
    section = RivalStage.model_validate_json(plan["learned"].section)
    out = tmp_path / "model.safetensors"
    train_rival(section, plan["learned"].key, small_manifest, RuntimeSection(device="cpu"), out)
    assert torch.isfinite(load_file(out)["weight"]).all()
