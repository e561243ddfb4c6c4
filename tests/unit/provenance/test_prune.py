"""What no run names is listed and, on demand, removed; nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.provenance import controllers
from pipeline.provenance.controllers import LOCK, Busy, join, no_controller
from pipeline.provenance.leftovers import LeftoverJobs
from pipeline.provenance.prune import PruneError, main, remove, survey
from pipeline.training.writer import sole_writer

NOW = 1_700_000_000.0
KEYS = {name: f"{number:012x}" for number, name in enumerate(("old", "used", "shared", "other"))}


def made(root: Path, stage: str, key: str, days_ago: float = 10) -> Path:
    """A stage's folder with a result, a folder of its own and a checkpoint."""
    folder = root / "results" / "store" / stage / key
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    (folder / "checkpoints" / "1.safetensors").write_bytes(b"x" * 500)
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (NOW - days_ago * 86400,) * 2)
    return folder


def record(root: Path, run: str, **stages: str) -> Path:
    path = root / "results" / run / "stages.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {name: {"folder": f"results/store/{name}/{key}"} for name, key in stages.items()}
    content["report"] = {"folder": f"results/{run}/report"}
    path.write_text(json.dumps({"schema": "stages/1", "stages": content}))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs that share a stage, and two folders that nobody names."""
    for stage, name in (("vae", "old"), ("vae", "used"), ("shards", "shared"), ("bridge_arcs", "other")):
        made(tmp_path, stage, KEYS[name])
    record(tmp_path, "demo", vae=KEYS["used"], shards=KEYS["shared"])
    record(tmp_path, "second", shards=KEYS["shared"])
    return tmp_path


def files(root: Path) -> set[str]:
    found = {p.relative_to(root) for p in root.rglob("*") if p.is_file()}
    return {path.as_posix() for path in found - {LOCK}}


def names(entries: list) -> list[str]:
    return [f"{entry.folder.parent.name}/{entry.folder.name}" for entry in entries]


UNNAMED = [f"bridge_arcs/{KEYS['other']}", f"vae/{KEYS['old']}"]


def test_what_no_run_names_is_found_and_nothing_is_changed(root: Path) -> None:
    before = files(root)
    found = survey(root, now=NOW)
    assert (found.runs, found.named, found.young) == (["demo", "second"], 2, [])
    assert names(found.unnamed) == UNNAMED
    assert [entry.size for entry in found.unnamed] == [1500, 1500]
    assert [entry.changed for entry in found.unnamed] == [NOW - 864000] * 2
    assert files(root) == before


def test_only_that_is_removed(root: Path) -> None:
    kept = {name for name in files(root) if KEYS["old"] not in name and KEYS["other"] not in name}
    remove(root, survey(root, now=NOW))
    assert files(root) == kept
    assert not (root / "results" / "store" / "bridge_arcs").exists()
    again = survey(root, now=NOW)
    assert (again.named, again.unnamed) == (2, [])


@pytest.mark.parametrize(
    "found",
    [
        {"given": {"model": "{old}/model.safetensors", "vae": None, "calibration": None}},
        {"given": {"model": "my/model.safetensors", "vae": "{old}/model.safetensors"}},
        {"given": None, "rivals": {"yasuda": {"model": "{old}/model.safetensors", "vae": None}}},
        {"init": {"bridge": {"model": "results/demo/store/vae/model.safetensors", "identity": {}}}},
    ],
)
def test_given_weights_in_the_store_are_kept(root: Path, found: dict) -> None:
    """Those that a run uses, those of rivals, and those that a training starts from, also through a link."""
    old = f"results/store/vae/{KEYS['old']}"
    path = record(root, "demo", vae=KEYS["used"], shards=KEYS["shared"])
    (path.parent / "store").mkdir()
    (path.parent / "store" / "vae").symlink_to(root / old)
    content = json.loads(path.read_text()) | {"found": found}
    path.write_text(json.dumps(content).replace("{old}", old))
    assert names(survey(root, now=NOW).unnamed) == UNNAMED[:1]


def test_what_changed_lately_stays(root: Path) -> None:
    """Any file in the folder counts, a checkpoint too; the number of days is the user's."""
    path = root / "results" / "store" / "vae" / KEYS["old"] / "checkpoints" / "1.safetensors"
    os.utime(path, (NOW - 3600,) * 2)
    found = survey(root, now=NOW)
    assert (names(found.unnamed), names(found.young)) == (UNNAMED[:1], UNNAMED[1:])
    remove(root, found)
    assert path.is_file()
    assert names(survey(root, 0.01, now=NOW).unnamed) == UNNAMED[1:]


def test_what_changes_after_the_survey_stays(root: Path) -> None:
    found = survey(root, now=NOW)
    folder = root / "results" / "store" / "vae" / KEYS["old"]
    (folder / "config.json").write_text("{}")
    assert names(remove(root, found)) == UNNAMED[:1]
    assert (folder / "model.safetensors").is_file()
    assert KEYS["other"] not in str(files(root))


def test_a_training_at_work_keeps_its_folder(root: Path) -> None:
    folder = root / "results" / "store" / "vae" / KEYS["old"]
    with sole_writer(folder / "model.safetensors"):
        remove(root, survey(root, 0, now=2e9))
        assert (folder / "model.safetensors").is_file()
    remove(root, survey(root, 0, now=2e9))
    assert not folder.exists()


def test_a_workflow_at_work_keeps_everything(root: Path) -> None:
    lock = root / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/store/vae/x/model.safetensors\n")
    before = files(root)
    with pytest.raises(PruneError, match=r"\.snakemake/locks: expected no workflow at work here"):
        remove(root, survey(root, now=NOW))
    assert files(root) == before
    lock.unlink()
    remove(root, survey(root, now=NOW))
    assert files(root) < before


def test_a_controller_that_is_alive_keeps_everything(root: Path) -> None:
    """Also without Snakemake's lock, which the first of two that end removes for both."""
    program = (
        f"from pipeline.provenance.controllers import join; print(join({str(root)!r}), flush=True); input()"
    )
    pipe, answers = subprocess.PIPE, []
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as first:
        answers.append(first.stdout.readline())
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as second:
            answers.append(second.stdout.readline())
            first.communicate("\n")
            before = files(root)
            with pytest.raises(Busy, match=r"\.snakemake/lunar\.lock: expected no workflow at work here"):
                remove(root, survey(root, now=NOW))
            assert files(root) == before
            second.communicate("\n")
    assert answers == ["False\n", "True\n"]
    remove(root, survey(root, now=NOW))
    assert files(root) < before


def test_no_controller_starts_while_folders_are_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "_SECONDS", 0.2)
    (root / ".snakemake").mkdir()
    with no_controller(root), pytest.raises(Busy, match="expected no `make prune` at work here, found one"):
        join(root)


def test_jobs_in_slurm_keep_everything(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue = root / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\necho '7|rule_vae_train|{root.resolve()}'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=":")
    before = files(root)
    with pytest.raises(LeftoverJobs, match=r"7 \(vae_train\)"):
        remove(root, survey(root, now=NOW))
    assert files(root) == before


def test_without_any_record_nothing_is_removed(root: Path) -> None:
    for run in ("demo", "second"):
        shutil.rmtree(root / "results" / run)
    before = files(root)
    with pytest.raises(PruneError, match=r"stages\.json: expected the record of at least one run"):
        remove(root, survey(root, now=NOW))
    assert files(root) == before


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"schema": "stages/1"}', '{"schema": "stages/1", "stages": []}']
)
def test_a_record_that_cannot_be_read_is_named(root: Path, text: str) -> None:
    (root / "results" / "demo" / "stages.json").write_text(text)
    with pytest.raises(PruneError, match=r"^results/demo/stages\.json: expected the record of a run"):
        survey(root, now=NOW)


def test_what_is_no_stages_folder_is_left_alone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = root / "results" / "store"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").write_text("data")
    (store / "vae" / ("a" * 12)).symlink_to(elsewhere)
    (store / "notes").mkdir()
    (store / "notes" / "mine.txt").write_text("notes")
    remove(root, survey(root, now=NOW))
    assert (elsewhere / "precious").is_file()
    assert (store / "vae" / ("a" * 12)).is_symlink()
    assert (store / "notes" / "mine.txt").is_file()


def test_a_store_on_another_disk_is_pruned_too(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    store, disk = root / "results" / "store", tmp_path_factory.mktemp("disk") / "store"
    shutil.move(store, disk)
    store.symlink_to(disk)
    found = survey(root, now=NOW)
    assert (found.named, names(found.unnamed)) == (2, UNNAMED)
    remove(root, found)
    assert sorted(p.parent.name for p in disk.glob("*/*")) == ["shards", "vae"]


def test_a_killed_removal_is_finished(root: Path) -> None:
    folder = root / "results" / "store" / "vae" / KEYS["old"]
    going = folder.rename(folder.with_name(f".{KEYS['old']}.pruned"))
    found = survey(root, now=NOW)
    assert names(found.unnamed) == UNNAMED[:1]
    remove(root, found)
    assert not going.exists()


def test_what_a_kill_left_half_written_goes(root: Path) -> None:
    """In a folder that a run names: a half-written file, a store's scratch; not a training's lock."""
    used = root / "results" / "store" / "vae" / KEYS["used"]
    part, scratch, fresh = (
        used / ".model.safetensors.7.part",
        used / ".tile_000.zarr.zip.x1",
        used / ".b.8.part",
    )
    (scratch / "dem").mkdir(parents=True)
    for path in (part, scratch / "dem" / "0.0", fresh, used / ".training.lock"):
        path.write_text("half")
    for path in (part, scratch / "dem" / "0.0", scratch / "dem", scratch):
        os.utime(path, (NOW - 864000,) * 2)
    os.utime(fresh, (NOW - 60,) * 2)
    found = survey(root, now=NOW)
    assert [entry.folder.name for entry in found.unnamed[1:]] == [KEYS["old"], part.name, scratch.name]
    assert [entry.folder for entry in found.young] == [fresh]
    remove(root, found)
    assert {path.name for path in used.iterdir()} == {
        "checkpoints", "model.safetensors", fresh.name, ".training.lock"
    }  # fmt: skip


def test_the_command_lists_and_removes_when_told(root: Path, capsys: pytest.CaptureFixture) -> None:
    before = files(root)
    assert main(["--root", str(root)]) == 0
    text = capsys.readouterr().out
    assert f"1.5 kB  2023-11-04  results/store/vae/{KEYS['old']}" in text
    assert "may go: 2, 3 kB, that no run names" in text
    assert "kept: 2 folders that runs name (demo, second)" in text
    assert "make prune CONFIRM=1" in text
    assert files(root) == before
    assert main(["--root", str(root), "--confirm"]) == 0
    assert "removed: 2, 3 kB" in capsys.readouterr().out
    assert KEYS["old"] not in str(files(root))
    (root / "results" / "demo" / "stages.json").write_text("{")
    assert main(["--root", str(root)]) == 1


def test_an_empty_folder_has_nothing_to_prune(tmp_path: Path) -> None:
    assert main(["--root", str(tmp_path), "--confirm"]) == 0
