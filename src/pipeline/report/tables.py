"""Parts of the report that are numbers: headline, given weights, scores, region, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.config.names import BRIDGE_STAGES, SystemName
from pipeline.report.data import ReportData
from pipeline.report.figures.scores import draw_ranks, draw_scores
from pipeline.report.html import (
    Column,
    Keys,
    Part,
    cards,
    collapsed,
    note,
    number,
    paragraph,
    picture,
    score_table,
    text_table,
)

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
    Column("nfe", "NFE", "evaluations a clone"),
)
_SHORT = (*_ERRORS[:5], *_CALIBRATION[:2], _ERRORS[-1])

_DEFINITIONS = (
    "RMSE is pooled over all pixels of the test patches, of the mean of the clones. The slope error is "
    "the mean of atan|difference of the gradients| along x and y (Repasky et al. 2026). bicubic is the "
    "published baseline, of the patch's own a priori cells; bicubic_window also uses the cells around the "
    "patch; photometric is photometric stereo in closed form, without learning. "
)


def headline(data: ReportData) -> str:
    """The primary system's numbers."""
    row = data.metrics["systems"][data.primary]
    items = [
        ("RMSE", f"{number(row['rmse_m'])} m", _of_pixel(row)),
        ("Slope error", f"{number(row['slope_deg'])}°", _interval(row, "slope_deg", "°")),
    ]
    for key, name in (
        ("rmse_vs_bicubic", "RMSE / bicubic"),
        ("rmse_vs_bicubic_window", "RMSE / bicubic_window"),
        ("slope_vs_bicubic", "Slope error / bicubic"),
        ("slope_vs_bicubic_window", "Slope error / bicubic_window"),
    ):
        if key in row:
            items.append((name, number(row[key]), _interval(row, key, "") or "below 1 is better"))
    intervals = (
        f"Over {row['n_patches']:,} test patches; brackets are 95 % bootstrap intervals over patches. "
        "bicubic is the published baseline, bicubic_window also uses the cells around the patch. All "
        "numbers: "
    )
    return cards(items) + (f'<p class="lead">{intervals}<a href="#scores">Scores</a>.</p>\n')


def _of_pixel(row: Mapping[str, Any]) -> str:
    return f"{_interval(row, 'rmse_m', ' m')} {number(row['rmse_px'])} of a pixel".strip()


def _interval(row: Mapping[str, Any], key: str, unit: str) -> str:
    found = row.get(f"{key}_ci95")
    return f"[{number(found[0])}, {number(found[1])}]{unit}" if found else ""


def weights_part(given: Mapping[str, Any]) -> Part:
    """Given weights, in the place of training curves."""
    rows = [(name, "–" if value is None else _said(value)) for name, value in given.items()]
    body = paragraph("Nothing was trained in this run: the weights were given (config section pretrained).")
    return Part("weights", "Given weights", body + text_table("The weights.", ("fact", "value"), rows))


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, (int, float)) else str(value)


def scores_part(data: ReportData) -> Part:
    """All scores: systems, calibration, floors, other conditions."""
    keys = Keys(data.config)
    metrics, primary = data.metrics, data.primary
    systems = {name: metrics["systems"][name] for name in data.ordered(metrics["systems"])}
    shown = (
        "evaluation.conditions.main",
        "evaluation.max_patches",
        "evaluation.bootstrap",
        "evaluation.seed",
    )
    body = picture(
        draw_scores(systems, primary, [name for name in systems if name not in metrics["models"]]),
        "RMSE and slope error of every system with 95 percent intervals",
        "RMSE (m) and slope error (°) of the main condition with 95 % intervals over patches. Orange: "
        f"{primary}; blue: other trained systems; grey squares: baselines without learning. The axis is "
        "logarithmic where systems differ by more than 8 times.",
        keys(*shown),
    )
    body += score_table(
        f"Errors, main condition. {_DEFINITIONS}Brackets: 95 % bootstrap intervals over patches. Bold: "
        "best of the column.",
        _ERRORS, systems, keys(*shown), primary,
    )  # fmt: skip
    trained = {name: row for name, row in systems.items() if "members" in row}
    if trained:
        body += score_table(
            "Calibration of the clones, main condition. spread / skill: fair ratio of the clones' spread "
            "to the RMSE of their mean (Fortin et al. 2014), below 1 is overconfident. CRPS: fair "
            "continuous ranked probability score (Ferro 2014). rank JS distance: of the rank histogram "
            "from a flat one, natural logarithm. Bold: best of the column.",
            _CALIBRATION, trained, keys("evaluation.members", "evaluation.conditions.main"), primary,
        )  # fmt: skip
    histogram = systems[primary].get("rank_histogram")
    if histogram:
        body += picture(
            draw_ranks(histogram, f"Rank histogram of {primary}, main condition"),
            f"Rank histogram of {primary} with {len(histogram)} bins",
            "Share of pixels whose true height has each rank among the clones: flat (dashed) is "
            "reliable, a U shape means that the clones are too alike.",
            keys("evaluation.members", "primary"),
        )
    body += "<h3>Floors</h3>\n"
    if metrics.get("floors"):
        body += score_table(
            "What the VAE alone loses: the truth (vae_truth) and the bicubic DEM (vae_bicubic) encoded "
            "and decoded. A bridge in its latent space cannot do better than the first.",
            [replace(c, best="none") for c in _ERRORS], metrics["floors"],
            keys("vae.target", "vae.latent_channels"),
        )  # fmt: skip
    else:
        body += note("This run has no VAE, so there is no floor.")
    body += "<h3>Other conditions</h3>\n"
    others = {label: c for label, c in metrics["conditions"].items() if label != "main"}
    for label, condition in sorted(others.items()):
        rows = {name: condition["systems"][name] for name in data.ordered(condition["systems"])}
        body += score_table(
            f"Condition “{label}”: the same test patches with other images. Bold: best of the column.",
            _SHORT, rows, keys(f"evaluation.conditions.{label}"), primary,
        )  # fmt: skip
    if not others:
        body += note("This run evaluates the main condition alone.")
    return Part("scores", "Scores", body)


def region_part(data: ReportData) -> Part:
    """The reconstructed region."""
    heading = "Region"
    if data.region is None:
        return Part("region", heading, note("No region was reconstructed in this run."))
    keys, metrics = Keys(data.config), data.region.metrics
    place, windows, images = metrics["place"], metrics["windows"], metrics["images"]
    width = place["size_px"] * place["pixel_m"] / 1000
    body = picture(
        data.region.quicklook,
        "Region: hillshades of its DEMs, one image, standard deviation and maps of height differences",
        f"A region of {width:g} x {width:g} km at lon {place['lon']:.2f}°, lat {place['lat']:.2f}°, "
        f"reconstructed by {metrics['members']} clones of {data.primary} in {windows['count']} moving "
        "windows and blended. Heights and errors in metres, image in radiance factor.",
        keys("region.size_px", "region.stride_px", "region.members", "region.images", "region.light",
             "region.half_width_px", "region.masks.kind", "region.center_m", "region.blend_px"),
    )  # fmt: skip
    patches = metrics.get("test_patches", {})
    if scores := metrics.get("region"):
        body += _region_scores("Scores over the whole region; training terrain may lie inside.", scores, keys)
    if "scores" in patches:
        body += _region_scores(
            f"Scores over the {patches['test']} whole test patches inside the region, which cover "
            f"{patches['test_share']:.0%} of it; brackets: 95 % intervals over patches.",
            patches["scores"], keys,
        )  # fmt: skip
    else:
        body += note(
            "No whole test patch lies in the region, so its scores may include training terrain."
            if scores
            else "The true terrain is not known here, so there are no scores."
        )
    spread = metrics["std"]
    facts: list[tuple[str, Any, str]] = [
        ("test patches inside", patches.get("test"), ""),
        ("training patches inside", patches.get("train"), ""),
        ("images", images["count"], ""),
        ("images in a window: least", images["per_window"]["least"], ""),
        ("images in a window: median", images["per_window"]["median"], ""),
        ("images in a window: most", images["per_window"]["most"], ""),
        ("windows without an image", images["windows_without"], ""),
        ("share of pixels without an image", images["pixels_without_share"], ""),
        ("standard deviation, RMS", spread["rms_m"], "m"),
        ("standard deviation / error (1 is reliable)", spread.get("spread_skill"), ""),
        ("truth within 1 standard deviation (Gaussian 0.683)", spread.get("within_1_std"), ""),
        ("truth within 2 standard deviations (Gaussian 0.954)", spread.get("within_2_std"), ""),
        ("correlation of standard deviation with error", spread.get("error_correlation"), ""),
        ("network evaluations a clone (NFE)", metrics["nfe"], ""),
        ("model fingerprint", metrics["model_fingerprint"], ""),
    ]
    facts = [fact for fact in facts if fact[1] is not None]
    body += text_table(
        "Facts about the region.", ("quantity", "value", "unit"), facts, keys("region.images", "region.seed")
    )
    return Part("region", heading, body)


def _region_scores(caption: str, rows: Mapping[str, Any], keys: Keys) -> str:
    columns = (*_ERRORS[:3], _ERRORS[7], *_CALIBRATION[:4])
    return score_table(caption, columns, rows, keys("region.members", "region.seed"))


def _in_order(data: ReportData) -> list[tuple[str, dict[str, Any]]]:
    """Stages after their inputs: data, trainings as they follow each other, evaluations, the rest."""
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
            raise ValueError("stages.json: expected stages whose inputs are stages, found a circle or a gap")
        name = min(ready, key=lambda n: (ranks[n], n))
        out[name] = stages[name]
    return list(out.items())


def provenance_part(data: ReportData) -> Part:
    """Stages, models, inputs, packages and the configuration."""
    record = data.record
    body = paragraph(
        "A stage's key is a digest of the config it depends on, the code it runs and the keys of its "
        "inputs: equal keys mean equal results."
    )
    stages = _in_order(data)
    body += text_table(
        "Stages of this run (stages.json), each after its inputs.", ("stage", "key", "code digest", "inputs"),
        [(name, s["key"], s["code"][:12], ", ".join(s["inputs"]) or "–") for name, s in stages],
    )  # fmt: skip
    models = data.metrics.get("models", {})
    if models:
        body += text_table(
            "Models: fingerprints of their weights.", ("model", "fingerprint", "stage key"),
            [(n, models[n]["fingerprint"], models[n]["key"] or "–") for n in data.ordered(models)],
        )  # fmt: skip
    if record["files"]:
        body += text_table(
            "Input files.", ("role", "file", "sha256"), record["files"], Keys(data.config)("inputs.pixel_m")
        )
    else:
        body += note("The terrain is synthetic: there are no input files (config section synthetic).")
    body += text_table(
        "Packages whose version can change a result.",
        ("package", "version"),
        sorted(record["versions"].items()),
    )
    body += collapsed("Configuration (JSON)", record["config"])
    return Part("provenance", "Provenance", body)
