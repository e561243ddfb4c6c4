"""Verification metrics of DEMs and ensembles of DEMs, in the field's standard terms.

All functions take numpy arrays; sums are float64. docs/metrics.md has each number with its formula, unit and
source. Further metrics are in `surfaces`, `errors`, `ensembles`, `resampling` and `pooled` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation import surfaces
from pipeline.evaluation.ensembles import covered, fair_energy_score
from pipeline.evaluation.errors import count_errors
from pipeline.evaluation.pooled import by_terrain, of_ensembles, of_surfaces, over_sites

Floats = NDArray[np.floating[Any]]


def slope_error_deg(estimate: Floats, truth: Floats, pixel_m: float) -> tuple[Floats, Floats]:
    """Slope errors along x and y at interior pixels.

    Parameters
    ----------
    estimate, truth : (..., P, P), metres.
    pixel_m : pixel size, metres.

    Returns
    -------
    Two arrays (..., P-2, P-2): ``atan|dz'/dx - dz/dx|`` and the same along y, degrees.
    """
    difference = np.asarray(estimate, float) - np.asarray(truth, float)
    along_x = (difference[..., 1:-1, 2:] - difference[..., 1:-1, :-2]) / (2 * pixel_m)
    along_y = (difference[..., 2:, 1:-1] - difference[..., :-2, 1:-1]) / (2 * pixel_m)
    return np.degrees(np.arctan(np.abs(along_x))), np.degrees(np.arctan(np.abs(along_y)))


def fair_crps(members: Floats, truth: Floats) -> Floats:
    """Fair continuous ranked probability score at each pixel.

    ``mean|x_i - y| - sum_ij|x_i - x_j| / (2 M (M - 1))`` (Ferro 2014); the biased form divides by 2 M^2.

    Parameters
    ----------
    members : (M, ...), M >= 2. truth : (...), in the same unit.

    Returns
    -------
    (...), in that unit.
    """
    m = members.shape[0]
    ordered = np.sort(np.asarray(members, float), axis=0)
    # sum_{i<j} (x_(j) - x_(i)) = sum_k (2k - M + 1) x_(k), k from 0.
    weight = (2 * np.arange(m) - m + 1).reshape((m,) + (1,) * (ordered.ndim - 1))
    pairs = (weight * ordered).sum(axis=0)
    return np.abs(ordered - truth).mean(axis=0) - pairs / (m * (m - 1))


def ranks(members: Floats, truth: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rank of the truth (...) among the members (M, ...), 0..M; ties are broken at random."""
    below = (members < truth).sum(axis=0)
    ties = (members == truth).sum(axis=0)
    return below + rng.integers(0, ties + 1)


def js_distance_from_uniform(histogram: NDArray[np.int64]) -> float:
    """Jensen-Shannon distance (square root of the divergence, natural logarithm) to the uniform law.

    Parameters
    ----------
    histogram : (M + 1,) counts.

    Returns
    -------
    0 for a flat histogram, below sqrt(ln 2) = 0.83 for any other.
    """
    p = np.asarray(histogram, float) / max(1, int(np.sum(histogram)))
    q = np.full_like(p, 1 / len(p))
    m = (p + q) / 2

    def divergence(a: Floats) -> float:
        inside = a > 0
        return float(np.sum(a[inside] * np.log(a[inside] / m[inside])))

    return float(np.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2)))


#: Columns that are text: counts, and the block of a patch.
TEXTS = ("ranks", "errors", "covered", "block")


@dataclass
class PatchScores:
    """Scores of single patches, from which pooled scores and bootstrap intervals follow.

    Add patches with `add` (one estimate) or `add_ensemble`, then ask for `summary`.

    Attributes
    ----------
    pixel_m : pixel size, metres.
    table : columns as in ``patches.csv`` (docs/formats.md), one entry per patch.
    """

    pixel_m: float
    table: dict[str, list[Any]] = field(default_factory=dict)
    _spreads: list[float] = field(default_factory=list)

    def _append(self, **values: Any) -> None:
        for name, value in values.items():
            self.table.setdefault(name, []).append(value if name in TEXTS else float(value))

    def place(self, site: int, block: str) -> None:
        """Record site and block of the patch that is added next, or was added last."""
        self.table.setdefault("site", []).append(int(site))
        self._append(block=block)

    def add(
        self, estimate: Floats, truth: Floats, prior: Floats | None = None, cells: Floats | None = None
    ) -> None:
        """Add one patch.

        Parameters
        ----------
        estimate, truth : (P, P), metres. prior : the a priori DEM on the patch's pixels, (P, P), metres.
        cells : block means of the a priori DEM, (n, n), metres; n divides P.
        """
        estimate, pixel_m = np.asarray(estimate, float), self.pixel_m
        error = estimate - truth
        along_x, along_y = slope_error_deg(estimate, truth, pixel_m)
        slope = (along_x.mean() + along_y.mean()) / 2
        mse = np.mean(error**2)
        self._append(mse_m2=mse, mae_m=np.mean(np.abs(error)), slope_deg=slope)
        angle, aspect, truth_slope = surfaces.slope_and_aspect_error_deg(estimate, truth, pixel_m)
        span = surfaces.data_range_m(truth, pixel_m)
        self._append(
            bias_m=error.mean(),
            slope_angle_deg=angle,
            aspect_deg=aspect,
            truth_slope=truth_slope,
            roughness_m=surfaces.roughness_m(estimate),
            truth_roughness_m=surfaces.roughness_m(truth),
            ssim=surfaces.ssim(estimate, truth, span),
            psnr_db=surfaces.psnr_db(float(mse), span),
            errors=count_errors(error, pixel_m),
        )
        self._append_powers("truth_power", surfaces.band_powers(truth))
        self._append_powers("power", surfaces.band_powers(estimate))
        if prior is not None:
            self._append(prior_mse_m2=np.mean((np.asarray(prior, float) - truth) ** 2))
        if cells is not None:
            step = len(estimate) // len(cells)
            means = estimate.reshape(len(cells), step, len(cells), step).mean(axis=(1, 3))
            self._append(cells_mse_m2=np.mean((means - cells) ** 2))

    def _append_powers(self, name: str, powers: Floats) -> None:
        self._append(**{f"{name}_{band}": power for band, power in zip(surfaces.BAND_NAMES, powers)})

    def add_ensemble(
        self,
        members: Floats,
        truth: Floats,
        rng: np.random.Generator,
        prior: Floats | None = None,
        cells: Floats | None = None,
    ) -> None:
        """Add one patch of an ensemble, whose mean is the estimate.

        Parameters
        ----------
        members : (M, P, P), metres, M >= 2 and the same for all patches. rng : breaks ties of ranks.
        truth, prior, cells : as in `add`.
        """
        members = np.asarray(members, float)
        mean = members.mean(axis=0)
        self.add(mean, truth, prior, cells)
        spread = members.var(axis=0, ddof=1)
        size = np.sqrt(spread)
        counts = np.bincount(ranks(members, truth, rng).ravel(), minlength=len(members) + 1)
        self._spreads.append((size**2).mean())
        # One member at a time: those of a region are large.
        away = [(np.abs(x - truth).mean(), np.sqrt(np.mean((x - truth) ** 2))) for x in members]
        mae, rmse = np.mean(away, axis=0)
        self._append(
            variance_m2=spread.mean(),
            crps_m=fair_crps(members, truth).mean(),
            member_mse_m2=np.mean((members[0] - truth) ** 2),
            std_m=size.mean(),
            std_error_m2=(size * np.abs(mean - truth)).mean(),
            ranks=" ".join(str(int(n)) for n in counts),
            member_mae_m=mae,
            member_rmse_m=rmse,
            member_ssim=surfaces.ssim(members[0], truth, surfaces.data_range_m(truth, self.pixel_m)),
            energy_m=fair_energy_score(members, truth),
            covered=" ".join(map(str, covered(mean, size, truth, len(members)))),
        )
        powers = [surfaces.band_powers(member) for member in members]
        self._append_powers("member_power", np.mean(powers, axis=0))

    def add_withheld(
        self, withheld_power: float, withheld_misfit: float, withheld_prior_misfit: float
    ) -> None:
        """Record how well the patch that was added last explains the images withheld from the predictor.

        Parameters
        ----------
        withheld_power, withheld_misfit, withheld_prior_misfit : sums over images of the mean square of their
            radiance, and of the residuals of the estimate's and of the a priori DEM's renderings.
        """
        self._append(
            withheld_power=withheld_power,
            withheld_misfit=withheld_misfit,
            withheld_prior_misfit=withheld_prior_misfit,
        )

    def summary(self, bootstrap: int, seed: int) -> dict[str, Any]:
        """Pooled scores with 95 % intervals over patches and, where they are known, over sites.

        Parameters
        ----------
        bootstrap : resamples of the patches. seed : of the resampling.

        Returns
        -------
        Entries of ``metrics.json`` by name (docs/metrics.md), as JSON values: those of ensembles if patches
        were added with `add_ensemble`, those over sites if their sites were recorded with `place`.

        Raises
        ------
        KeyError
            If no patch was added.
        """
        table = self.table
        squared, slope = np.array(table["mse_m2"]), np.array(table["slope_deg"])
        pick = np.random.default_rng([seed, 0xB007]).integers(0, len(squared), (bootstrap, len(squared)))
        rmse = float(np.sqrt(squared.mean()))
        rmse_ci = np.quantile(np.sqrt(squared[pick].mean(axis=1)), (0.025, 0.975))
        slope_ci = np.quantile(slope[pick].mean(axis=1), (0.025, 0.975))
        out: dict[str, Any] = {
            "rmse_m": rmse,
            "rmse_px": rmse / self.pixel_m,
            "rmse_m_ci95": [float(v) for v in rmse_ci],
            "mae_m": float(np.mean(table["mae_m"])),
            "slope_deg": float(slope.mean()),
            "slope_deg_ci95": [float(v) for v in slope_ci],
            "n_patches": len(squared),
        }
        if "ranks" in table:
            histogram = np.sum([[int(n) for n in row.split()] for row in table["ranks"]], axis=0)
            m = len(histogram) - 1
            # A table that was read from a file lacks these sums; the variance equals them up to rounding.
            spreads = self._spreads or table["variance_m2"]
            moments = [table["std_m"], table["mae_m"], spreads, table["mse_m2"], table["std_error_m2"]]
            s, e, ss, ee, se = np.mean(np.stack(moments, axis=1), axis=0)
            norm = np.sqrt(max(0.0, (ss - s * s) * (ee - e * e)))
            variance = np.mean(table["variance_m2"])
            out |= {
                "members": m,
                "member_rmse_m": float(np.sqrt(np.mean(table["member_mse_m2"]))),
                "spread_skill_fair": float(np.sqrt((m + 1) / m) * np.sqrt(variance) / rmse),
                "crps_fair_m": float(np.mean(table["crps_m"])),
                "rank_histogram": [int(n) for n in histogram],
                "rank_js_distance": js_distance_from_uniform(histogram),
                "spread_error_correlation": float((se - s * e) / norm) if norm > 0 else 0.0,
            }
        out |= of_surfaces(table, self.pixel_m)
        if "ranks" in table:
            out |= of_ensembles(table, out)
        if "site" in table:
            out |= over_sites(table, out.get("members"), bootstrap, seed)
        return out | by_terrain(table, out.get("members"))
