"""Explains which stages would run again and why: compares the present plan with the last run's record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.storage.atomic import read_json


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Leaves that differ between two JSON values, as ``key.path: old -> new``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}".lstrip("."))
    elif old != new:
        yield f"{path}: {_shown(old)} -> {_shown(new)}"


_ABSENT = object()


def _shown(value: Any) -> str:
    return "nothing" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def explain(now: dict[str, Any], before: dict[str, Any] | None, root: Path) -> list[str]:
    """One line per stage that changed or has no results, in the order of the plan.

    Parameters
    ----------
    now : `Plan.record` of the present config and code.
    before : ``stages.json`` of the last run of the same name, or None.
    root : working directory of the workflow.

    Returns
    -------
    Lines of text; a line that begins with ``config`` states a changed key of the config.
    """
    if before is None:
        return [f"{name}: runs, as this run has no record yet" for name in now["stages"]]
    lines = [f"config {line}" for line in differences(before["config"], now["config"])]
    versions = list(differences(before["versions"], now["versions"]))
    were = before["stages"]
    moved = {name for name, stage in now["stages"].items() if were.get(name, {}).get("key") != stage["key"]}
    for name, stage in now["stages"].items():
        old, folder = were.get(name), root / stage["folder"]
        stored = Path(stage["folder"]).parts[:2] == ("results", "store")
        made = stored and _holds_results(folder)
        if name not in moved:
            if stored and not made:
                lines.append(f"{name}: runs when it is needed, as {stage['folder']} has no results")
            continue
        reasons = _reasons(old, stage, versions, moved)
        does = f"is found again in {stage['folder']}" if made else "runs"
        lines.append(f"{name}: {does}, as {'; '.join(reasons)}")
    return lines + [f"{name}: is no longer part of the run" for name in were if name not in now["stages"]]


def _holds_results(folder: Path) -> bool:
    """Whether a stage's folder holds a finished file; checkpoints and half-written files do not count."""
    return folder.is_dir() and any(p.is_file() and not p.name.startswith(".") for p in folder.iterdir())


def _reasons(
    old: dict[str, Any] | None, new: dict[str, Any], versions: list[str], moved: set[str]
) -> list[str]:
    """Why a stage's key has changed."""
    if old is None:
        return ["it is new"]
    found = []
    settings = list(differences(json.loads(old["section"]), json.loads(new["section"])))
    if settings:
        found.append("its settings changed (" + ", ".join(settings) + ")")
    if old["code"] != new["code"]:
        found.append("its code changed")
    before = [name for name in new["inputs"] if name in moved]
    if before:
        found.append("it follows " + ", ".join(before))
    if versions:
        found.append("packages changed (" + ", ".join(versions) + ")")
    return found or ["its input files changed"]


def tell(record: str, root: Path) -> str:
    """The text that ``make why`` prints: the lines of `explain`.

    Parameters
    ----------
    record : JSON of `Plan.record`. root : working directory of the workflow.
    """
    now = json.loads(record)
    path = root / "results" / now["run"] / "stages.json"
    before = read_json(path, "stages/1") if path.is_file() else None
    lines = explain(now, before, root)
    same = "Nothing has changed since the last run: every stage keeps its results."
    return "\n".join(lines) if lines else same
