"""What would run again, and why."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.provenance.why import differences, explain, tell


def record() -> dict[str, Any]:
    def stage(name: str, section: Any, inputs: list[str], store: bool = True) -> dict[str, Any]:
        folder = f"results/store/{name}/{name}-key" if store else f"results/demo/{name}"
        return {"key": f"{name}-key", "section": json.dumps(section), "code": "c", "inputs": inputs,
                "folder": folder}  # fmt: skip

    return {
        "schema": "stages/1",
        "run": "demo",
        "config": {"vae": {"base": 16, "betas": [0.5, 0.9]}, "report": {"patches": 4}},
        "versions": {"torch": "2.13.0"},
        "stages": {
            "terrain": stage("terrain", {"pixel_m": 20}, []),
            "vae": stage("vae", {"vae": {"base": 16}}, ["terrain"]),
            "report": stage("report", {"patches": 4}, ["vae"], store=False),
        },
    }


def done(root: Path, content: dict[str, Any]) -> None:
    """Results of every stage in the store."""
    for stage in content["stages"].values():
        if stage["folder"].startswith("results/store"):
            folder = root / stage["folder"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "result.json").write_text("{}")


def changed(base: int = 32) -> dict[str, Any]:
    """The record after a change of vae.base."""
    now = copy.deepcopy(record())
    now["config"]["vae"]["base"] = base
    now["stages"]["vae"] |= {
        "key": f"vae-{base}",
        "section": json.dumps({"vae": {"base": base}}),
        "folder": f"results/store/vae/vae-{base}",
    }
    now["stages"]["report"]["key"] = f"report-{base}"
    return now


def test_a_run_without_record_runs_everything(tmp_path: Path) -> None:
    assert explain(record(), None, tmp_path) == [
        f"{name}: runs, as this run has no record yet" for name in ("terrain", "vae", "report")
    ]


def test_an_unchanged_finished_run_has_nothing_to_say(tmp_path: Path) -> None:
    done(tmp_path, record())
    assert explain(record(), record(), tmp_path) == []


def test_a_changed_key_is_told_with_both_values_and_what_follows(tmp_path: Path) -> None:
    done(tmp_path, record())
    assert explain(changed(), record(), tmp_path) == [
        "config vae.base: 16 -> 32",
        "vae: runs, as its settings changed (vae.base: 16 -> 32)",
        "report: runs, as it follows vae",
    ]


def test_old_results_are_found_again(tmp_path: Path) -> None:
    done(tmp_path, record())
    done(tmp_path, changed())
    lines = explain(changed(), record(), tmp_path)
    assert (
        "vae: is found again in results/store/vae/vae-32, as its settings changed (vae.base: 16 -> 32)"
        in (lines)
    )


@pytest.mark.parametrize("left", [None, "checkpoints", ".model.part"])
def test_lost_and_unfinished_results_are_told(tmp_path: Path, left: str | None) -> None:
    done(tmp_path, record())
    folder = tmp_path / "results/store/vae/vae-key"
    (folder / "result.json").unlink()
    if left == "checkpoints":
        (folder / left).mkdir()
    elif left:
        (folder / left).write_text("half")
    assert explain(record(), record(), tmp_path) == [
        "vae: runs when it is needed, as results/store/vae/vae-key has no results"
    ]


def test_code_packages_and_files_are_named(tmp_path: Path) -> None:
    done(tmp_path, record())
    code, packages, files = (copy.deepcopy(record()) for _ in range(3))
    code["stages"]["vae"] |= {"key": "other", "code": "d"}
    packages["versions"]["torch"] = "2.14.0"
    packages["stages"]["vae"]["key"] = "other"
    files["stages"]["terrain"]["key"] = "other"
    assert explain(code, record(), tmp_path)[0].endswith("as its code changed")
    assert explain(packages, record(), tmp_path)[0].endswith(
        'as packages changed (torch: "2.13.0" -> "2.14.0")'
    )
    assert explain(files, record(), tmp_path)[0].endswith("as its input files changed")


def test_stages_come_and_go(tmp_path: Path) -> None:
    done(tmp_path, record())
    fewer = copy.deepcopy(record())
    del fewer["stages"]["vae"]
    assert "vae: is no longer part of the run" in explain(fewer, record(), tmp_path)
    assert "vae: is found again in results/store/vae/vae-key, as it is new" in (
        explain(record(), fewer, tmp_path)
    )


def test_leaves_are_compared_not_their_order() -> None:
    assert list(differences({"a": 1, "b": {"c": [1]}}, {"b": {"c": [1]}, "a": 1})) == []
    assert list(differences({"a": {}}, {"a": {"b": None}})) == ["a.b: nothing -> null"]
    assert list(differences({"a": [1, 2]}, {"a": [1, 3]})) == ["a: [1, 2] -> [1, 3]"]


def test_text_of_a_run_on_disk(tmp_path: Path) -> None:
    now = json.dumps(record())
    assert "no record yet" in tell(now, tmp_path)
    done(tmp_path, record())
    (tmp_path / "results/demo").mkdir()
    (tmp_path / "results/demo/stages.json").write_text(now)
    assert tell(now, tmp_path).startswith("Nothing has changed")
    (tmp_path / "results/demo/stages.json").write_text("{}")
    with pytest.raises(ValueError, match=r"stages.json: expected schema 'stages/1'"):
        tell(now, tmp_path)
