"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from forked import Forks

# As in the workflow: threads that wait must sleep, since other workers want the core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Workers of pytest-xdist, which start after this, share the cores: one thread each."""
    if getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real lunar data beside the project; tests that need it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "lola_40m").is_dir():
        pytest.skip("real lunar data are not beside the project (../shared/data)")
    return folder


@dataclass(frozen=True)
class Done:
    """A finished Snakemake process: what it printed, and the counts of its table of jobs."""

    returncode: int
    text: str
    jobs: dict[str, int]


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Run a command in a fork of a process that has imported Snakemake already."""
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def snakemake(forks: Forks) -> Callable[..., Done]:
    """Call Snakemake on this workflow in a working directory of one's own; dry runs are forks."""

    def call(folder: Path, *arguments: str) -> Done:
        words = ["-s", str(ROOT / "Snakefile"), "--directory", str(folder), *arguments]
        if {"-n", "--dry-run"} & set(arguments):
            code, text = forks(folder, ["snakemake", *words])
        else:
            done = subprocess.run(
                [sys.executable, "-m", "snakemake", *words],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            code, text = done.returncode, done.stdout
        table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?\ntotal +\d+)$", text, re.M | re.S)
        rows = [line.rsplit(maxsplit=1) for line in table.group(1).splitlines()] if table else []
        return Done(code, text, {name: int(count) for name, count in rows})

    return call
