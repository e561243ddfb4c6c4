"""Add rows to a stored metrics file: systems that were scored one by one, on the same patches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluation.collect import merged
from pipeline.storage.atomic import read_json, write_json

#: Numbers that all systems share under a condition: of the patches, and of the a priori DEMs.
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
        before.append({key: part[key] for key in ("name", "rows", "settings", "models")})
    write_json(kept, merged(primary if stored is None else stored["primary"], before))


def _parts(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A metrics file as parts, one per system and VAE."""
    groups = {label: metrics.get(key, {}) for label, key in _LABELS.items()}
    conditions = metrics.get("conditions", {})
    groups |= {label: entry["systems"] for label, entry in conditions.items()}
    for name in dict.fromkeys(name for rows in groups.values() for name in rows):
        rows = {label: rows[name] for label, rows in groups.items() if name in rows}
        of_row = {label: conditions[label]["settings"] for label in rows if label in conditions}
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
            for key in _SHARED:
                one, two = row.get(key), other["rows"].get(label, {}).get(key)
                if None not in (one, two) and not math.isclose(one, two, rel_tol=1e-6):
                    raise ValueError(
                        f"{path}: {label}: {key}: expected {two} as of {other['name']}, found {one}: "
                        "other patches or light"
                    )
