"""A Slurm of two nodes on this machine, and the workflow sent to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_jobs import Sent

from interrupted import CONFIG, copied, undisturbed

ROOT = Path(__file__).resolve().parents[2]
UP = ROOT / "tests" / "slurm" / "slurm_up.sh"
# Ask Slurm often: jobs here take seconds.
FAST = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "20")


@pytest.fixture(scope="session", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Slurm is up, in less than a minute, and goes down by its own pid files."""
    if os.geteuid() != 0:
        pytest.skip("a local Slurm needs root")
    if shutil.which("slurmctld") is None and shutil.which("apt-get") is None:
        pytest.skip("a local Slurm needs slurmctld, slurmd and munge (Debian packages), found none")
    folder = tmp_path_factory.mktemp("slurm")
    done = subprocess.run(["bash", str(UP), "up", str(folder)], capture_output=True, text=True)
    try:
        if done.returncode:
            pytest.skip(f"no local Slurm: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        yield
    finally:
        if done.returncode != 3:  # another Slurm's files were left alone
            subprocess.run(["bash", str(UP), "down", str(folder)], check=True)


@pytest.fixture(scope="session")
def send() -> Iterator[Callable[..., Sent]]:
    """Start Snakemake with the profile; what is left of it in the end is killed."""
    started: list[Sent] = []

    def start(folder: Path, *arguments: str) -> Sent:
        told = folder / f"told_{len(started)}.txt"
        # Of this workflow, wherever it is started: what `--profile slurm` means in the project's folder.
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "-s",
            str(ROOT / "Snakefile"),
            "--profile",
            str(ROOT / "slurm"),
        ]
        with told.open("w") as out:
            process = subprocess.Popen(
                [*command, *FAST, *arguments],
                cwd=folder,
                stdout=out,
                stderr=out,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        started.append(Sent(folder, process, told))
        return started[-1]

    yield start
    for sent in started:
        if sent.process.poll() is None:
            sent.process.kill()
            sent.process.wait()


@pytest.fixture(scope="session")
def finished(slurm: None, send: Callable[..., Sent], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of a run of config/tiny.yaml by Slurm."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "config").symlink_to(ROOT / "config")
    sent = send(folder, "all", *CONFIG[:2])
    assert sent.wait() == 0, sent.text[-8000:]
    return folder


@pytest.fixture(scope="session")
def reference(finished: Path, tmp_path_factory: pytest.TempPathFactory, snakemake: Callable) -> Path:
    """A slower last training, and what follows it, undisturbed, without Slurm."""
    return undisturbed(finished, tmp_path_factory.mktemp("undisturbed") / "run", snakemake)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a working directory that may be spoiled."""
    return lambda source: copied(source, tmp_path / "run")
