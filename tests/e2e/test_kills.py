"""Many random kills over the whole workflow, and the end is that of an undisturbed run, byte for byte.

``KILLS=3 pytest -m slow tests/e2e/test_kills.py`` tries it with three; ``KILLS_SEED`` draws others. Every
start is ended after a random number of jobs and a random while: by SIGKILL of the whole process group, or by
Ctrl-C.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from interrupted import artefacts

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]
ROOT = Path(__file__).resolve().parents[2]

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("KILLS_SEED", "0"))
CONFIG = ("--configfile", "config/tiny.yaml")
CTRL_C = 0.2  # share of the kills
JOBS = 55  # of the tiny config, about


class Start:
    """The workflow in a process group of its own; what it prints goes to a file."""

    def __init__(self, folder: Path, number: int, words: Sequence[str] = ("all", *CONFIG)) -> None:
        self.out = folder / f"start_{number:03d}.txt"
        call = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(folder)]
        with self.out.open("w") as stream:
            self.process = subprocess.Popen(
                [*call, "-c2", *words],
                cwd=folder,
                stdout=stream,
                stderr=stream,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.out.read_text()

    @property
    def jobs(self) -> int:
        """All jobs of this start; 0 before it has told."""
        found = re.search(r"^total +(\d+)$", self.text, re.M)
        return int(found.group(1)) if found else 0

    @property
    def done(self) -> int:
        """Jobs that ended well."""
        found = re.findall(r"^(\d+) of \d+ steps", self.text, re.M)
        return int(found[-1]) if found else 0

    def works(self, jobs: int, seconds: float) -> bool:
        """Let it plan and do so many jobs, and then work on for a while; False when it ended meanwhile."""
        until = None
        while self.process.poll() is None:
            if until is None and self.jobs and self.done >= jobs:
                until = time.monotonic() + seconds
            if until is not None and time.monotonic() >= until:
                return True
            time.sleep(0.05)
        return False

    def end(self, by: signal.Signals) -> None:
        """End the group; after Ctrl-C an impatient user kills what is still there."""
        os.killpg(self.process.pid, by)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=60)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def disturbed(
    folder: Path,
    kills: int,
    rng: random.Random,
    snakemake: Callable,
    target: str = "all",
    config: Sequence[str] = CONFIG,
    ctrl_c: float = CTRL_C,
    jobs: int = JOBS,
) -> int:
    """Make a target, killed at most so many times; returns how often. The last start is left alone.

    The kills are spread over so many jobs.
    """
    for number in range(kills):
        start = Start(folder, number, (target, *config))
        # On average so many jobs that the kills are spread over the whole work.
        working = start.works(round(rng.random() * 1.4 * jobs / (kills - number)), rng.random() * 3)
        by = signal.SIGINT if rng.random() < ctrl_c else signal.SIGKILL
        if not working:  # nothing was left to do
            assert start.process.returncode == 0, start.text[-5000:]
            return number
        jobs = start.jobs - start.done
        start.end(by)
        assert "Traceback" not in start.text or by == signal.SIGINT, start.text[-5000:]
        if list((folder / ".snakemake").glob("locks/*")):  # Snakemake had no time to let go
            unlocked = snakemake(folder, "--unlock", *config)
            assert unlocked.returncode == 0, unlocked.text[-3000:]
    done = snakemake(folder, "-c2", target, *config)
    assert done.returncode == 0, done.text[-5000:]
    return kills


def whole(folder: Path) -> dict[str, str]:
    """Final artefacts; a kill leaves files behind that were not yet whole, under hidden names."""
    found = artefacts(folder)
    return {name: digest for name, digest in found.items() if "/." not in name}


def test_any_number_of_kills_changes_nothing(tiny: Path, tmp_path: Path, snakemake: Callable) -> None:
    """When a run ends before all kills were used, the rest is for another one."""
    rng, wanted, left, run = random.Random(SEED), whole(tiny), KILLS, 0
    while left > 0:
        folder = tmp_path / f"run_{run}"
        folder.mkdir()
        (folder / "config").symlink_to(ROOT / "config")
        left -= disturbed(folder, left, rng, snakemake)
        found = whole(folder)
        assert set(found) == set(wanted)
        assert [name for name in wanted if found[name] != wanted[name]] == []
        run += 1
