"""A Snakemake that sends jobs to Slurm, watched from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 3600


@dataclass
class Sent:
    """A Snakemake that sends the workflow to Slurm from a folder."""

    folder: Path
    process: subprocess.Popen[bytes]
    told: Path

    @property
    def text(self) -> str:
        return self.told.read_text()

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something to happen while Snakemake runs."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.text[-5000:]}"
            assert time.monotonic() < end, f"no {what}:\n{self.text[-5000:]}"
            time.sleep(0.05)

    def job(self, rule: str, states: str = "PENDING,RUNNING") -> str:
        """Number of the Slurm job of a rule that this folder's workflow has there; empty if there is none."""
        rows = slurm_says("squeue", "--me", "-h", f"--states={states}", "--format=%A|%k|%Z").splitlines()
        found = [
            row.split("|")[0] for row in rows if row.split("|")[1:] == [f"rule_{rule}", str(self.folder)]
        ]
        return found[-1] if found else ""


def slurm_says(*command: str) -> str:
    """What one of Slurm's commands prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
