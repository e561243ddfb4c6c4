"""Trainings of the learned rivals: what is learned, both networks' turns, resuming, plans, predictors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from plan_table import BASE
from safetensors.torch import load_file
from shard_files import FACTOR, HALO, PIXEL_M, SIZE
from training_setups import CPU, RIVALS, STOCHASTIC, rival_section, rival_stage, rival_task

from pipeline.config.root import ConfigError, load_config
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import RivalStage
from pipeline.predictors.interface import Setup
from pipeline.predictors.registry import PREDICTORS
from pipeline.provenance.plan import Plan
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.loop import Outcome, train
from pipeline.training.rival import train_rival
from pipeline.training.rivals import RivalTask

GRID = {"size_px": SIZE, "factor": FACTOR, "halo_px": HALO, "pixel_m": PIXEL_M}


def run(given: RivalTask[Any], folder: Path, minutes: float = 1e9) -> Outcome:
    section = given.section.optimiser
    return train(
        given, section, ema=0.9, key="key", folder=folder, device=CPU, checkpoint_minutes=minutes, name="test"
    )


@pytest.mark.parametrize("name", [*RIVALS, *STOCHASTIC])
def test_an_interrupted_training_ends_as_a_straight_one(
    name: str, small_manifest: Path, tmp_path: Path
) -> None:
    """Killed before its third step, resumed in new objects: the same weights and curve, bit for bit."""
    straight = run(rival_task(name, small_manifest), tmp_path / "straight")
    killed = rival_task(name, small_manifest)
    step = killed.step

    def crash(prepared: Any, numbers: Sequence[int], seen: int) -> dict[str, float]:
        if seen == 8:
            raise InterruptedError
        return step(prepared, numbers, seen)

    killed.step = crash  # type: ignore[method-assign]
    with pytest.raises(InterruptedError):
        run(killed, tmp_path / "again", minutes=0.0)
    found = Checkpoints(tmp_path / "again", "key").load()
    assert found is not None and found[0] == 8
    resumed = run(rival_task(name, small_manifest), tmp_path / "again", minutes=0.0)
    assert resumed.history == straight.history
    assert resumed.state.keys() == straight.state.keys()
    for key, value in straight.state.items():
        assert torch.equal(value, resumed.state[key]), key
    # Not because nothing is learned.
    fresh = rival_task(name, small_manifest).modules["model"].state_dict()
    assert sum(not torch.equal(fresh[key], value) for key, value in straight.state.items()) > 10


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_is_trained_and_then_scored_by_its_weights(
    name: str, small_manifest: Path, tmp_path: Path
) -> None:
    """From the stage's section to heights in metres, by the function and the entry that the rules use."""
    section, out = rival_stage(name, RIVALS[name][1]), tmp_path / "model.safetensors"
    entry = PREDICTORS[name]
    assert entry.train == section.module and entry.files == ("model",) and not entry.draws
    train_rival(section, "key", small_manifest, RuntimeSection(device="cpu"), out)
    options = json.loads(out.with_name("config.json").read_text())["section"]
    setup = Setup(GRID, options, {"model": [str(out)]})
    predictor = getattr(import_module(entry.module), entry.make)(setup)
    assert predictor.halo_cells == 2
    given = rival_task(name, small_manifest)
    batch = given._assemble(given.prepare(range(3)), range(3))
    found = predictor.sample(batch, 5, [torch.Generator()] * 3)
    assert found.shape == (3, 1, SIZE, SIZE) and torch.isfinite(found).all()
    given.modules["model"].load_state_dict(load_file(out))
    assert torch.equal(found, given.network.dem(batch))
    lines = [json.loads(line) for line in out.with_name("metrics.jsonl").read_text().splitlines()]
    assert [line["samples"] for line in lines] == [4, 8, 12, 16]


def test_more_training_gives_less_error(small_manifest: Path, tmp_path: Path) -> None:
    optimiser = {"samples": 240, "batch": 8, "learning_rate": 3e-3}
    for name in ("regression", "siran"):
        lines = run(rival_task(name, small_manifest, optimiser=optimiser), tmp_path / name).history
        first, last = (sum(line["pixel"] for line in part) for part in (lines[:4], lines[-4:]))
        assert last < 0.8 * first, name


@pytest.mark.parametrize("name", ["siran", "gan"])
def test_generator_and_critic_take_turns(name: str, small_manifest: Path) -> None:
    """Each optimiser moves its own network; the generator's loss leaves no gradient in the critic."""
    given = rival_task(name, small_manifest, adversarial_start_samples=0)
    critic = given.critic  # type: ignore[attr-defined]
    of_critic = {id(p) for p in critic.parameters()}
    moved: list[str] = []
    descend = given._descend

    def watched(which: str, loss: torch.Tensor) -> None:
        before = {k: v.clone() for k, v in given.modules["model"].state_dict().items()}
        before |= {f"critic.{k}": v.clone() for k, v in critic.state_dict().items()}
        descend(which, loss)
        after = {**given.modules["model"].state_dict()}
        after |= {f"critic.{k}": v for k, v in critic.state_dict().items()}
        changed = {k.startswith("critic.") for k in after if not torch.equal(before[k], after[k])}
        assert changed == {which == "critic"}
        moved.append(which)

    given._descend = watched  # type: ignore[method-assign]
    losses = given.step(given.prepare(range(4)), range(4), 0)
    assert moved == ["model", "critic"]
    assert "adversarial" in losses
    for which, optimiser in given.optimisers.items():
        assert all((id(p) in of_critic) == (which == "critic") for p in optimiser.parameters)


def test_the_adversarial_loss_waits_and_counts(small_manifest: Path) -> None:
    early = rival_task("gan", small_manifest)
    prepared = early.prepare(range(4))
    assert "adversarial" not in early.step(prepared, range(4), 4)
    late = rival_task("gan", small_manifest).step(prepared, range(4), 8)
    section = late | {"weight": early.section.adversarial_weight}
    assert late["loss"] == pytest.approx(late["pixel"] + section["weight"] * late["adversarial"], rel=1e-5)


def test_each_loss_of_siran_has_its_weight_and_its_switch(small_manifest: Path) -> None:
    prepared = rival_task("siran", small_manifest).prepare(range(4))
    weights = {"pixel_weight": 2.0, "ssim_weight": 0.3, "adversarial_weight": 0.05, "sinkhorn_weight": 0.7}
    full = rival_task("siran", small_manifest, **weights).step(prepared, range(4), 0)
    names = {"pixel_weight": "pixel", "ssim_weight": "similarity", "adversarial_weight": "adversarial",
             "sinkhorn_weight": "sinkhorn"}  # fmt: skip
    total = sum(weights[key] * full[name] for key, name in names.items())
    assert full["loss"] == pytest.approx(total, rel=1e-5)
    assert full["critic"] == pytest.approx(full["judged"] + full["adaptation"], rel=1e-5)
    off = {"sinkhorn": False, "ssim_weight": 0, "adversarial_weight": 0}
    plain = {"guide": False, "spatial_attention": False, "polarised_attention": False}
    assert set(rival_task("siran", small_manifest, **off, **plain).step(prepared, range(4), 0)) == {
        "loss", "critic", "pixel", "judged"
    }  # fmt: skip
    # The critic's maps of coarse and of fine DEMs are drawn together.
    pulled = rival_task("siran", small_manifest, adaptation_weight=1e3)
    apart = [pulled.step(prepared, range(4), 0)["adaptation"] for _ in range(12)]
    assert apart[-1] < 0.8 * apart[0]


def test_all_rivals_of_a_seed_see_the_same_samples(small_manifest: Path) -> None:
    one, two = rival_task("gan", small_manifest), rival_task("regression", small_manifest)
    a, b = (each.batch(each.prepare(range(4)), range(4)) for each in (one, two))
    assert torch.equal(a.images, b.images) and torch.equal(a.prior, b.prior)
    other = rival_task("gan", small_manifest, seed=1)
    assert not torch.equal(other.batch(other.prepare(range(4)), range(4)).prior, a.prior)
    assert not all((each.valid | ~each.present[..., None, None]).all() for each in (a, b))  # strips


# --- plans ----------------------------------------------------------------------------------------------


def test_a_config_plans_their_trainings(tmp_path: Path) -> None:
    names = ["siran", "gan", "guided", "regression"]
    plan = Plan(load_config({**BASE, "predictors": {"scored": names}}), tmp_path)
    assert plan.learned == names
    base = Plan(load_config(BASE), tmp_path)
    for name in names:
        assert plan[name].inputs == ("manifest",)
        assert plan[f"evaluation_{name}"].inputs == ("manifest_test", name)
        assert plan.files_of(name)["model"] == [plan[name].path("model.safetensors")]
        section = RivalStage.model_validate_json(plan[name].section)
        assert section.options == rival_section(name).model_dump(mode="json", exclude={"weights"})
        assert section.scenes is None
    moved = {
        name for name, stage in base.stages.items() if name in plan.stages and plan[name].key != stage.key
    }
    assert moved == {"evaluation", "report", "bundle"}
    assert set(plan.stages) - set(base.stages) == {*names, *(f"evaluation_{name}" for name in names)}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("siran", "polarised_attention", False),
        ("siran", "epsilon", 0.1),
        ("gan", "blocks", 1),
        ("guided", "kernel", 5),
        ("regression", "optimiser", {"samples": 99}),
        ("yasuda", "noise", 0.1),
        ("diffusion", "widths", [8, 16]),
    ],
)
def test_an_option_moves_its_own_training(name: str, key: str, value: Any, tmp_path: Path) -> None:
    scored = {"scored": [*RIVALS, *STOCHASTIC]}
    base = Plan(load_config({**BASE, "predictors": scored}), tmp_path)
    changed = Plan(load_config({**BASE, "predictors": {**scored, name: {key: value}}}), tmp_path)
    moved = {each for each, stage in base.stages.items() if changed[each].key != stage.key}
    assert moved == {name, f"evaluation_{name}", "evaluation", "report", "bundle"}


def test_a_mistake_in_a_section_names_its_key() -> None:
    with pytest.raises(ConfigError, match=r"predictors\.siran: spatial_attention: expected false without"):
        load_config({**BASE, "predictors": {"siran": {"guide": False}}})
    with pytest.raises(ConfigError, match=r"predictors\.gan\.sinkhorn: unknown key"):
        load_config({**BASE, "predictors": {"gan": {"sinkhorn": True}}})


def test_variants_are_rivals_with_stages_of_their_own(tmp_path: Path) -> None:
    variants = {
        "ungated": {"of": "siran", "spatial_attention": False, "polarised_attention": False},
        "seed1": {"of": "siran", "seed": 1, "optimiser": {"samples": 64}},
        "unused": {"of": "gan", "blocks": 1},
    }
    base = Plan(load_config({**BASE, "predictors": {"scored": ["siran"]}}), tmp_path)
    scored = {"scored": ["siran", "ungated", "seed1"], "variants": variants}
    plan = Plan(load_config({**BASE, "predictors": scored}), tmp_path)
    names = ["ungated", "seed1"]
    assert set(plan.stages) - set(base.stages) == {*names, *(f"evaluation_{name}" for name in names)}
    assert plan["siran"].key == base["siran"].key
    ungated, seed1 = (RivalStage.model_validate_json(plan[name].section) for name in names)
    assert ungated.module == "pipeline.training.siran" and ungated.name == "ungated"
    own = rival_section("siran").model_dump(mode="json", exclude={"weights"})
    assert ungated.options == {**own, "spatial_attention": False, "polarised_attention": False}
    assert seed1.options == {**own, "seed": 1, "optimiser": {**own["optimiser"], "samples": 64}}
    scored_by = json.loads(plan["evaluation_seed1"].section)
    assert scored_by["module"] == "pipeline.predictors.siran" and scored_by["options"] == seed1.options


def test_a_variant_is_trained_and_loaded_as_the_rival_that_it_varies(
    small_manifest: Path, tmp_path: Path
) -> None:
    keys = {**RIVALS["gan"][1], "blocks": 2}
    section, out = rival_stage("gan", keys).model_copy(update={"name": "deep"}), tmp_path / "m.safetensors"
    train_rival(section, "key", small_manifest, RuntimeSection(device="cpu"), out)
    options = json.loads(out.with_name("config.json").read_text())["section"]
    assert options["blocks"] == 2
    entry = PREDICTORS["gan"]
    getattr(import_module(entry.module), entry.make)(Setup(GRID, options, {"model": [str(out)]}))


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"a": {"seed": 1}}, r"predictors: variants\.a\.of: expected one of regression, .*, found None"),
        ({"a": {"of": "photometric"}}, r"variants\.a\.of: expected one of .*, found 'photometric'"),
        ({"siran": {"of": "gan"}}, r"variants\.siran: expected another name than that of a section"),
        ({"a": {"of": "gan", "depth": 3}}, r"variants\.a\.depth: Extra inputs are not permitted, found 3"),
        ({"a": {"of": "guided", "kernel": 2}}, r"variants\.a: kernel: expected an odd number, found 2"),
        ({"a_b": {"of": "gan"}}, r"variants\.a_b"),
        (
            {"bicubic": {"of": "gan"}},
            r"predictors\.variants: expected names of no predictor, found 'bicubic'",
        ),
        ({"region": {"of": "gan"}}, r"predictors\.variants: expected names of no stage, found 'region'"),
    ],
)
def test_impossible_variants_are_named(variants: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        scored = [name for name in variants if name == "region"]
        Plan(load_config({**BASE, "predictors": {"scored": scored, "variants": variants}}), tmp_path)
