"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
def snakemake() -> Callable[..., Done]:
    """Call Snakemake on this workflow in a working directory of one's own."""

    def call(folder: Path, *arguments: str) -> Done:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "-s",
            str(ROOT / "Snakefile"),
            "--directory",
            str(folder),
        ]
        done = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?\ntotal +\d+)$", done.stdout, re.M | re.S)
        rows = [line.rsplit(maxsplit=1) for line in table.group(1).splitlines()] if table else []
        return Done(done.returncode, done.stdout, {name: int(count) for name, count in rows})

    return call
