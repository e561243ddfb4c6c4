"""Fit of the law that scales the clones' departures from the estimate to the size of its errors.

The law itself is described in `pipeline.storage.calibration_law`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics import js_distance_from_uniform, ranks

logger = logging.getLogger(__name__)

Floats = NDArray[np.floating[Any]]
_FACTORS, _RANKS = 0xCA11E, 0xCA11F
#: Step of the used rows and columns, pixels: errors of neighbouring pixels are correlated.
PIXEL_STEP = 4
#: Quantiles of the expected spread at which the curve has knots: few pixels hold most of the error.
QUANTILES = (0.05, 0.5, 0.9, 0.97, 0.995)
#: The same for unlit pixels, which are few; their curve is flat.
UNLIT_QUANTILES = (0.5, 0.995)
#: With fewer unlit pixels than this, they have the curve of lit pixels.
UNLIT_PIXELS = 200
#: Strength of the prior towards a flat curve, in pixels: errors within a patch are correlated, so that the
#: last knot may depend on two or three craters. A stronger prior widens clones where the network is
#: confident, and rightly so.
FLAT_PIXELS = 200.0
#: Draws of the clones' random factors over which scores are averaged.
REPLICATES = 4
#: Standard deviations of the factors' logarithm that are tried.
LOG_SPREADS = tuple(round(0.1 * k, 1) for k in range(13))


@dataclass(frozen=True)
class Departures:
    """Departures from the estimate at n pixels, for one patch and image set; heights in units of a pixel.

    Attributes
    ----------
    members : (M, n) clone minus estimate. truth : (n,) truth minus estimate.
    spread : (n,) standard deviation of `truth` that the network expects; 1 if it predicts none.
    unlit : (n,) bool, whether no image lights the pixel.
    """

    members: Floats
    truth: Floats
    spread: Floats
    unlit: NDArray[np.bool_]


def departures(
    members: Floats, estimate: Floats, truth: Floats, spread: Floats | None, unlit: NDArray[np.bool_]
) -> Departures:
    """Departures at every `PIXEL_STEP`-th row and column.

    Parameters
    ----------
    members : (M, P, P) clones. estimate, truth : (P, P). spread : (P, P) expected by the network, or None.
        All heights are in units of a pixel.
    unlit : (P, P) pixels that no image lights.
    """
    step = slice(PIXEL_STEP // 2, None, PIXEL_STEP)
    away = (members - estimate)[:, step, step].reshape(len(members), -1)
    off = (truth - estimate)[step, step].ravel()
    wide = np.ones_like(off) if spread is None else spread[step, step].ravel()
    return Departures(away.astype(np.float32), off, wide, unlit[step, step].ravel())


def _all(found: Sequence[Departures], name: str) -> NDArray[Any]:
    """A field of `Departures`, concatenated over all patches."""
    return np.concatenate([getattr(d, name) for d in found])


@dataclass(frozen=True)
class Pixels:
    """Expected spread, clones' variance and estimate's squared error of n pixels, (n,) each."""

    spread: Floats
    variance: Floats
    squared: Floats

    @classmethod
    def of(cls, found: Sequence[Departures], unlit: bool) -> Pixels:
        """All pixels that no image lights (`unlit`), or all others."""
        which = _all(found, "unlit") == unlit
        variance = np.concatenate([(d.members**2).mean(axis=0) for d in found])
        squared = np.maximum(_all(found, "truth") ** 2, 1e-12)
        return cls(_all(found, "spread")[which], variance[which], squared[which])

    @property
    def level(self) -> float:
        """Logarithm of the one factor that makes the clones' mean variance equal the mean squared error."""
        return 0.5 * float(np.log(self.squared.mean() / self.variance.mean()))


def curve(pixels: Pixels, flat_pixels: float = 0.0) -> tuple[Floats, Floats]:
    """Logarithm of the factor on the clones' departures, as a function of the expected spread.

    The levels at the knots are such that exp(2 level) times the clones' variance and the squared error have
    the same mean, weighted with each knot's hat function of log spread; hence also over all pixels.

    Parameters
    ----------
    pixels : the pixels to fit.
    flat_pixels : strength of the prior towards a flat curve, in pixels per knot.

    Returns
    -------
    Rising spreads (the knots), and the levels there; one of each if all spreads are equal.
    """
    spread, variance, squared, overall = pixels.spread, pixels.variance, pixels.squared, pixels.level
    knots = np.unique(np.quantile(spread, QUANTILES))
    if len(knots) < 2 or not knots[0] < knots[-1]:
        return np.ones(1), np.full(1, overall)
    x = np.clip(np.log(spread), *np.log(knots[[0, -1]]))
    hats = np.stack([np.interp(x, np.log(knots), row) for row in np.eye(len(knots))])
    believed = flat_pixels * (hats @ variance) / hats.sum(axis=1).clip(1e-12)
    wanted = hats @ squared + believed * np.exp(2 * overall)
    levels = np.full(len(knots), overall)
    for _ in range(200):
        factor = np.exp(2 * (levels @ hats))
        levels += 0.35 * np.log(wanted / (hats @ (factor * variance) + believed * np.exp(2 * levels)))
    levels += 0.5 * np.log(squared.mean() / (np.exp(2 * (levels @ hats)) * variance).mean())
    return knots, levels


def scores(found: Sequence[Departures], factors: Sequence[Floats], rng: np.random.Generator) -> Floats:
    """Fair spread-skill ratio and rank distance of clones whose departures are multiplied by factors.

    Parameters
    ----------
    found : departures of all patches. factors : for each, an array that broadcasts to (M, n).
    rng : breaks ties of ranks.

    Returns
    -------
    (2,) ratio, and Jensen-Shannon distance of the rank histogram from a uniform one.
    """
    variance, squared, counts = 0.0, 0.0, np.zeros(len(found[0].members) + 1, np.int64)
    for d, factor in zip(found, factors):
        moved = d.members * factor
        variance += moved.var(axis=0, ddof=1).mean()
        squared += np.mean((moved.mean(axis=0) - d.truth) ** 2)
        counts += np.bincount(ranks(moved, d.truth, rng), minlength=len(counts))
    m = len(found[0].members)
    return np.array([np.sqrt((m + 1) / m * variance / squared), js_distance_from_uniform(counts)])


def saturated(found: Sequence[Departures]) -> list[Departures]:
    """Departures whose clones are scaled down above the last knot, where pixels are too few for a fit.

    The factor is the last knot's spread over the pixel's expected spread: clones whose spread is proportional
    to the expected one keep the spread at the knot. Lit and unlit pixels have their own last knots, unless
    there are fewer than `UNLIT_PIXELS` unlit ones.
    """
    spread, unlit = _all(found, "spread"), _all(found, "unlit")
    lit_top = np.quantile(spread[~unlit], QUANTILES[-1])
    many = unlit.sum() >= UNLIT_PIXELS
    unlit_top = np.quantile(spread[unlit], UNLIT_QUANTILES[-1]) if many else lit_top

    def held(d: Departures) -> Departures:
        top = np.where(d.unlit, unlit_top, lit_top)
        return replace(d, members=d.members * (top / np.maximum(d.spread, top)).astype(np.float32))

    return [held(d) for d in found]


def unlit_curve(pixels: Pixels) -> tuple[Floats, Floats]:
    """A flat curve for pixels that no image lights.

    Returns
    -------
    Knots, (2,) rising spreads in units of a pixel, or (1,) if the quantiles are equal; and the same level,
    the logarithm of the factor, at each.
    """
    knots = np.unique(np.quantile(pixels.spread, UNLIT_QUANTILES))
    knots = knots if len(knots) == 2 else np.ones(1)
    return knots, np.full(len(knots), pixels.level)


def fit(
    validation: Sequence[Departures],
    seed: int,
    flat_pixels: float = FLAT_PIXELS,
    trained: Sequence[Departures] = (),
) -> dict[str, Any]:
    """The law whose clones have the errors' variance at every spread and the flattest rank histogram.

    Training patches cover more sites than validation patches, but a network has memorised them: errors there
    are a lower bound. They are pooled in for lit pixels only when they require a larger spread.

    Parameters
    ----------
    validation : departures of all validation patches and image sets. seed : of the random factors.
    flat_pixels : strength of the prior towards a flat curve, in pixels.
    trained : departures of training patches.

    Returns
    -------
    ``lit`` and ``unlit``, each with ``spreads_px`` and ``log_scales``; ``log_spread``; ``spread_skill_fair``
    and ``rank_js_distance`` of the calibrated clones, and, under ``…_before``, of the clones as drawn.

    Raises
    ------
    ValueError
        If the clones do not differ, or no image lights any pixel.
    """
    found = validation
    unlit = _all(found, "unlit")
    if unlit.all():
        raise ValueError("calibration: expected images that light validation patches, found all dark")
    if not any(d.members.any() for d in found):
        raise ValueError("calibration: expected clones that differ, found none that do")
    drawn, both = found, saturated([*found, *trained])
    found = saturated(found)
    own, pooled = Pixels.of(found, unlit=False), Pixels.of(both, unlit=False)
    if pooled.level > own.level:
        found, own = both[: len(found)], pooled
    lit = curve(own, flat_pixels)
    dark = unlit_curve(Pixels.of(found, unlit=True)) if unlit.sum() >= UNLIT_PIXELS else lit
    at = [
        np.where(d.unlit, *(np.interp(np.log(d.spread), np.log(k), v) for k, v in (dark, lit))) for d in found
    ]
    members = len(found[0].members)
    z = np.random.default_rng([seed, _FACTORS]).standard_normal((REPLICATES, len(found), members))
    tried: list[Floats] = []
    for width in LOG_SPREADS:
        # E exp(2 (width z - width^2)) = 1: the random factor does not change the variance.
        tails = np.exp(width * z[..., None] - width**2)
        rngs = [np.random.default_rng([seed, _RANKS, r]) for r in range(REPLICATES)]
        each = [
            scores(found, [np.exp(level) * t for level, t in zip(at, tails[r])], rng)
            for r, rng in enumerate(rngs)
        ]
        tried.append(np.mean(each, axis=0))
        logger.info("width %.1f: spread-skill ratio %.3f, rank distance %.4f", width, *tried[-1])
    width, best = min(zip(LOG_SPREADS, tried), key=lambda pair: pair[1][1])
    flat = scores(drawn, [np.ones((1, 1))] * len(drawn), np.random.default_rng([seed, _RANKS]))
    return {
        "lit": _written(*lit, width),
        "unlit": _written(*dark, width),
        "log_spread": width,
        "spread_skill_fair": float(best[0]),
        "rank_js_distance": float(best[1]),
        "spread_skill_fair_before": float(flat[0]),
        "rank_js_distance_before": float(flat[1]),
    }


def _written(knots: Floats, levels: Floats, width: float) -> dict[str, list[float]]:
    """A curve as JSON values; levels are lowered by width^2, so that the random factor adds no variance."""
    return {
        "spreads_px": [float(f"{k:.6g}") for k in knots],
        "log_scales": [round(float(v) - width**2, 4) for v in levels],
    }
