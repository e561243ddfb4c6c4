"""Add rows to a stored metrics file: systems that were scored one by one, on the same patches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluation.collect import merged
from pipeline.storage.atomic import read_json, write_json

#: Numbers that systems share under a condition: of the patches, and of the a priori DEMs, of which there are
#: two where some systems see the cells around a patch and others do not.
_SHARED = ("n_patches", "prior_rmse_m")
_LABELS = {"main": "systems", "floor": "floors"}


def add_parts(kept: Path | str, parts: Sequence[Path | str], primary: str = "pretrained") -> None:
    """Add the rows of evaluation parts to a metrics file, or replace those of the same names.

    Parameters
    ----------
    kept : metrics file, schema ``metrics/1``; made if there is none.
    parts : files ``results/<run>/evaluation/parts/<system>.json``.
    primary : the primary system of a new file.

    Raises
    ------
    ValueError
        If a file has another schema, a condition has other settings, patches or a priori DEMs than in the
        file, or a new file lacks a bicubic or the primary system. The file stays as it was.
    """
    kept = Path(kept)
    stored = read_json(kept, "metrics/1") if kept.is_file() else None
    added = {path: read_json(path, "evaluation_part/2") for path in map(Path, parts)}
    names = {part["name"] for part in added.values()}
    before = [part for part in _parts(stored or {}) if part["name"] not in names]
    for path, part in added.items():
        _check(path, part, before)
    write_json(kept, merged(primary if stored is None else stored["primary"], [*before, *added.values()]))


def _parts(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A metrics file as parts, one per system and VAE."""
    groups = {label: metrics.get(key, {}) for label, key in _LABELS.items()}
    conditions = metrics.get("conditions", {})
    for label, entry in conditions.items():
        groups[label] = {**groups.get(label, {}), **entry["systems"]}
    for name in dict.fromkeys(name for rows in groups.values() for name in rows):
        rows = {label: rows[name] for label, rows in groups.items() if name in rows}
        # The bicubics have a row of the main condition, and no settings, since no image counts for them.
        of_row = {c: entry["settings"] for c, entry in conditions.items() if name in entry["systems"]}
        models = {name: metrics["models"][name]} if name in metrics["models"] else {}
        yield {"name": name, "rows": rows, "settings": of_row, "models": models}


def _check(path: Path, part: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> None:
    for label, row in part["rows"].items():
        for other in others:
            found, wanted = part["settings"].get(label), other["settings"].get(label)
            if None not in (found, wanted) and found != wanted:
                raise ValueError(
                    f"{path}: {label}: expected the settings {wanted} of {other['name']}, found {found}"
                )
        rows = [other["rows"][label] for other in others if label in other["rows"]]
        for key in _SHARED:
            value, known = row.get(key), sorted({each[key] for each in rows if key in each})
            if value is not None and known and not any(math.isclose(value, x, rel_tol=1e-6) for x in known):
                wanted = " or ".join(f"{x:.6g}" for x in known)
                raise ValueError(
                    f"{path}: {label}: {key}: expected {wanted} as in the file, found {value:.6g}: other "
                    "patches or light"
                )
