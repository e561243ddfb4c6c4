"""Stage ``evaluation``: all numbers in one place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluation.per_patch import as_csv
from pipeline.storage.atomic import read_json, write_json, write_text

COLUMNS = (
    "rmse_m",
    "rmse_px",
    "slope_deg",
    "rmse_vs_bicubic",
    "slope_vs_bicubic",
    "rmse_vs_bicubic_window",
    "mae_m",
    "member_rmse_m",
    "spread_skill_fair",
    "crps_fair_m",
    "rank_js_distance",
    "spread_error_correlation",
    "members",
    "nfe",
    "n_patches",
)


def collect_metrics(
    section: str,
    baselines: str,
    floors: Sequence[str],
    systems: Sequence[str],
    metrics: Path | str,
    table: Path | str,
    patches: Path | str | None = None,
) -> None:
    """Merge the parts into ``metrics.json`` (schema ``metrics/1``, docs/formats.md) and a CSV table.

    Parameters
    ----------
    section : the stage's JSON section, with the primary system's name.
    baselines, floors, systems : JSON parts; without a VAE there are no floors.
    metrics, table : files to write.
    patches : table of every patch's scores to write (`pipeline.evaluation.per_patch`).

    Raises
    ------
    ValueError
        If the primary system is not among the parts.
    """
    primary = json.loads(section)["primary"]
    first = read_json(baselines, "evaluation_part/1")
    base = first["systems"]
    floor: dict[str, Any] = {"floors": {}, "models": {}}
    for path in floors:
        floor = read_json(path, "evaluation_part/1")
    parts = [read_json(path, "evaluation_part/1") for path in systems]
    rows: dict[str, Any] = {**base}
    conditions: dict[str, Any] = {}
    models: dict[str, Any] = dict(floor["models"])
    for part in parts:
        rows |= part["systems"]
        models |= part["models"]
        for label, found in part["conditions"].items():
            entry = conditions.setdefault(label, {"settings": part["settings"][label], "systems": {}})
            entry["systems"] |= found
    if primary not in rows:
        raise ValueError(f"primary: expected one of {sorted(rows)}, found {primary!r}")
    groups = [rows, floor["floors"], *(entry["systems"] for entry in conditions.values())]
    for group in groups:
        for row in group.values():
            row["rmse_vs_bicubic"] = row["rmse_m"] / base["bicubic"]["rmse_m"]
            row["slope_vs_bicubic"] = row["slope_deg"] / base["bicubic"]["slope_deg"]
            row["rmse_vs_bicubic_window"] = row["rmse_m"] / base["bicubic_window"]["rmse_m"]
            row["slope_vs_bicubic_window"] = row["slope_deg"] / base["bicubic_window"]["slope_deg"]
    write_json(
        metrics,
        {
            "schema": "metrics/1",
            "primary": primary,
            "systems": rows,
            "floors": floor["floors"],
            "conditions": conditions,
            "models": models,
        },
    )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("condition", "system", *COLUMNS))
    listed = [("main", name, row) for name, row in rows.items()]
    listed += [("floor", name, row) for name, row in floor["floors"].items()]
    for label, entry in conditions.items():
        if label != "main":
            listed += [(label, name, row) for name, row in entry["systems"].items()]
    for label, name, row in listed:
        writer.writerow((label, name, *(_shown(row.get(column)) for column in COLUMNS)))
    write_text(table, out.getvalue())
    if patches is not None:
        write_text(patches, as_csv(_every_patch([first, floor, *parts])))


def _every_patch(parts: Sequence[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    """The patches' scores of all parts by condition and system, the main condition first."""
    found = {
        (label, name): table
        for part in parts
        for label, group in part.get("patches", {}).items()
        for name, table in group.items()
    }
    order = {
        label: place for place, label in enumerate(dict.fromkeys(("main", "floor", *(k[0] for k in found))))
    }
    return dict(sorted(found.items(), key=lambda item: order[item[0][0]]))


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
