"""Trainings of the rivals that draw members: what is learned, units, plans, predictors."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from plan_table import BASE
from shard_files import FACTOR, HALO, PIXEL_M, SIZE, make_test_manifest
from training_setups import CPU, STOCHASTIC, rival_section, rival_stage, rival_task

from pipeline.config.root import ConfigError, load_config
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.config.stages.training import RivalStage
from pipeline.evaluation.stage import evaluate
from pipeline.predictors.interface import Setup
from pipeline.predictors.registry import PREDICTORS
from pipeline.provenance.plan import Plan
from pipeline.shards.shard_set import ShardSet
from pipeline.training.loop import train
from pipeline.training.rival import train_rival

GRID = {"size_px": SIZE, "factor": FACTOR, "halo_px": HALO, "pixel_m": PIXEL_M}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_rival_is_trained_and_then_draws_members_by_its_weights(
    name: str, small_manifest: Path, tmp_path: Path
) -> None:
    """From the stage's section to members in metres, by the function and the entry that the rules use."""
    section, out = rival_stage(name, STOCHASTIC[name][1]), tmp_path / "model.safetensors"
    entry = PREDICTORS[name]
    assert entry.train == section.module and entry.files == ("model",) and entry.draws
    train_rival(section, "key", small_manifest, RuntimeSection(device="cpu"), out)
    options = json.loads(out.with_name("config.json").read_text())["section"]
    # How members are drawn is not part of the weights' config, and may be chosen later.
    chosen = {**options, "nfe": 4, "members": 7}
    make = getattr(import_module(entry.module), entry.make)
    predictor = make(Setup(GRID, chosen, {"model": [str(out)]}))
    assert predictor.halo_cells == 2 and predictor.network.section.nfe == 4
    given = rival_task(name, small_manifest)
    batch = given._assemble(given.prepare(range(3)), range(3))
    found = predictor.sample(batch, 5, [torch.Generator().manual_seed(i) for i in range(3)])
    assert found.shape == (3, 5, SIZE, SIZE) and torch.isfinite(found).all()
    assert (found.std(dim=1) > 0).all()
    # A patch's members are its own, whatever stands beside it.
    alone = predictor.sample(batch.part(slice(1, 2)), 5, [torch.Generator().manual_seed(1)])
    assert torch.equal(alone[0], found[1])
    # Scored by the stage, under conditions with members and evaluations of their own.
    scored = PredictorStage.model_validate({
        "name": "other", "module": entry.module, "make": entry.make, "options": chosen, "members": 7,
        "conditions": {"main": {}, "quick": {"nfe": 2, "members": 3}}, "bootstrap": 20, "cpu_threads": 1,
    })  # fmt: skip
    part = tmp_path / "part.json"
    cpu, shards = RuntimeSection(device="cpu"), make_test_manifest(tmp_path / "t", count=2)
    evaluate(scored, shards, {"model": [str(out)]}, cpu, part)
    rows = json.loads(part.read_text())["rows"]
    found_by = {label: (row["members"], row["nfe"]) for label, row in rows.items()}
    assert found_by == {"main": (7, 4), "quick": (3, 2)}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_more_training_gives_less_error(name: str, small_manifest: Path, tmp_path: Path) -> None:
    task = rival_task(name, small_manifest, optimiser={"samples": 320, "batch": 8, "learning_rate": 3e-3})
    lines = train(
        task, task.section.optimiser, ema=0.9, key="key", folder=tmp_path, device=CPU,
        checkpoint_minutes=1e9, name="test",
    ).history  # fmt: skip
    first, last = (sum(line["loss"] for line in part) for part in (lines[:5], lines[-5:]))
    assert last < 0.85 * first


def test_each_has_its_own_unit_of_height_which_its_weights_keep(small_manifest: Path) -> None:
    shards = ShardSet(small_manifest, "train")
    relief = rival_task("yasuda", small_manifest).modules["model"].state_dict()["unit_px"]
    assert float(relief) == pytest.approx(shards.statistics["relief_px"])
    task = rival_task("diffusion", small_manifest)
    batch = task._assemble(task.prepare(range(64)), range(64))
    assert batch.dem is not None
    rms = ((batch.dem - batch.prior) / PIXEL_M).square().mean().sqrt()
    assert float(task.modules["model"].state_dict()["unit_px"]) == pytest.approx(float(rms))
    for name in STOCHASTIC:
        given = rival_task(name, small_manifest, unit_px=3.0).modules["model"].state_dict()
        assert float(given["unit_px"]) == 3.0


def test_how_members_are_drawn_moves_no_training(tmp_path: Path) -> None:
    def plan(**keys: Any) -> Plan:
        predictors = {"scored": list(STOCHASTIC), **dict.fromkeys(STOCHASTIC, keys)}
        return Plan(load_config({**BASE, "predictors": predictors}), tmp_path)

    base, other = plan(), plan(nfe=7, members=5, kind="dbim", eta=0.5)
    for name in STOCHASTIC:
        assert base[name].key == other[name].key
        assert RivalStage.model_validate_json(base[name].section).options == {
            **rival_section(name).model_dump(mode="json", exclude={"weights"})
        }
        scored = PredictorStage.model_validate_json(other[f"evaluation_{name}"].section)
        assert scored.members == 5 and scored.options["nfe"] == 7
        assert base[f"evaluation_{name}"].key != other[f"evaluation_{name}"].key
        assert PredictorStage.model_validate_json(base[f"evaluation_{name}"].section).members == 64


def test_other_samplers_of_the_same_training_share_its_weights(tmp_path: Path) -> None:
    variants = {
        "sampled": {"of": "yasuda", "target": "residual", "nfe": 20},
        "seeded": {"of": "yasuda", "seed": 1},
        "seededdbim": {"of": "yasuda", "seed": 1, "kind": "dbim"},
        "other": {"of": "diffusion", "kind": "dbim"},
    }
    predictors = {"scored": ["yasuda", *variants], "variants": variants}
    plan = Plan(load_config({**BASE, "predictors": predictors}), tmp_path)
    assert plan.learned == ["yasuda", "seeded", "other"]
    weights = {name: plan.files_of(name)["model"] for name in predictors["scored"]}
    assert weights["sampled"] == weights["yasuda"] != weights["seeded"] == weights["seededdbim"]
    assert weights["yasuda"] == [plan["yasuda"].path("model.safetensors")]
    section = PredictorStage.model_validate_json(plan["evaluation_sampled"].section)
    assert section.options["target"] == "residual" and section.options["nfe"] == 20


def test_a_condition_may_be_for_rivals_only_and_have_members_of_its_own(tmp_path: Path) -> None:
    conditions = {**BASE["evaluation"]["conditions"], "few": {"nfe": 1000, "members": 2, "systems": "rivals"}}
    config = {
        **BASE,
        "predictors": {"scored": ["photometric", "yasuda"]},
        "evaluation": {**BASE["evaluation"], "conditions": conditions},
    }
    plan = Plan(load_config(config), tmp_path)
    found = {name: PredictorStage.model_validate_json(plan[f"evaluation_{name}"].section)
             for name in ("photometric", "yasuda", *plan.systems)}  # fmt: skip
    assert {name for name, section in found.items() if "few" in section.conditions} == {
        "photometric",
        "yasuda",
    }
    asked = conditions["few"]
    few = found["yasuda"].conditions["few"]
    assert few.nfe == asked["nfe"] and found["yasuda"].options_under(few)["nfe"] == 1000
    assert found["yasuda"].members_under(few) == 2 and found["photometric"].members_under(few) == 1
    assert found["yasuda"].members_under(found["yasuda"].conditions["main"]) == 64
    config["evaluation"] = {
        **BASE["evaluation"],
        "conditions": {**conditions, "few": {**asked, "systems": "all"}},
    }
    with pytest.raises(ConfigError, match=r"evaluation\.conditions\.few\.nfe: expected less than steps"):
        load_config(config)
