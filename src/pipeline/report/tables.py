"""Sections of the report with numbers: headline, given weights, scores, region, provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from pipeline.config.names import BRIDGE_STAGES, SystemName
from pipeline.evaluation.ensembles import LEVELS
from pipeline.evaluation.pooled import CLASSES
from pipeline.evaluation.surfaces import BAND_NAMES
from pipeline.report.data import ReportData
from pipeline.report.figures.scores import draw_ranks, draw_scores
from pipeline.report.html import Column, Part, fill, note, number, part

_ERRORS = (
    Column("rmse_m", "RMSE", "m", "low"),
    Column("rmse_px", "RMSE", "pixels", "low"),
    Column("slope_deg", "slope error", "°", "low"),
    Column("rmse_vs_bicubic", "RMSE / bicubic", "ratio", "low"),
    Column("rmse_vs_bicubic_window", "RMSE / bicubic_window", "ratio", "low"),
    Column("slope_vs_bicubic", "slope / bicubic", "ratio", "low"),
    Column("slope_vs_bicubic_window", "slope / bicubic_window", "ratio", "low"),
    Column("mae_m", "mean abs. error", "m", "low"),
    Column("member_rmse_m", "RMSE of one clone", "m", "low"),
    Column("n_patches", "patches", ""),
)
_CALIBRATION = (
    Column("spread_skill_fair", "spread / skill", "ratio, 1 is reliable", "one"),
    Column("crps_fair_m", "CRPS, fair", "m", "low"),
    Column("rank_js_distance", "rank JS distance", "0 is flat", "low"),
    Column("spread_error_correlation", "spread–error correlation", "", "high"),
    Column("members", "clones", ""),
    Column("nfe", "NFE", "evaluations per clone"),
)
_DETAILS = (
    Column("bias_m", "bias", "m"),
    Column("abs_error_p75_m", "abs. error, 75 %", "m", "low"),
    Column("le90_m", "LE90", "m", "low"),
    Column("abs_error_p95_m", "abs. error, 95 %", "m", "low"),
    Column("abs_error_p99_m", "abs. error, 99 %", "m", "low"),
    Column("slope_angle_deg", "slope angle error", "°", "low"),
    Column("aspect_deg", "aspect error", "°", "low"),
    Column("roughness_ratio", "roughness / true", "ratio", "one"),
    *(
        Column(f"power_ratio_{band}px", f"power / true, {band.replace('_', '–')} px", "ratio", "one")
        for band in BAND_NAMES
    ),
    Column("ssim", "SSIM", "1 is equal", "high"),
    Column("psnr_db", "PSNR", "dB", "high"),
    Column("cells_rms_m", "block means off", "m", "low"),
    Column("prior_rmse_m", "RMSE of the a priori DEM", "m"),
)
_SPREAD = (
    Column("spread_skill_plain", "spread / skill, plain", "ratio"),
    Column("spread_skill_yasuda", "mean std / RMSE", "ratio"),
    Column("crps_plain_m", "CRPS, plain", "m", "low"),
    Column("energy_fair_m", "energy score, fair", "m", "low"),
    *(Column(f"coverage_{level}", f"in the {level} % interval", "share") for level in LEVELS),
    Column("member_rmse_case_mean_m", "RMSE per clone and patch", "m", "low"),
    Column("member_ssim", "SSIM of one clone", "1 is equal", "high"),
    *(
        Column(
            f"member_power_ratio_{band}px",
            f"clones' power / true, {band.replace('_', '–')} px",
            "ratio",
            "one",
        )
        for band in BAND_NAMES
    ),
)
_OVER_SITES = (
    Column("rmse_m", "RMSE", "m"),
    Column("slope_deg", "slope error", "°"),
    Column("spread_skill_fair", "spread / skill", "ratio"),
    Column("crps_fair_m", "CRPS, fair", "m"),
    Column("n_sites", "sites", ""),
    Column("n_blocks", "blocks", ""),
)
_TERRAIN = (
    ("rmse_m", "RMSE", "m", "low"),
    ("slope_deg", "slope error", "°", "low"),
    ("spread_skill_fair", "spread / skill", "ratio", "one"),
)
_SHORT = (*_ERRORS[:5], *_CALIBRATION[:2], _ERRORS[-1])


def headline(data: ReportData) -> Markup:
    """The primary system's numbers."""
    return fill("headline.html", row=data.metrics["systems"][data.primary])


def weights_part(data: ReportData) -> Part:
    """Facts about given weights, instead of training curves."""
    rows = [(name, _text(value)) for name, value in (data.given or {}).items()]
    return part("weights", "Given weights", data, rows=rows)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if value is None or isinstance(value, (int, float)) else str(value)


def scores_part(data: ReportData) -> Part:
    """All scores: systems, calibration, floors, other conditions."""
    metrics, primary = data.metrics, data.primary
    systems = {name: metrics["systems"][name] for name in data.ordered(metrics["systems"])}
    histogram = systems[primary].get("rank_histogram") or []
    others = sorted(label for label in metrics["conditions"] if label != "main")
    rows = {label: metrics["conditions"][label]["systems"] for label in others}
    title = f"Rank histogram of {primary}, main condition"
    return part(
        "scores",
        "Scores",
        data,
        figure=draw_scores(systems, primary, [name for name in systems if name not in metrics["models"]]),
        systems=systems,
        trained={name: row for name, row in systems.items() if "members" in row},
        ranks=draw_ranks(histogram, title) if histogram else None,
        bins=len(histogram),
        conditions={label: {name: r[name] for name in data.ordered(r)} for label, r in rows.items()},
        errors=_ERRORS,
        calibration=_CALIBRATION,
        details=_DETAILS,
        spread=_SPREAD,
        over_sites=_OVER_SITES,
        sites={name: _with_sites(row) for name, row in systems.items() if "n_sites" in row},
        classes=[
            Column(f"{key}_{name}", f"{text}, {name}", unit, best)
            for key, text, unit, best in _TERRAIN
            for name in CLASSES
        ],
        terrain={name: _by_class(row) for name, row in systems.items() if "terrain_rmse_m" in row},
        edges=systems[primary].get("terrain_edges_deg"),
        unranked=[replace(column, best="none") for column in _ERRORS],
        short=_SHORT,
    )


def _with_sites(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with intervals over sites instead of patches."""
    keys = ("rmse_m", "slope_deg", "spread_skill_fair", "crps_fair_m")
    return {**row, **{f"{key}_ci95": row.get(f"{key}_ci95_sites") for key in keys}}


def _by_class(row: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of the classes of terrain, each under its own key."""
    keys = (key for key, *_ in _TERRAIN if f"terrain_{key}" in row)
    return {f"{key}_{name}": value for key in keys for name, value in zip(CLASSES, row[f"terrain_{key}"])}


def region_part(data: ReportData) -> Part:
    """The reconstructed region."""
    if data.region is None:
        return Part("region", "Region", note("No region was reconstructed in this run."))
    columns = (*_ERRORS[:3], _ERRORS[7], *_CALIBRATION[:4])
    return part("region", "Region", data, metrics=data.region.metrics, columns=columns)


def _in_order(data: ReportData) -> list[tuple[str, dict[str, Any]]]:
    """Stages after their inputs: data, trainings in their order, evaluations, the rest."""
    stages = data.record["stages"]
    last = ("evaluation", "region", "report", "bundle")
    names = [str(SystemName(system, stage)) for system in data.config["systems"] for stage in BRIDGE_STAGES]
    trained = [n for n in ("vae", *names) if n in stages]
    parts = data.ordered(n.removeprefix("evaluation_") for n in stages if n.startswith("evaluation_"))
    scored = [f"evaluation_{n}" for n in parts]
    wanted = [*trained, *scored, *last]
    ranks = {name: wanted.index(name) if name in wanted else -1 for name in stages}
    out: dict[str, dict[str, Any]] = {}
    while len(out) < len(stages):
        ready = [n for n in stages if n not in out and all(i in out for i in stages[n]["inputs"])]
        if not ready:
            raise ValueError("stages.json: expected stages whose inputs are stages, found a cycle or a gap")
        name = min(ready, key=lambda n: (ranks[n], n))
        out[name] = stages[name]
    return list(out.items())


def provenance_part(data: ReportData) -> Part:
    """Stages, models, inputs, packages and the configuration."""
    models = data.metrics.get("models", {})
    stages = _in_order(data)
    return part(
        "provenance",
        "Provenance",
        data,
        stages=[(n, s["key"], s["code"][:12], ", ".join(s["inputs"]) or "–") for n, s in stages],
        models=[(n, models[n]["fingerprint"], models[n]["key"] or "–") for n in data.ordered(models)],
        config=json.dumps(data.config, indent=1, sort_keys=True, ensure_ascii=False),
    )
