"""Stage ``evaluation``: the scores of all predictors, merged into one file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.stages.evaluation import CollectStage, PredictorStage
from pipeline.evaluation.ensembles import LEVELS
from pipeline.evaluation.per_patch import as_csv
from pipeline.evaluation.surfaces import BAND_NAMES
from pipeline.storage.atomic import read_json, write_json, write_text

COLUMNS = (
    "rmse_m", "rmse_px", "slope_deg", "rmse_vs_bicubic", "slope_vs_bicubic", "rmse_vs_bicubic_window",
    "mae_m", "member_rmse_m", "spread_skill_fair", "crps_fair_m", "rank_js_distance",
    "spread_error_correlation", "members", "nfe", "n_patches",
    "rmse_case_mean_m", "bias_m", "abs_error_p75_m", "le90_m", "abs_error_p95_m", "abs_error_p99_m",
    "slope_angle_deg", "aspect_deg", "roughness_error_m", "roughness_ratio",
    *(f"power_ratio_{band}px" for band in BAND_NAMES), "ssim", "psnr_db", "prior_rmse_m", "rmse_vs_prior",
    "cells_rms_m", "withheld_residual", "withheld_vs_prior", "member_mae_m", "member_rmse_case_mean_m",
    "member_ssim", *(f"member_power_ratio_{band}px" for band in BAND_NAMES), "spread_skill_plain",
    "spread_skill_yasuda", "spread_skill_case_mean", "crps_plain_m", "energy_fair_m",
    *(f"coverage_{level}" for level in LEVELS), "n_sites", "n_blocks",
)  # fmt: skip


def make_part(
    section: PredictorStage, rows: Mapping[str, Mapping[str, Any]], models: Mapping[str, Any]
) -> dict[str, Any]:
    """One predictor's part of the metrics, schema ``evaluation_part/2``.

    Parameters
    ----------
    section : of the predictor's stage. rows : pooled scores by heading. models : see `models_of`.
    """
    nfe = {
        label: {k: v for k, v in section.options_under(condition).items() if k == "nfe"}
        for label, condition in section.headings.items()
    }
    return {
        "schema": "evaluation_part/2",
        "name": section.name,
        "rows": {label: {**row, **nfe[label]} for label, row in rows.items()},
        "settings": {label: c.model_dump(mode="json") for label, c in section.conditions.items()},
        "models": dict(models),
    }


def models_of(section: PredictorStage, files: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Fingerprints and training keys of a predictor's weights by name, from ``config.json`` beside them.

    Parameters
    ----------
    section : of the predictor's stage. files : paths of its weights by role, ``model`` and ``vae``.

    Raises
    ------
    FileNotFoundError
        If there is no ``config.json``.
    ValueError
        If it is not of schema ``model/1``.
    """
    models = {}
    for role, label in (("model", section.name), ("vae", section.vae)):
        for path in files.get(role, ()):
            config = read_json(Path(path).with_name("config.json"), "model/1")
            models[label] = {"fingerprint": config["fingerprint"], "key": config.get("key")}
    return models


def merged(primary: str, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``metrics.json`` (schema ``metrics/1``, docs/formats.md) of all parts.

    Parameters
    ----------
    primary : name of the primary system. parts : contents of schema ``evaluation_part/2``, in the order of
        the table's rows; among them those of ``bicubic`` and ``bicubic_window``, to which all are compared.

    Raises
    ------
    ValueError
        If the primary system is not among the parts.
    KeyError
        If one of the two bicubics is not.
    """
    out: dict[str, Any] = {"schema": "metrics/1", "primary": primary}
    groups = ("systems", "floors", "conditions", "models")
    rows, floors, conditions, models = (out.setdefault(name, {}) for name in groups)
    for part in parts:
        models |= part["models"]
        for label, row in part["rows"].items():
            if label in ("main", "floor"):
                (rows if label == "main" else floors)[part["name"]] = row
            if label in part["settings"]:
                entry = conditions.setdefault(label, {"settings": part["settings"][label], "systems": {}})
                entry["systems"][part["name"]] = row
    if primary not in rows:
        raise ValueError(f"primary: expected one of {sorted(rows)}, found {primary!r}")
    bases = {base: dict(rows[base]) for base in ("bicubic", "bicubic_window")}
    for group in (rows, floors, *(entry["systems"] for entry in conditions.values())):
        for row in group.values():
            for base, of in bases.items():
                row[f"rmse_vs_{base}"] = row["rmse_m"] / of["rmse_m"]
                row[f"slope_vs_{base}"] = row["slope_deg"] / of["slope_deg"]
    return out


def table_of(metrics: Mapping[str, Any]) -> str:
    """Text of ``metrics.csv``: rows of the main condition, the floors and the other conditions."""
    groups = {"main": metrics["systems"], "floor": metrics["floors"]}
    groups |= {label: entry["systems"] for label, entry in metrics["conditions"].items() if label != "main"}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("condition", "system", *COLUMNS))
    for label, group in groups.items():
        for name, row in group.items():
            writer.writerow((label, name, *(_shown(row.get(column)) for column in COLUMNS)))
    return out.getvalue()


def collect_metrics(
    section: CollectStage,
    parts: Sequence[Path | str],
    metrics: Path | str,
    table: Path | str,
    patches: Path | str,
) -> None:
    """Merge all predictors' parts.

    Parameters
    ----------
    section : with the primary system's name. parts : files that `pipeline.evaluation.stage` wrote.
    metrics, table, patches : files to write: JSON, CSV, and every patch's scores
        (`pipeline.evaluation.per_patch`).

    Raises
    ------
    ValueError
        If the primary system is not among the parts, or a file is of another schema.
    """
    read = [read_json(path, "evaluation_part/2") for path in parts]
    scores = merged(section.primary, read)
    write_json(metrics, scores)
    write_text(table, table_of(scores))
    write_text(patches, as_csv(_every_patch(read)))


def _every_patch(parts: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Any]:
    """The patches' scores of all parts by condition and system: main condition, floors, others."""
    tables = {(label, part["name"]): t for part in parts for label, t in part["patches"].items()}
    order = list(dict.fromkeys(("main", "floor", *(label for label, _ in tables))))
    return dict(sorted(tables.items(), key=lambda item: order.index(item[0][0])))


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
