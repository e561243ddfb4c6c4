"""Numbers of metrics.json from a table of patches' scores, beyond those of `PatchScores.summary` itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation import surfaces
from pipeline.evaluation.ensembles import LEVELS
from pipeline.evaluation.errors import percentiles_m, read_counts
from pipeline.evaluation.resampling import site_weights, weighted_means

Table = Mapping[str, Sequence[Any]]
Floats = NDArray[np.floating[Any]]

#: Classes of terrain: thirds of the patches by the mean slope of the truth.
CLASSES = ("gentle", "middle", "steep")


def _mean(table: Table, name: str) -> float:
    return float(np.mean(table[name]))


def _root(table: Table, name: str) -> float:
    return float(np.sqrt(np.mean(table[name])))


def _ratios(table: Table, of: str, name: str) -> dict[str, float]:
    """Ratios of power to the truth's power in the bands where the latter is not zero."""
    truth = {band: _mean(table, f"truth_power_{band}") for band in surfaces.BAND_NAMES}
    return {
        f"{name}_{band}px": _mean(table, f"{of}_{band}") / power for band, power in truth.items() if power > 0
    }


def of_surfaces(table: Table, pixel_m: float) -> dict[str, Any]:
    """Scores of any estimate beyond RMSE, mean absolute error and slope error.

    Parameters
    ----------
    table : columns of ``patches.csv`` by name, one entry per patch. pixel_m : pixel size, metres.

    Returns
    -------
    Entries of ``metrics.json`` by name (docs/metrics.md). Ratios to 0, and those to columns that the table
    lacks (a priori DEM, its cells, withheld images), are left out.
    """
    counts = np.sum([read_counts(text) for text in table["errors"]], axis=0)
    p75, p90, p95, p99 = percentiles_m(counts, (75, 90, 95, 99), pixel_m)
    weight, aspect = np.array(table["truth_slope"]), np.array(table["aspect_deg"])
    rough, true_rough = np.array(table["roughness_m"]), np.array(table["truth_roughness_m"])
    out = {
        "rmse_case_mean_m": float(np.sqrt(table["mse_m2"]).mean()),
        "bias_m": _mean(table, "bias_m"),
        "abs_error_p75_m": p75,
        "le90_m": p90,
        "abs_error_p95_m": p95,
        "abs_error_p99_m": p99,
        "slope_angle_deg": _mean(table, "slope_angle_deg"),
        "aspect_deg": float((weight * aspect).sum() / weight.sum()) if weight.sum() > 0 else 0.0,
        "roughness_error_m": float(np.abs(rough - true_rough).mean()),
        "ssim": _mean(table, "ssim"),
        "psnr_db": _mean(table, "psnr_db"),
    }
    if (true_rough > 0).any():
        out["roughness_ratio"] = float(np.sqrt((rough**2).mean() / (true_rough**2).mean()))
    out |= _ratios(table, "power", "power_ratio")
    if "prior_mse_m2" in table:
        prior = _root(table, "prior_mse_m2")
        out["prior_rmse_m"] = prior
        if prior > 0:
            out["rmse_vs_prior"] = _root(table, "mse_m2") / prior
    if "cells_mse_m2" in table:
        out["cells_rms_m"] = _root(table, "cells_mse_m2")
    if sum(table.get("withheld_power", ())) > 0:
        left, before = _root(table, "withheld_misfit"), _root(table, "withheld_prior_misfit")
        out["withheld_residual"] = left / _root(table, "withheld_power")
        if before > 0:
            out["withheld_vs_prior"] = left / before
    return out


def _spread_skill(variance: Floats, squared: Floats, members: float) -> Floats:
    """Fair ratios of pooled spread and RMSE; 0 where the RMSE is 0."""
    ratio = (members + 1) / members * variance / np.maximum(squared, 1e-300)
    return np.sqrt(np.where(squared > 0, ratio, 0.0))


def of_ensembles(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Further scores of ensembles.

    Parameters
    ----------
    table : columns of ``patches.csv`` by name, one entry per patch.
    row : with ``members``, ``rmse_m`` and ``crps_fair_m``, as `PatchScores.summary` computes them.

    Returns
    -------
    Entries of ``metrics.json`` by name (docs/metrics.md).
    """
    m, rmse = row["members"], row["rmse_m"]
    # With divisor M, as in Yasuda's ratio, which has no correction for the number of members.
    std = np.array(table["std_m"]) * np.sqrt((m - 1) / m)
    own = np.sqrt(table["mse_m2"])
    pixels = sum(int(n) for text in table["ranks"] for n in text.split())
    inside = np.sum([[int(n) for n in text.split()] for text in table["covered"]], axis=0)
    mae = _mean(table, "member_mae_m")
    return {
        "member_mae_m": mae,
        "member_rmse_case_mean_m": _mean(table, "member_rmse_m"),
        "member_ssim": _mean(table, "member_ssim"),
        "spread_skill_plain": float(np.sqrt(_mean(table, "variance_m2")) / rmse),
        "spread_skill_yasuda": float(std.mean() / rmse),
        "spread_skill_case_mean": float((std / np.maximum(own, 1e-300))[own > 0].mean())
        if own.any()
        else 0.0,
        "crps_plain_m": (mae + (m - 1) * row["crps_fair_m"]) / m,
        "energy_fair_m": _mean(table, "energy_m"),
        **{f"coverage_{level}": float(n / pixels) for level, n in zip(LEVELS, inside)},
        **_ratios(table, "member_power", "member_power_ratio"),
    }


def over_sites(table: Table, members: int | None, bootstrap: int, seed: int) -> dict[str, Any]:
    """95 % bootstrap intervals from resampled sites and blocks of patches in them.

    Parameters
    ----------
    table : columns of ``patches.csv`` by name, one entry per patch, with ``site`` and ``block``.
    members : clones per patch; None for a single estimate. bootstrap : resamples. seed : of the draws.

    Returns
    -------
    Entries of ``metrics.json`` by name: numbers of sites and blocks, and intervals [low, high].
    """
    weights = site_weights(table["site"], table["block"], bootstrap, seed)

    def interval(values: Any) -> list[float]:
        return [float(v) for v in np.quantile(values, (0.025, 0.975))]

    squared = weighted_means(weights, table["mse_m2"])
    out: dict[str, Any] = {
        "n_sites": len(set(table["site"])),
        "n_blocks": len(set(zip(table["site"], table["block"]))),
        "rmse_m_ci95_sites": interval(np.sqrt(squared)),
        "slope_deg_ci95_sites": interval(weighted_means(weights, table["slope_deg"])),
    }
    if members is not None:
        variance = weighted_means(weights, table["variance_m2"])
        out["spread_skill_fair_ci95_sites"] = interval(_spread_skill(variance, squared, members))
        out["crps_fair_m_ci95_sites"] = interval(weighted_means(weights, table["crps_m"]))
    return out


def by_terrain(table: Table, members: int | None) -> dict[str, Any]:
    """Scores of each class of `CLASSES`.

    Parameters
    ----------
    table : columns of ``patches.csv`` by name, one entry per patch.
    members : clones per patch; None for a single estimate.

    Returns
    -------
    Entries of ``metrics.json`` by name, lists in the order of the classes; ``terrain_edges_deg`` has one
    entry more, the mean slopes between which the classes lie. Empty with fewer patches than classes.
    """
    slope = np.array(table["truth_slope"])
    if len(slope) < len(CLASSES):
        return {}
    classes = np.array_split(np.argsort(slope, kind="stable"), len(CLASSES))

    def means(name: str) -> Floats:
        values = np.array(table[name])
        return np.array([values[here].mean() for here in classes])

    edges = [slope[classes[0][0]], *(slope[here[-1]] for here in classes)]
    squared = means("mse_m2")
    out: dict[str, Any] = {
        "terrain_edges_deg": np.degrees(np.arctan(edges)),
        "terrain_rmse_m": np.sqrt(squared),
        "terrain_mae_m": means("mae_m"),
        "terrain_slope_deg": means("slope_deg"),
    }
    if members is not None:
        out["terrain_spread_skill_fair"] = _spread_skill(means("variance_m2"), squared, members)
        out["terrain_crps_fair_m"] = means("crps_m")
    found = {name: [float(v) for v in values] for name, values in out.items()}
    return found | {"terrain_patches": [len(here) for here in classes]}
