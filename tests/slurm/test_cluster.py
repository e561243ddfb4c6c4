"""`snakemake --profile slurm`: to the end, through every fault, with the same bytes as without Slurm."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from slurm_jobs import Sent, slurm_says

from interrupted import CONFIG, SLOW, TARGETS, artefacts, before_training

pytestmark = pytest.mark.cluster
TRAIN = "bridge_train_bridge_missing"
Send = Callable[..., Sent]


@pytest.fixture
def disturbed(reference: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A working directory whose last training is to come, and that training's folder."""
    place = before_training(reference, tmp_path / "run")
    return tmp_path / "run", place


def midway(sent: Sent, place: Path, script: str = "/.snakemake/scripts/") -> str:
    """Wait until the training has saved a few times, and make it sleep; number of its job.

    So it is midway whatever the machine's speed. Slurm wakes what it ends.
    """
    sent.until(lambda: len(list(place.glob("checkpoints/*.safetensors"))) > 1, "a checkpoint")
    os.kill(trainer(sent.folder, script), signal.SIGSTOP)
    return sent.job(TRAIN, "RUNNING")


def trainer(folder: Path, script: str = "/.snakemake/scripts/") -> int:
    """Process id of the training that a job of this folder runs; the newest where it has several."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode() if entry.name.isdigit() else ""
            here = script in words and os.path.samefile(entry / "cwd", folder)
        except OSError:  # it has ended
            continue
        if here:
            found.append(int(entry.name))
    assert found, "no training runs"
    return max(found)


def told_by(folder: Path, job: str) -> str:
    """What a failed job printed."""
    return (folder / "results" / "logs" / "slurm" / f"rule_{TRAIN}" / f"{job}.log").read_text()


def resumed(folder: Path, place: Path) -> bool:
    """Whether the training's last attempt went on from a checkpoint."""
    log = folder / "results" / "logs" / "bridge_missing" / place.name / "log.txt"
    return re.search(r"resumed at \d+ of 480 samples", log.read_text()) is not None


def ends_the_same(sent: Sent, place: Path, reference: Path) -> None:
    """The workflow came to its end by itself, from a checkpoint, with the undisturbed run's bytes."""
    assert sent.wait() == 0, sent.text[-8000:]
    assert resumed(sent.folder, place)
    assert artefacts(sent.folder) == artefacts(reference)
    assert sent.job(TRAIN) == ""


def test_all_runs_to_the_end(finished: Path) -> None:
    results = finished / "results" / "tiny"
    for name in ("evaluation/metrics.json", "region/mean.tif", "report.html", "bundle.zip", "stages.json"):
        assert (results / name).is_file()
    # Kept are those of failed jobs and, for ten days, of array jobs (<job>_<number>.log).
    assert not [p for p in (finished / "results" / "logs" / "slurm").rglob("*.log") if "_" not in p.stem]
    logs = [path.read_text() for path in (finished / "results" / "logs").rglob("*.txt")]
    assert len(logs) > 30
    told = (finished / "told_0.txt").read_text()
    assert "Submitted array job" in told
    assert not re.findall(r"^.*\b(?:Error|Traceback)\b.*$", told, re.M)


def test_a_cancelled_job_is_sent_again_with_more_memory_and_goes_on(
    disturbed: tuple[Path, Path], reference: Path, send: Send
) -> None:
    folder, place = disturbed
    sent = send(folder, *TARGETS)
    first = midway(sent, place)
    asked = slurm_says("scontrol", "show", "job", first)
    assert "MinMemoryNode=16000M" in asked
    assert "NumCPUs=1 " in asked
    assert "TimeLimit=2-00:00:00" in asked
    slurm_says("scancel", first)
    sent.until(lambda: sent.job(TRAIN) not in ("", first), "a second job")
    assert "MinMemoryNode=32000M" in slurm_says("scontrol", "show", "job", sent.job(TRAIN))
    assert "asked to stop; saved at " in told_by(folder, first)
    ends_the_same(sent, place, reference)


def test_a_time_limit_saves_and_the_next_job_goes_on(
    disturbed: tuple[Path, Path], reference: Path, send: Send
) -> None:
    folder, place = disturbed
    sent = send(folder, *TARGETS)
    first = midway(sent, place)
    slurm_says("scontrol", "update", f"JobId={first}", "TimeLimit=1")
    ends_the_same(sent, place, reference)
    ended = slurm_says("scontrol", "show", "job", first)
    assert "TimeLimit=00:01:00" in ended
    # The profile's signal comes two minutes before the limit; a job that saves in time ends before it.
    assert re.search(r"JobState=(TIMEOUT|FAILED) ", ended), ended
    assert "asked to stop; saved at " in told_by(folder, first)


def test_out_of_memory_is_told_and_tried_again(
    disturbed: tuple[Path, Path], reference: Path, send: Send
) -> None:
    """By a limit of the address space, since without cgroups Slurm does not limit memory."""
    folder, place = disturbed
    sent = send(folder, *TARGETS)
    first = midway(sent, place)
    subprocess.run(["prlimit", f"--pid={trainer(folder)}", "--as=100000000"], check=True)
    os.kill(trainer(folder), signal.SIGCONT)
    sent.until(lambda: sent.job(TRAIN) not in ("", first), "a second job")
    told = told_by(folder, first)
    assert re.search(r"ERROR .*(out of memory|Cannot allocate memory)", told), told[-3000:]
    ends_the_same(sent, place, reference)


def test_a_node_that_goes_down_and_comes_back(
    disturbed: tuple[Path, Path], reference: Path, send: Send
) -> None:
    folder, place = disturbed
    sent = send(folder, *TARGETS)
    first = midway(sent, place)
    nodes = ("node1", "node2")
    for node in nodes:
        slurm_says("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        sent.until(lambda: sent.job(TRAIN, "PENDING"), "a waiting job")
        assert "JobState=NODE_FAIL" in slurm_says("scontrol", "show", "job", first)
    finally:
        for node in nodes:
            # One that still answers may have come back by itself.
            if "State=DOWN" in slurm_says("scontrol", "show", "node", node):
                slurm_says("scontrol", "update", f"NodeName={node}", "State=RESUME")
    ends_the_same(sent, place, reference)


def test_a_killed_controller_leaves_jobs_that_a_new_start_names(
    disturbed: tuple[Path, Path], reference: Path, send: Send, snakemake: Callable
) -> None:
    folder, place = disturbed
    sent = send(folder, *TARGETS)
    orphan = midway(sent, place)
    sent.process.kill()
    sent.process.wait()
    assert "--unlock" in refused(send(folder, *TARGETS))
    snakemake(folder, "--unlock", *CONFIG)
    told = refused(send(folder, *TARGETS))
    assert f"did not end: {orphan} ({TRAIN})" in told
    advice = re.search(r"`(scancel [\d _]+)`", told)
    assert advice and "Traceback" not in told
    assert sent.job(TRAIN) == orphan  # nothing was sent
    slurm_says(*advice.group(1).split())
    while sent.job(TRAIN, "PENDING,RUNNING,COMPLETING"):
        time.sleep(0.2)
    ends_the_same(send(folder, *TARGETS), place, reference)


def refused(sent: Sent) -> str:
    """What a start says that is refused."""
    assert sent.wait() != 0
    return sent.text


def test_outputs_deleted_by_hand_are_made_again(
    reference: Path, copy_of: Callable[[Path], Path], send: Send
) -> None:
    folder = copy_of(reference)
    for name in ("region/mean.tif", "evaluation/metrics.json", "evaluation/parts/bridge_missing.json"):
        (folder / "results" / "tiny" / name).unlink()
    sent = send(folder, *TARGETS)
    assert sent.wait() == 0, sent.text[-8000:]
    assert TRAIN not in sent.text
    assert artefacts(folder) == artefacts(reference)


@pytest.fixture
def small_disk(disturbed: tuple[Path, Path]) -> Iterator[Path]:
    """A file system for the training's folder that holds one checkpoint and no second one."""
    _, place = disturbed
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_more_room_is_enough(
    disturbed: tuple[Path, Path], small_disk: Path, reference: Path, send: Send
) -> None:
    folder, place = disturbed
    sent = send(folder, *TARGETS, "--retries", "0")
    assert sent.wait() != 0
    assert re.search(rf"ERROR .*No space left on device: .*{place.name}/checkpoints/\S+", sent.text)
    assert not re.search(r"Traceback", sent.text)
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    ends_the_same(send(folder, *TARGETS), place, reference)


def test_a_training_on_two_nodes_saves_when_cancelled_and_ends_as_one_process(
    disturbed: tuple[Path, Path], reference: Path, send: Send
) -> None:
    """With GPUs asked for, though these are made up: it runs on CPUs, two processes a node."""
    folder, place = disturbed
    whole = reference / place.relative_to(folder) / "model.safetensors"
    places = "runtime: {device: auto, nodes: 2, processes: 2, "
    (folder / "slow.yaml").write_text(SLOW.replace("runtime: {", places))
    sent = send(folder, str(place.relative_to(folder) / "model.safetensors"), *CONFIG)
    first = midway(sent, place, "pipeline.training.launch\0worker")
    asked = slurm_says("scontrol", "show", "job", first)
    assert "NumNodes=2 " in asked
    assert "TresPerJob=gres:gpu:4" in asked
    slurm_says("scancel", first)
    assert sent.wait() == 0, sent.text[-8000:]
    assert resumed(folder, place)
    assert "torchrun: 2 processes" in told_by(folder, first)
    states = [load_file(path) for path in (whole, place / "model.safetensors")]
    one, four = (torch.cat([state[name].flatten() for name in sorted(state)]) for state in states)
    assert 0 < (four - one).norm() < 1e-2 * one.norm()
    shutil.rmtree(folder)
