"""Verification metrics of DEMs and ensembles of DEMs, in the field's standard terms.

All functions take numpy arrays; sums are float64. Formulas: RMSE pooled over pixels; slope error as the mean
of atan|difference of central-difference gradients| (Repasky et al. 2026); fair CRPS (Ferro 2014); fair
spread-skill ratio (Fortin et al. 2014); rank histogram and its Jensen-Shannon distance to uniform.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    ``mean|x_i - y| - sum_ij|x_i - x_j| / (2 M (M - 1))``: the biased form divides by M^2 instead.

    Parameters
    ----------
    members : (M, ...), M >= 2. truth : (...).
    """
    m = members.shape[0]
    ordered = np.sort(np.asarray(members, float), axis=0)
    # sum_{i<j} (x_(j) - x_(i)) = sum_k (2k - M + 1) x_(k), k from 0.
    weight = (2 * np.arange(m) - m + 1).reshape((m,) + (1,) * (ordered.ndim - 1))
    pairs = (weight * ordered).sum(axis=0)
    return np.abs(ordered - truth).mean(axis=0) - pairs / (m * (m - 1))


def ranks(members: Floats, truth: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rank of the truth among the members, 0..M, ties broken at random."""
    below = (members < truth).sum(axis=0)
    ties = (members == truth).sum(axis=0)
    return below + rng.integers(0, ties + 1)


def js_distance_from_uniform(histogram: NDArray[np.int64]) -> float:
    """Jensen-Shannon distance (square root of the divergence, natural logarithm) to the uniform law."""
    p = np.asarray(histogram, float) / max(1, int(np.sum(histogram)))
    q = np.full_like(p, 1 / len(p))
    m = (p + q) / 2

    def divergence(a: Floats) -> float:
        inside = a > 0
        return float(np.sum(a[inside] * np.log(a[inside] / m[inside])))

    return float(np.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2)))


@dataclass
class PatchScores:
    """Per-patch sums, from which pooled scores and bootstrap intervals follow.

    Add patches with `add` (one estimate) or `add_ensemble`, then ask for `summary`.
    """

    pixel_m: float
    squared: list[float] = field(default_factory=list)
    absolute: list[float] = field(default_factory=list)
    slope: list[float] = field(default_factory=list)
    variance: list[float] = field(default_factory=list)
    crps: list[float] = field(default_factory=list)
    member_squared: list[float] = field(default_factory=list)
    moments: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    counts: list[NDArray[np.int64]] = field(default_factory=list)
    histogram: NDArray[np.int64] | None = None
    members: int = 0

    def add(self, estimate: Floats, truth: Floats) -> None:
        """Add one patch: (P, P) estimate and truth, metres."""
        error = np.asarray(estimate, float) - truth
        self.squared.append(float(np.mean(error**2)))
        self.absolute.append(float(np.mean(np.abs(error))))
        along_x, along_y = slope_error_deg(estimate, truth, self.pixel_m)
        self.slope.append(float((along_x.mean() + along_y.mean()) / 2))

    def add_ensemble(self, members: Floats, truth: Floats, rng: np.random.Generator) -> None:
        """Add one patch: (M, P, P) members; the estimate is their mean."""
        members = np.asarray(members, float)
        mean = members.mean(axis=0)
        self.add(mean, truth)
        self.members = members.shape[0]
        spread = members.var(axis=0, ddof=1)
        self.variance.append(float(spread.mean()))
        self.crps.append(float(fair_crps(members, truth).mean()))
        self.member_squared.append(float(np.mean((members[0] - truth) ** 2)))
        size, error = np.sqrt(spread), np.abs(mean - truth)
        self.moments.append(
            (size.mean(), error.mean(), (size**2).mean(), (error**2).mean(), (size * error).mean())
        )
        counts = np.bincount(ranks(members, truth, rng).ravel(), minlength=self.members + 1)
        self.counts.append(counts)
        self.histogram = counts if self.histogram is None else self.histogram + counts

    def summary(self, bootstrap: int, seed: int) -> dict[str, Any]:
        """Pooled scores with 95 % intervals over patches.

        Parameters
        ----------
        bootstrap : resamples of the patches. seed : of the resampling.
        """
        squared, slope = np.array(self.squared), np.array(self.slope)
        pick = np.random.default_rng([seed, 0xB007]).integers(0, len(squared), (bootstrap, len(squared)))
        rmse = float(np.sqrt(squared.mean()))
        rmse_ci = np.quantile(np.sqrt(squared[pick].mean(axis=1)), (0.025, 0.975))
        slope_ci = np.quantile(slope[pick].mean(axis=1), (0.025, 0.975))
        out: dict[str, Any] = {
            "rmse_m": rmse,
            "rmse_px": rmse / self.pixel_m,
            "rmse_m_ci95": [float(v) for v in rmse_ci],
            "mae_m": float(np.mean(self.absolute)),
            "slope_deg": float(slope.mean()),
            "slope_deg_ci95": [float(v) for v in slope_ci],
            "n_patches": len(squared),
        }
        if self.histogram is not None:
            m = self.members
            s, e, ss, ee, se = np.mean(np.array(self.moments), axis=0)
            norm = np.sqrt(max(0.0, (ss - s * s) * (ee - e * e)))
            out |= {
                "members": m,
                "member_rmse_m": float(np.sqrt(np.mean(self.member_squared))),
                "spread_skill_fair": float(np.sqrt((m + 1) / m) * np.sqrt(np.mean(self.variance)) / rmse),
                "crps_fair_m": float(np.mean(self.crps)),
                "rank_histogram": [int(n) for n in self.histogram],
                "rank_js_distance": js_distance_from_uniform(self.histogram),
                "spread_error_correlation": float((se - s * e) / norm) if norm > 0 else 0.0,
            }
        return out
