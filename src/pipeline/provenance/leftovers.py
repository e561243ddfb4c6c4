"""Leftovers of an earlier start of the workflow: Slurm jobs, marks of unfinished jobs, checkpoints."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

#: Folders whose files appear atomically, under names that depend on their inputs: none is ever half written.
WHOLE = ("results/store/", "resources/downloads/")


class LeftoverJobs(RuntimeError):
    """Slurm still has jobs of this workflow that no controller waits for; the message says what to do."""


def refuse_leftovers(folder: Path | str, others: bool = False) -> None:
    """Stop if Slurm has jobs that Snakemake sent from this folder; without Slurm, do nothing.

    Parameters
    ----------
    folder : where Snakemake was started: the working directory of its jobs.
    others : whether another controller works here (`pipeline.provenance.controllers.join`). The jobs may then
        be its own, and are only told.

    Raises
    ------
    LeftoverJobs
        If there are such jobs, and no other controller; the message names them and how to end them.
    """
    found = _jobs(Path(folder).resolve())
    if not found:
        return
    names = ", ".join(f"{number} ({comment})" for number, comment in found)
    if others:
        print(f"Slurm has jobs of another controller that works here: {names}", file=sys.stderr)
        return
    numbers = " ".join(number for number, _ in found)
    raise LeftoverJobs(
        f"Slurm still has jobs that an earlier start of this workflow sent and did not end: {names}. "
        "Two writers must not share a folder. If a Snakemake on another machine still works here, they may "
        f"be its own: wait for it. Otherwise end them with `scancel {numbers}` (trainings save first), "
        "wait until `squeue --me` no longer shows them, then run the same command again."
    )


def forget_marks(folder: Path | str) -> None:
    """Remove Snakemake's marks of unfinished jobs from existing files in the folders `WHOLE`.

    A Snakemake that is killed after a result appeared, but before it recorded it as finished, leaves such a
    mark. The next start would make the result again and then stop, since rules take their inputs as
    ``ancient``. Marks that cannot be decoded stay.

    Parameters
    ----------
    folder : the working directory.
    """
    marks = Path(folder) / ".snakemake" / "incomplete"
    for mark in [path for path in marks.rglob("*") if path.is_file()]:
        # The name is the file's path in base64, split into folders named "@..." if it is too long.
        code = "".join(part.removeprefix("@") for part in mark.relative_to(marks).parts)
        try:
            name = base64.b64decode(code, altchars=b"-_", validate=True).decode()
        except ValueError:
            continue
        if name.startswith(WHOLE) and (Path(folder) / name).exists():
            mark.unlink(missing_ok=True)


def clear_checkpoints(weights: Iterable[Path | str]) -> None:
    """Remove the checkpoints of trainings whose final weights exist.

    Parameters
    ----------
    weights : paths of final weights; checkpoints are beside them.
    """
    for path in map(Path, weights):
        if path.is_file():
            shutil.rmtree(path.with_name("checkpoints"), ignore_errors=True)


def _jobs(folder: Path) -> list[tuple[str, str]]:
    """Number and rule of the Slurm jobs of this user whose working directory is `folder`."""
    if shutil.which("squeue") is None:
        return []
    command = ["squeue", "--me", "--noheader", "--format=%i|%k|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split("|") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [
        (row[0], row[1].removeprefix("rule_").replace("_wildcards_", " "))
        for row in rows
        if len(row) == 3 and row[1].startswith("rule_") and Path(row[2]).resolve() == folder
    ]
