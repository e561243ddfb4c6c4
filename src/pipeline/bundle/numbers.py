"""Checks that a bundle's numbers follow from its files: weights, scores per patch, pooled scores, region."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import rasterio
from safetensors.torch import load_file

from pipeline.bundle.checks import Bundle, Row, verdict
from pipeline.bundle.write import given_files
from pipeline.evaluation.collect import make_part, merged, models_of, table_of
from pipeline.evaluation.metrics import PatchScores
from pipeline.models.files import fingerprint
from pipeline.region.scores import std_scores, whole_scores
from pipeline.shards.shard_set import chosen
from pipeline.storage.calibration_law import FILE as CALIBRATION
from pipeline.storage.sha256 import file_sha256

# Relative tolerance of sums over the same numbers, which libraries may add in another order.
POOLED = 1e-9
# Relative tolerance of scores from GeoTIFFs, whose float32 heights of kilometres are rounded to 0.1 mm.
REGION = 1e-3


def deviations(claimed: Any, found: Any, tolerance: float, path: str = "") -> Iterator[str]:
    """Leaves of JSON values that differ, one line each; numbers by more than a relative `tolerance`."""
    if isinstance(claimed, Mapping) and isinstance(found, Mapping):
        for key in sorted({*claimed, *found}):
            if key in claimed and key in found:
                yield from deviations(claimed[key], found[key], tolerance, f"{path}.{key}".lstrip("."))
            else:
                yield f"{path}.{key}".lstrip(".") + (": only claimed" if key in claimed else ": not claimed")
    elif isinstance(claimed, list) and isinstance(found, list) and len(claimed) == len(found):
        for number, (one, two) in enumerate(zip(claimed, found)):
            yield from deviations(one, two, tolerance, f"{path}[{number}]")
    elif not _alike(claimed, found, tolerance):
        yield f"{path}: claimed {_shown(claimed)}, found {_shown(found)}"


def _alike(one: Any, two: Any, tolerance: float) -> bool:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (one, two))
    return math.isclose(one, two, rel_tol=tolerance, abs_tol=1e-12) if numbers else bool(one == two)


def _shown(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else json.dumps(value)


def check_weights(bundle: Bundle) -> Iterator[Row]:
    """Check that the fingerprint of each model's tensors is the one in every file that names it.

    Files of given weights must also have the digests that entered the keys.
    """
    metrics = bundle.read("evaluation/metrics.json", "metrics/1")
    region = bundle.read("region/metrics.json", "region/1")["model_fingerprint"]
    bad = []
    for name in bundle.models():
        found = fingerprint(load_file(bundle.path(f"models/{name}/model.safetensors")))
        claims = {f"models/{name}/config.json": bundle.read(f"models/{name}/config.json")["fingerprint"]}
        label = "vae" if name == "pretrained_vae" else name
        if label in metrics["models"]:
            claims["evaluation/metrics.json"] = metrics["models"][label]["fingerprint"]
        if name == metrics["primary"]:
            claims["region/metrics.json"] = region
        calibration = f"models/{name}/{CALIBRATION}"
        if calibration in bundle.names:
            claims[calibration] = bundle.read(calibration)["model"]
        bad += [f"models/{name}: {file} says {mark}, the tensors give {found}"
                for file, mark in claims.items() if mark != found]  # fmt: skip
    missing = sorted({*bundle.plan.scored, *bundle.plan.found.rivals} - {*bundle.models()})
    bad += [f"models/{name}: expected its weights, found none" for name in missing]
    bad += _changed(bundle)
    yield from verdict("weights", bad, f"{len(bundle.models())} models have the claimed fingerprints")


def _changed(bundle: Bundle) -> Iterator[str]:
    """Files of given weights that are absent or not those of ``stages.json``, one line each."""
    for file, digest in given_files(bundle.stages).items():
        found = f"sha256:{file_sha256(bundle.path(file))}" if file in bundle.names else "no such file"
        if found != digest:
            yield f"{file}: expected {digest[:19]}..., as stages.json says, found {found[:19]}"


def check_patches(bundle: Bundle) -> Iterator[Row]:
    """Check that every system was scored on the same patches, and on as many as the config asks for."""
    tables = bundle.patches
    if not tables:
        raise ValueError("evaluation/patches.csv: expected a table, found no row")
    total = bundle.read("manifests/manifest_test.json", "manifest/1")["patches"]["test"]
    wanted = len(chosen(total, bundle.config.evaluation.max_patches))
    first = next(iter(tables.values()))["patch"]
    bad = []
    if len(first) != wanted or len(set(first)) != len(first):
        bad.append(f"expected {wanted} different patches, found {len(set(first))} in {len(first)} rows")
    for (condition, system), table in tables.items():
        if table["patch"] != first:
            bad.append(f"{condition}, {system}: expected the patches of the first system, found others")
    done = f"all {wanted} test patches are in patches.csv for {len(tables)} pairs of condition and system"
    yield from verdict("patches", [f"evaluation/patches.csv: {line}" for line in bad], done)


def shipped_files(bundle: Bundle, name: str) -> dict[str, list[str]]:
    """Files of a predictor's weights in the bundle, by role.

    Raises
    ------
    ValueError
        If the bundle lacks a file that the plan asks for.
    """
    plan = bundle.plan
    owner = plan.weights_of(name)
    vae = "vae" if plan.given is None else "pretrained_vae"
    vae = vae if plan.vae_of(name) == "vae" else plan.vae_of(name)
    members = {
        "model": f"models/{owner}/model.safetensors",
        "vae": f"models/{vae}/model.safetensors",
        "calibration": f"models/{owner}/{CALIBRATION}",
    }
    asked = plan.files_of(name).items()
    return {role: [str(bundle.path(members[role])) for _ in paths] for role, paths in asked}


def parts(bundle: Bundle) -> list[dict[str, Any]]:
    """The outputs of the evaluation stages, computed again from ``patches.csv``.

    Raises
    ------
    ValueError
        If the table lacks the rows of a predictor, or the bundle lacks its weights.
    """
    tables, out = bundle.patches, []
    pixel_m = float(bundle.read("manifests/manifest_test.json", "manifest/1")["grid"]["pixel_m"])
    for section in bundle.evaluations():
        name, rows = section.name, {}
        for label in section.headings:
            if (label, name) not in tables:
                raise ValueError(f"evaluation/patches.csv: expected rows of {name} under {label}, found none")
            rows[label] = PatchScores(pixel_m, tables[label, name]).summary(section.bootstrap, section.seed)
        out.append(make_part(section, rows, models_of(section, shipped_files(bundle, name))))
    return out


def check_metrics(bundle: Bundle) -> Iterator[Row]:
    """Check that ``metrics.json`` and ``metrics.csv`` follow from the scores of all patches."""
    again = merged(bundle.config.primary, parts(bundle))
    claimed = bundle.read("evaluation/metrics.json", "metrics/1")
    bad = [f"evaluation/metrics.json: {line}" for line in deviations(claimed, again, POOLED)]
    cells = _cells(bundle.path("evaluation/metrics.csv").read_text(encoding="utf-8"))
    bad += [f"evaluation/metrics.csv: {line}" for line in deviations(cells, _cells(table_of(again)), 1e-5)]
    yield from verdict(
        "metrics", bad, f"metrics.json follows from patches.csv (relative tolerance {POOLED:g})"
    )


def _cells(table: str) -> dict[str, Any]:
    """Cells of metrics.csv by condition, system and column; numbers as numbers."""
    cells: dict[str, Any] = {}
    for row in csv.DictReader(table.splitlines()):
        where = f"{row.pop('condition')} {row.pop('system')}"
        for name, text in row.items():
            try:
                cells[f"{where} {name}"] = float(text)
            except ValueError:
                cells[f"{where} {name}"] = text
    return cells


def check_region(bundle: Bundle) -> Iterator[Row]:
    """Check that the region's scores follow from its GeoTIFFs, and that its mean is that of its clones."""
    claimed = bundle.read("region/metrics.json", "region/1")
    mean, std, prior = (_raster(bundle, name)[0].astype(float) for name in ("mean", "std", "prior"))
    clones, pixel_m = _raster(bundle, "clones").astype(float), float(claimed["place"]["pixel_m"])
    truth = _raster(bundle, "truth")[0].astype(float) if "region/truth.tif" in bundle.names else None
    listed = {"std": claimed["std"], **_rows(claimed.get("region", {}))}
    again: dict[str, Any] = {"std": std_scores(mean, std, truth, claimed["members"])}
    if truth is not None:
        again |= _rows(whole_scores(truth, prior, clones, pixel_m, bundle.config.region.seed))
    keys = ("rmse_m", "rmse_px", "mae_m", "slope_deg", "crps_fair_m", "member_rmse_m", "rms_m")
    bad = []
    if listed.keys() != again.keys():
        bad.append(f"region/metrics.json: expected scores {', '.join(again)}, found {', '.join(listed)}")
    if truth is None and ("scores" in claimed.get("test_patches", {}) or len(claimed["std"]) > 1):
        bad.append("region/metrics.json: expected no score without truth.tif, found some")
    for where in sorted(listed.keys() & again.keys()):
        picked = [key for key in keys if key in again[where]]
        one, two = ({k: rows[where].get(k) for k in picked} for rows in (listed, again))
        bad += [f"region/metrics.json: {where}.{line}" for line in deviations(one, two, REGION)]
    off = float(np.abs(clones.mean(axis=0) - mean).max())
    scale = max(1e-3, float(np.abs(mean).max()))
    if off > 1e-6 * scale:
        bad.append(f"region/mean.tif: expected the mean of clones.tif, found differences up to {off:.3g} m")
    yield from verdict("region", bad, f"scores follow from the GeoTIFFs (relative tolerance {REGION:g})")


def _rows(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {f"region.{name}": row for name, row in scores.items()}


def _raster(bundle: Bundle, name: str) -> np.ndarray:
    """Bands of a GeoTIFF, (band, y, x); no other format is opened, since some refer to other files."""
    with rasterio.open(bundle.path(f"region/{name}.tif"), driver="GTiff") as raster:
        bands: np.ndarray = raster.read()
    return bands
