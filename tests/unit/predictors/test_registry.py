"""The registry of predictors: a new entry moves no other result, a changed one moves its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.predictors import LEARNED, PredictorsSection
from pipeline.config.root import ConfigError, load_config
from pipeline.predictors.registry import BASELINES, PREDICTORS, TRAINED, Entry
from pipeline.provenance.digest import SOURCE, import_closure
from pipeline.provenance.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
LAST = {"evaluation", "report", "bundle"}


def plan(folder: Path, source: Path | None = None, scored: list[str] | None = None) -> Plan:
    """The tiny run, with the code of another source tree, or other predictors."""
    config = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text())
    if scored is not None:
        config["predictors"] = {"scored": scored}
    return Plan(load_config(config), folder, source=source)


def moved(one: Plan, two: Plan) -> set[str]:
    return {
        name for name, stage in two.stages.items() if name not in one.stages or stage.key != one[name].key
    }


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A copy of the package in which one text is another."""

    def change(module: str, old: str, new: str) -> Path:
        copy = tmp_path / module / "pipeline"
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / "predictors" / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return copy

    return change


def test_a_new_entry_changes_no_result(tmp_path: Path, changed: Callable, monkeypatch: Any) -> None:
    copy = changed("registry", "PREDICTORS = {", 'PREDICTORS = {"new": Entry("pipeline.predictors.bicubic"),')
    assert moved(plan(tmp_path), plan(tmp_path, copy)) == set()
    before = plan(tmp_path)
    monkeypatch.setitem(PREDICTORS, "new", Entry("pipeline.predictors.bicubic", "window", images=False))
    assert moved(before, plan(tmp_path)) == set()
    assert moved(before, plan(tmp_path, scored=["photometric", "new"])) == {"evaluation_new", *LAST}


@pytest.mark.parametrize("module", sorted({e.module.rpartition(".")[2] for e in PREDICTORS.values()}))
def test_a_changed_predictor_moves_its_own_results(module: str, tmp_path: Path, changed: Callable) -> None:
    scored = [
        name
        for name, entry in PREDICTORS.items()
        if entry.module == f"pipeline.predictors.{module}" and name not in (*BASELINES, TRAINED)
        if not entry.floor
    ]
    copy = changed(module, "import annotations\n", "import annotations\n\nEXTRA = 1\n")
    found = plan(tmp_path, copy, scored)
    own = {
        f"evaluation_{name}"
        for name, entry in found.predictors.items()
        if entry.module == f"pipeline.predictors.{module}"
    }
    assert own and moved(plan(tmp_path, scored=scored), found) == own | LAST


def test_no_stage_runs_the_registry_or_another_predictor() -> None:
    common = {"pipeline.predictors", "pipeline.predictors.interface"}
    bases = {"pipeline.predictors.learned", "pipeline.predictors.stochastic"}
    for entry in PREDICTORS.values():
        closure = import_closure(("pipeline.evaluation.stage", entry.module))
        rooms = {name for name in closure if name.startswith("pipeline.predictors")}
        assert rooms - bases == common | {entry.module}
        assert ("pipeline.predictors.learned" in rooms) == bool(entry.train)


def test_the_config_and_the_registry_have_the_same_names() -> None:
    """Every section of options is an entry's; what is scored by default is there."""
    fields = set(PredictorsSection.model_fields) - {"scored", "variants", "bridges"}
    rivals = {n for n, e in PREDICTORS.items() if n not in (*BASELINES, TRAINED) and not e.floor}
    assert fields <= rivals
    assert set(PredictorsSection().scored) <= rivals
    assert set(LEARNED) == {n for n in rivals if PREDICTORS[n].train}
    for name in rivals:
        code = Path(import_module(PREDICTORS[name].module).__file__ or "").read_text()
        holds = "setup.options" in code or "section=" in code
        assert holds == (name in fields), f"{name}: options without a section, or a section without use"


def test_every_entry_names_a_function() -> None:
    for entry in PREDICTORS.values():
        assert callable(getattr(import_module(entry.module), entry.make))


@pytest.mark.parametrize("name", ["nonsense", "bicubic", "vae_truth", "bridge"])
def test_what_cannot_be_asked_for_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"predictors\.scored: expected some of photometric, .*found '{name}'"
    ):
        plan(tmp_path, scored=[name])


def test_a_learned_rival_reads_the_weights_of_the_stage_of_its_name(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(PREDICTORS, "vae", Entry("pipeline.predictors.floors", files=("model",)))
    found = plan(tmp_path, scored=["vae"])
    assert found["evaluation_vae"].inputs == ("manifest_test", "vae")
    weights = [found["vae"].path("model.safetensors")]
    assert found.files_of("vae") == {"model": weights, "vae": [], "calibration": []}


def test_without_rivals_there_are_none(tmp_path: Path) -> None:
    found = plan(tmp_path, scored=[])
    assert set(plan(tmp_path).stages) - set(found.stages) == {"evaluation_photometric"}
