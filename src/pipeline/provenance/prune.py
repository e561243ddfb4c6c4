"""``make prune``: list, and on demand remove, folders of ``results/store`` that no run refers to any more.

A run refers to the folders in its ``results/<run>/stages.json``: those of its stages, and those of given
weights that it uses or starts from. Within these, hidden files and folders that a killed job left half
written are removed. Nothing is removed while a workflow runs here, and nothing that changed recently, since a
run that has not yet written its record refers to no folder.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.provenance.controllers import Busy, no_controller
from pipeline.provenance.leftovers import LeftoverJobs, refuse_leftovers
from pipeline.provenance.plan import STORE
from pipeline.storage.atomic import read_json

LOCK = ".training.lock"  # `pipeline.training.writer`
_KEY = re.compile(r"[0-9a-f]{12}")
# A folder gets this name before its files are removed, so that no folder is incomplete under its own name.
_GOING = re.compile(r"\.[0-9a-f]{12}\.pruned")
_DAY = 86400.0


class PruneError(RuntimeError):
    """The store cannot be pruned now; the message says why and what to do."""


@dataclass(frozen=True)
class Unnamed:
    """A folder that no run refers to, or a half-written file: path, bytes, last change (s since 1970)."""

    folder: Path
    size: int
    changed: float


@dataclass(frozen=True)
class Found:
    """Content of the store.

    Attributes
    ----------
    runs : names of the runs that have a record.
    named : number of existing folders that they refer to.
    unnamed : what may be removed. young : the same, but changed recently: it is kept.
    """

    runs: list[str]
    named: int
    unnamed: list[Unnamed]
    young: list[Unnamed]


def survey(root: Path, days: float = 1.0, now: float | None = None) -> Found:
    """List the content of the store; change nothing.

    Parameters
    ----------
    root : working directory of the workflow.
    days : folders with a change within this number of days are `young`.
    now : time to count from, seconds since 1970; the clock's by default.

    Raises
    ------
    PruneError
        If a run's record cannot be read: the folders that it refers to are then unknown.
    """
    now = time.time() if now is None else now
    runs, names = [], set()
    for path in sorted((root / "results").glob("*/stages.json")):
        try:
            record = read_json(path, "stages/1")
            names |= {(root / stage["folder"]).resolve() for stage in record["stages"].values()}
            for weights in _given(record.get("found", {})):
                names |= set((root / weights).resolve().parents)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PruneError(
                f"{path.relative_to(root)}: expected the record of a run, found one that cannot be read "
                f"({error}); make it again (`snakemake --configfile … -c1 run_record`) or delete the run's "
                "folder"
            ) from None
        runs.append(path.parent.name)
    named = 0
    unnamed: list[Unnamed] = []
    young: list[Unnamed] = []
    for folder in _folders(root):
        known = folder.resolve() in names
        named += known
        for path in _half_written(folder) if known else [folder]:
            found = _measured(path)
            (young if now - found.changed < days * _DAY else unnamed).append(found)
    return Found(runs, named, unnamed, young)


def remove(root: Path, found: Found) -> list[Unnamed]:
    """Remove the `unnamed` folders of a survey, and the rest of an interrupted removal.

    Returns
    -------
    What was removed; entries that changed after the survey are kept.

    Raises
    ------
    PruneError
        If no run has a record, or a workflow runs here (or a killed one left its lock).
    Busy
        If a controller that is alive works here.
    LeftoverJobs
        If Slurm still has jobs of this workflow.
    """
    with no_controller(root):
        return _removed(root, found)


def _removed(root: Path, found: Found) -> list[Unnamed]:
    """`remove`, while no controller can start."""
    if not found.runs and (found.unnamed or found.young):
        raise PruneError(
            f"results/*/stages.json: expected the record of at least one run, found none, so all of {STORE} "
            "would go; finish a run, or delete that folder by hand"
        )
    locks = root / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        raise PruneError(
            f"{locks.relative_to(root)}: expected no workflow at work here, found its lock; wait until it "
            "has ended, or, when it was killed, `snakemake --unlock`"
        )
    refuse_leftovers(root)
    gone = [e for e in found.unnamed if not _trains(e.folder) and _measured(e.folder).changed == e.changed]
    for path in (entry.folder for entry in gone):
        if _KEY.fullmatch(path.name):
            path.rename(path.with_name(f".{path.name}.pruned"))
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for folder in list(_folders(root, _GOING)):
        shutil.rmtree(folder)
    for stage in {entry.folder.parent for entry in gone}:
        if not any(stage.iterdir()):
            stage.rmdir()
    return gone


def _given(found: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the weights that a run uses without training them, or starts a training from."""
    several = [*found.get("rivals", {}).values(), *found.get("init", {}).values()]
    for weights in (found.get("given") or {}, *several):
        for role in ("model", "vae", "calibration"):
            if weights.get(role):
                yield weights[role]


def _folders(root: Path, name: re.Pattern[str] = _KEY) -> Iterator[Path]:
    """Folders ``<stage>/<key>`` of the store, without links and anything else."""
    for folder in sorted((root / STORE).glob("*/*")):
        links = folder.is_symlink() or folder.parent.is_symlink()
        if name.fullmatch(folder.name) and folder.is_dir() and not links:
            yield folder


def _half_written(folder: Path) -> list[Path]:
    """What a killed job left in a folder: `pipeline.storage` writes under hidden names until complete."""
    return [p for p in sorted(folder.iterdir()) if p.name.startswith(".") and p.name != LOCK]


def _measured(folder: Path) -> Unnamed:
    """Bytes and last change of a file, or of a folder with its whole content."""
    size, changed = 0, folder.lstat().st_mtime
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        size += status.st_size if path.is_file() else 0
        changed = max(changed, status.st_mtime)
    return Unnamed(folder, size, changed)


def _trains(folder: Path) -> bool:
    """Whether a training holds the folder."""
    lock = folder / LOCK
    if not lock.is_file():
        return False
    with lock.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def table(root: Path, found: Found, days: float, removed: bool) -> str:
    """What `make prune` prints."""

    def line(entry: Unnamed, remark: str = "") -> str:
        day = time.strftime("%Y-%m-%d", time.localtime(entry.changed))
        return f"{_bytes(entry.size):>9}  {day}  {entry.folder.relative_to(root)}{remark}"

    rows = [line(entry) for entry in found.unnamed]
    rows += [line(entry, f"  (kept: changed within {days:g} days)") for entry in found.young]
    total = _bytes(sum(entry.size for entry in found.unnamed))
    by = ", ".join(found.runs) or "none"
    does = "removed" if removed else "may go"
    rows.append(f"{does}: {len(found.unnamed)}, {total}, that no run names or a kill left half written")
    rows.append(f"kept: {found.named} folders that runs name ({by})")
    if found.unnamed and not removed:
        rows.append("`make prune CONFIRM=1` removes what may go")
    return "\n".join(rows)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0 on success, 1 if the store cannot be pruned now."""
    parser = argparse.ArgumentParser(prog="prune", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--confirm", action="store_true", help="remove; without it, list")
    parser.add_argument("--days", type=float, default=1.0, help="keep what changed in so many days")
    parser.add_argument("--root", type=Path, default=Path(), help="working directory of the workflow")
    given = parser.parse_args(arguments)
    if not given.days >= 0:
        parser.error(f"--days: expected a number >= 0, found {given.days}")
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    try:
        found = survey(given.root, given.days)
        if given.confirm:
            found = replace(found, unnamed=remove(given.root, found))
    except (PruneError, Busy, LeftoverJobs, OSError) as error:
        logging.getLogger(__name__).error("prune: %s", error)
        return 1
    print(table(given.root, found, given.days, given.confirm))
    return 0


if __name__ == "__main__":
    sys.exit(main())
