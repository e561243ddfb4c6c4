"""A training long enough to be disturbed, on a finished tiny run, and what must be the same in the end."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

SAMPLES = 480
# The last training takes 60 steps and saves after each.
SLOW = f"""\
bridge: {{stages: {{missing: {{samples: {SAMPLES}}}}}}}
runtime: {{checkpoint_minutes: 1.0e-6}}
"""
CONFIG = ("--configfile", "config/tiny.yaml", "slow.yaml")
TARGETS = ("evaluation", "region", *CONFIG)


#: What names the commands and histories of a run, and so differs where these do.
PAGES = ("tiny/report.html", "tiny/bundle.zip", "tiny/stages.json")


def artefacts(folder: Path, but: Collection[str] = PAGES) -> dict[str, str]:
    """Digests of the final artefacts: files of store and run, but for times, event files and `but`."""
    results = folder / "results"
    files = [p for part in ("store", "tiny") for p in (results / part).rglob("*") if p.is_file()]
    found = {
        path.relative_to(results).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.endswith(".timing.json")
        and path.parent.name != "events"  # TensorBoard's hold times
        and not path.is_relative_to(results / "tiny" / "store")
    }
    return {name: digest for name, digest in found.items() if name not in but}


def copied(source: Path, target: Path) -> Path:
    """A copy of a run's working directory that may be spoiled."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("results", ".snakemake", "config", "slow.yaml"):
        path = source / name
        if path.is_symlink() or path.is_file():
            shutil.copy(path, target / name, follow_symlinks=False)
        elif path.is_dir():
            shutil.copytree(path, target / name, symlinks=True)
    shutil.rmtree(target / ".snakemake" / "locks", ignore_errors=True)
    return target


def undisturbed(source: Path, target: Path, snakemake: Callable) -> Path:
    """A copy of a finished tiny run, on which the slow training and what follows it ran undisturbed."""
    folder = copied(source, target)
    (folder / "slow.yaml").write_text(SLOW)
    done = snakemake(folder, "-c2", *TARGETS)
    assert done.returncode == 0, done.text[-5000:]
    return folder


def training(folder: Path) -> Path:
    """Folder of the slow training's results."""
    found = [
        path.parent
        for path in (folder / "results" / "store" / "bridge_missing").glob("*/run.json")
        if json.loads(path.read_text())["section"]["optimiser"]["samples"] == SAMPLES
    ]
    assert len(found) == 1
    return found[0]


def before_training(reference: Path, target: Path) -> Path:
    """A copy of the undisturbed run as it was before the slow training; returns the training's folder."""
    folder = copied(reference, target)
    place = training(folder)
    shutil.rmtree(place)
    place.mkdir()
    shutil.rmtree(folder / "results" / "tiny" / "region")
    for path in (folder / "results" / "tiny" / "evaluation").rglob("*"):
        if path.name.startswith(("bridge_missing", "metrics")):
            path.unlink()
    return place
