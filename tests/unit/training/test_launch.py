"""Several processes, several nodes: the same weights to rounding, one writer, and signals that save."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.config.runtime import RuntimeSection
from pipeline.jobs.job import Work
from pipeline.training import launch as launch_module
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.launch import launch, processes_here
from pipeline.training.writer import sole_writer

SCRIPT = Path(__file__).parents[1] / "launched.py"
TWO: dict[str, Any] = {"device": "cpu", "processes": 2}


def start(
    manifest: Path, out: Path, samples: int, apart: bool = False, **runtime: Any
) -> subprocess.Popen[str]:
    """A training as its rule starts it; `apart` makes it the first of a group of processes."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(manifest), str(out), str(samples), json.dumps(runtime)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=apart,
    )


def until(process: subprocess.Popen[str], words: str) -> str:
    """Read what a process tells until it says the given words; all of it so far."""
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if words in line:
            return told
    raise AssertionError(f"{words!r} was not said:\n{told}")


def flat(path: Path) -> torch.Tensor:
    state = load_file(path)
    return torch.cat([state[name].flatten() for name in sorted(state)])


@pytest.fixture(scope="module")
def alone(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an undisturbed training in one process."""
    out = tmp_path_factory.mktemp("alone") / "model.safetensors"
    process = start(small_manifest, out, 32, device="cpu")
    _, told = process.communicate(timeout=900)
    assert process.returncode == 0, told
    assert "torchrun" not in told
    return out


def test_two_processes_stop_by_a_signal_and_end_as_one(
    alone: Path, small_manifest: Path, tmp_path: Path
) -> None:
    """The signal reaches torchrun alone, as from a person; all its processes save, and 75 comes out."""
    out = tmp_path / "two" / "model.safetensors"
    process = start(small_manifest, out, 100_000, **TWO)
    told = until(process, "samples  bridge")
    assert "torchrun: 2 processes" in told
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=900)
    assert process.returncode == 75, told
    assert told.count("asked to stop; saved at ") == 2  # a warning of each process
    assert "Traceback" not in told
    found = Checkpoints(out.parent / "checkpoints", "key").load()
    assert found is not None and found[0] > 0 and found[0] % 4 == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["checkpoints", "events"]

    done = start(small_manifest, tmp_path / "again" / "model.safetensors", 32, **TWO)
    _, told = done.communicate(timeout=900)
    assert done.returncode == 0, told
    one, two = flat(alone), flat(tmp_path / "again" / "model.safetensors")
    assert 0 < (two - one).norm() < 1e-5 * one.norm()


def test_ctrl_c_saves_and_a_resume_goes_on_from_there(small_manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    process = start(small_manifest, out, 100_000, device="cpu")
    until(process, "samples  bridge")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=900)
    assert process.returncode == 75 and "Traceback" not in told
    found = Checkpoints(out.parent / "checkpoints", "key").load()
    assert found is not None and found[0] > 0 and found[0] % 4 == 0
    assert f"asked to stop; saved at {found[0]} samples" in told

    again = start(small_manifest, out, found[0] + 4, device="cpu")
    _, told = again.communicate(timeout=900)
    assert again.returncode == 0, told
    assert f"resumed at {found[0]} of {found[0] + 4} samples" in told


def test_ctrl_c_reaches_every_process_and_saves(small_manifest: Path, tmp_path: Path) -> None:
    """As from a terminal: torchrun and its processes get the signal at the same time."""
    out = tmp_path / "model.safetensors"
    process = start(small_manifest, out, 100_000, apart=True, **TWO)
    until(process, "samples  bridge")
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=900)
    assert process.returncode == 75, told
    assert "Traceback" not in told
    assert Checkpoints(out.parent / "checkpoints", "key").load() is not None


def test_a_worker_alone_that_is_signalled_stops_all(small_manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    process = start(small_manifest, out, 100_000, **TWO)
    until(process, "samples  bridge")
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGUSR1)
    _, told = process.communicate(timeout=900)
    assert process.returncode == 75, told
    assert Checkpoints(out.parent / "checkpoints", "key").load() is not None


def test_workers_do_not_outlive_torchrun(small_manifest: Path, tmp_path: Path) -> None:
    process = start(small_manifest, tmp_path / "model.safetensors", 100_000, **TWO)
    until(process, "samples  bridge")
    workers = children(process.pid)
    process.kill()
    _, told = process.communicate(timeout=900)  # ends when all that hold the pipe have ended
    assert "asked to stop; saved at " in told
    waited = time.monotonic() + 60  # a process closes its pipe before it is gone
    while any(map(alive, workers)) and time.monotonic() < waited:
        time.sleep(0.1)
    assert not [pid for pid in workers if alive(pid)]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may stand in the table until its parent asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(parent: int) -> list[int]:
    """Process ids of the workers that a process started, oldest first."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(int(p) for p in found if b"worker" in Path(f"/proc/{p}/cmdline").read_bytes())


def test_two_nodes_meet_and_end_as_one_process(alone: Path, small_manifest: Path, tmp_path: Path) -> None:
    """What srun would start on each of two nodes, here twice on this one."""
    out = tmp_path / "nodes" / "model.safetensors"
    request = request_of(small_manifest, out, 32)
    with launch_module.socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "pipeline.training.launch", "node", "2", meeting, "test", request]
    nodes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [""] * 2

    def read(number: int) -> None:
        told[number] = nodes[number].communicate(timeout=900)[1]

    readers = [threading.Thread(target=read, args=(n,)) for n in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(told)
    assert 0 < (flat(out) - flat(alone)).norm() < 1e-5 * flat(alone).norm()


def request_of(manifest: Path, out: Path, samples: int) -> str:
    """What `launch` tells the processes of a training."""
    from training_setups import FREE, bridge_stage

    section = bridge_stage(FREE, optimiser={"samples": samples})
    arguments = {"key": "key", "manifest": str(manifest), "out": str(out), "vae": [], "previous": []}
    return json.dumps(
        {
            "stage": "bridge",
            "section": section.model_dump(mode="json"),
            "runtime": {"device": "cpu", "processes": 1, "nodes": 2, "log_level": "INFO"},
            "log": None,
            "cpu_threads": 1,
            "arguments": arguments,
        }
    )


def test_processes_are_the_configs_or_one_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes_here(RuntimeSection(device="cpu")) == 1
    assert processes_here(RuntimeSection(device="cpu", processes=3)) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert processes_here(RuntimeSection()) == 4
    assert processes_here(RuntimeSection(device="cpu")) == 1
    assert processes_here(RuntimeSection(processes=2)) == 2
    with pytest.raises(ValueError, match=r"runtime\.processes: expected at most 4, the GPUs .* found 5"):
        processes_here(RuntimeSection(processes=5))


def test_several_nodes_need_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    from training_setups import FREE, bridge_stage

    work = Work(bridge_stage(FREE), "key", RuntimeSection(nodes=2))
    with pytest.raises(ValueError, match=r"runtime\.nodes: expected 1 outside of a Slurm job, found 2"):
        launch("bridge", work, None, out=str(tmp_path / "model.safetensors"))
    assert list(tmp_path.iterdir()) == []


def test_one_training_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    out = tmp_path / "model.safetensors"
    with sole_writer(out), pytest.raises(ValueError) as caught, sole_writer(out):
        pass
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: expected no other training into this folder, found process ")
    assert f"process {os.getpid()} of Slurm job 77" in message
    assert "end it with `scancel 77` (it saves), then give the same command again" in message
    with sole_writer(out):  # it is free again
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_training_leaves_its_folder_free(tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    child = os.fork()
    if child == 0:
        with sole_writer(out):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / ".training.lock").exists()
    with sole_writer(out):
        pass
    assert list(tmp_path.iterdir()) == []
