"""Displacement of an image's content from its position on a DEM.

Whole pixels come from the masked cross-correlation of locally normalised pictures, fractions of a pixel from
Gauss-Newton steps on the same pictures; see `pipeline.imagery.correlation` and `.refinement`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pipeline.imagery.correlation import masked_correlation, peak
from pipeline.imagery.refinement import Fit, Pair, Photograph, Scales, refine, solve
from pipeline.imagery.smoothing import Floats, Mask, like, normalised, picture

#: Least number of valid pixels that are registered.
MIN_PIXELS = 400
#: Least correlation after the shift that `plausible` accepts.
MIN_CORRELATION = 0.2
# Share of the image's pixels that must stay on the rendering at a shift.
_OVERLAP = 0.5
# Systematic error that residuals do not show: shifts against LOLA-like DEMs and against the true terrain
# differ by 0.03 to 0.05 pixel, on images whose estimated error is 0.01.
_FLOOR_PX = 0.03
# The refinement may leave the whole-pixel peak by this much, pixels.
_REACH_PX = 2.0
_BLOCK_PX = 40
_BLOCK_SHARE = 0.5
# Blocks whose shift has a larger standard error than this are left out, pixels.
_BLOCK_SIGMA_PX = 1.0


@dataclass(frozen=True)
class Match:
    """Displacement of an image against a rendering, in pixels of both.

    Attributes
    ----------
    shift_right_px, shift_up_px : displacement of the image's content to map-right and map-up; a correction
        moves the image by the opposite. NaN where it cannot be determined.
    sigma_right_px, sigma_up_px : standard errors; infinite where they cannot be determined.
    correlation_before, correlation_after : of the locally normalised pictures, as given and after correction.
    residual_p50_px, residual_p85_px : percentiles of the distance between the shifts of blocks of the image
        and that of the whole; NaN where no block has enough texture.
    blocks : number of blocks of these percentiles.
    max_shift_px : the search's limit. pixels : valid pixels of the image.
    opposite_correlation : `correlation_after` under the opposite Sun, where that was tried.
    """

    shift_right_px: float
    shift_up_px: float
    sigma_right_px: float
    sigma_up_px: float
    correlation_before: float
    correlation_after: float
    residual_p50_px: float
    residual_p85_px: float
    blocks: int
    max_shift_px: float
    pixels: int
    opposite_correlation: float | None = None


def register(
    values: ArrayLike,
    valid: ArrayLike,
    dark: ArrayLike,
    rendering: ArrayLike,
    max_shift_px: float,
    scales: Scales | None = None,
    opposite: ArrayLike | None = None,
) -> Match:
    """Find the displacement of an image against a rendering of the ground under its Sun.

    Parameters
    ----------
    values : ``(H, W)`` image, row 0 at the top of the map. valid : ``(H, W)`` bool, its valid pixels.
    dark : dark level in the image's unit, a number or ``(H, W)``.
    rendering : ``(H, W)`` radiance with cast shadows, in any unit; NaN where unknown. It should reach beyond
        the image by `max_shift_px` where it can.
    max_shift_px : limit of the search along each axis, pixels.
    scales : of the normalised pictures; None for defaults whose local mean is as wide as the search range:
        where content is displaced far, relief has often displaced it by different amounts, and only wide
        features have a common shift.
    opposite : ``(H, W)`` rendering with the Sun's azimuth turned by 180 degrees, or None: fills in
        `Match.opposite_correlation`.

    Returns
    -------
    A match with NaN shifts and infinite errors where there are fewer than `MIN_PIXELS` valid pixels or no
    texture, which `plausible` refuses.

    Raises
    ------
    ValueError
        If shapes differ, or the limit is not positive or not less than half the shorter side.
    """
    image, mask = picture(values, valid)
    model = like(rendering, image.shape, "rendering")
    if not 0 < max_shift_px < min(image.shape) / 2:
        raise ValueError(
            f"max_shift_px: expected a number in (0, {min(image.shape) / 2:g}), found {max_shift_px}"
        )
    scales = scales or Scales(coarse_px=max(Scales().coarse_px, max_shift_px))
    dark = np.broadcast_to(np.asarray(dark, dtype=np.float64), image.shape)
    near = _around(mask, int(np.ceil(max_shift_px + 4 * scales.coarse_px)))
    light = np.where(mask[near], image[near] - dark[near], 0.0)
    photograph = Photograph(light, mask[near], scales)
    match = _match(_pair(photograph, model[near]), max_shift_px)
    if opposite is None:
        return match
    # Only the correlation is asked for: no uncertainty, no blocks.
    other = _pair(photograph, like(opposite, image.shape, "opposite")[near])
    fit = _search(other, max_shift_px)
    correlation = other.correlation(np.zeros(2)) if fit is None else fit.correlation
    return replace(match, opposite_correlation=correlation)


def _pair(photograph: Photograph, model: Floats) -> Pair:
    known = np.isfinite(model)
    return Pair(photograph, np.where(known, model, 0.0), known)


def _match(pair: Pair, max_shift_px: float) -> Match:
    """The match of an image and a rendering, both cut out around the image's valid pixels."""
    before, pixels = pair.correlation(np.zeros(2)), int(pair.photograph.mask.sum())
    fit = _search(pair, max_shift_px)
    if fit is None or fit.last is None:
        return Match(
            np.nan, np.nan, np.inf, np.inf, before, before, np.nan, np.nan, 0, float(max_shift_px), pixels
        )
    distances, variances = _blocks(fit, pair.photograph.scales.alike_px)
    p50, p85 = np.percentile(distances, (50, 85)) if len(distances) else (np.nan, np.nan)
    spread = 0.0
    if len(distances) > 1:
        # Parts of the image displaced differently spread more than their own errors explain; the median
        # distance of a two-dimensional normal distribution is 1.18 sigma.
        spread = max((p50 / 1.18) ** 2 - float(np.median(variances)), 0.0) / len(distances)
    covariance = fit.last.covariance(pair.photograph.scales.alike_px)
    sigma = np.sqrt(np.maximum(np.diag(covariance), spread) + _FLOOR_PX**2)
    return Match(
        float(fit.shift[1]), float(-fit.shift[0]), float(sigma[1]), float(sigma[0]), before,
        fit.correlation, float(p50), float(p85), len(distances), float(max_shift_px), pixels,
    )  # fmt: skip


def shrink(
    match: Match,
    sigma_m_prior: float,
    pixel_m: float = 1.0,
    azimuth_deg: float = 0.0,
    along_px: float = 0.0,
) -> tuple[float, float]:
    """Shift to apply: the posterior mean under a normal prior around 0.

    Parameters
    ----------
    match : what was measured. sigma_m_prior : standard deviation of misregistration, in `pixel_m`'s unit.
    pixel_m : size of a pixel; 1 where the prior is in pixels.
    azimuth_deg : of the Sun on the map, clockwise from map-up.
    along_px : additional standard error along that azimuth, pixels, which the match cannot estimate: errors
        of the rendered DEM look like a displacement along the light, hardly one across it.

    Returns
    -------
    Shifts to map-right and map-up, pixels: those of `match`, shrunk towards 0; 0 where it has none.

    Raises
    ------
    ValueError
        If the prior or `along_px` is negative or the pixel's size is not positive.
    """
    if not sigma_m_prior >= 0 or not pixel_m > 0 or not along_px >= 0:
        raise ValueError(
            "shrink: expected a prior and an error of at least 0 and a positive pixel, "
            f"found {sigma_m_prior}, {along_px} and {pixel_m}"
        )
    shift = np.array([match.shift_right_px, match.shift_up_px])
    variance = np.array([match.sigma_right_px, match.sigma_up_px]) ** 2
    known = np.isfinite(shift) & np.isfinite(variance)
    prior = (sigma_m_prior / pixel_m) ** 2
    if prior == 0 or not known.any():
        return 0.0, 0.0
    light = np.array([np.sin(np.radians(azimuth_deg)), np.cos(np.radians(azimuth_deg))])
    # An axis without a shift weighs nothing.
    total = np.diag(prior + np.where(known, variance, 1e12)) + along_px**2 * np.outer(light, light)
    right, up = prior * np.linalg.solve(total, np.where(known, shift, 0.0)) * known
    return float(right), float(up)


def plausible(match: Match, opposite: Match | None = None) -> str | None:
    """Reason why a match is not plausible; None where it is.

    Parameters
    ----------
    match : under the image's Sun.
    opposite : the same image against the rendering with the Sun's azimuth turned by 180 degrees; None to use
        `match.opposite_correlation`, where it has one.
    """
    if not np.isfinite(match.shift_right_px) or not np.isfinite(match.sigma_right_px):
        return f"no shift found: {match.pixels} valid pixels, too few or without texture"
    farthest = max(abs(match.shift_right_px), abs(match.shift_up_px))
    if farthest > match.max_shift_px - 0.5:
        return f"shift of {farthest:.1f} px at the limit of the search, {match.max_shift_px:g} px"
    if match.correlation_after < MIN_CORRELATION:
        return f"correlation {match.correlation_after:.2f}, expected at least {MIN_CORRELATION:g}"
    other = match.opposite_correlation if opposite is None else opposite.correlation_after
    if other is not None and match.correlation_after <= other:
        return f"correlation {match.correlation_after:.2f}, with the opposite Sun {other:.2f}"
    return None


def _around(mask: Mask, margin: int) -> tuple[slice, slice]:
    """The valid pixels' bounding box with a margin: the rest of the map needs no work."""
    sides = []
    for axis, size in enumerate(mask.shape):
        found = np.flatnonzero(mask.any(axis=1 - axis))
        sides.append(
            slice(max(int(found[0]) - margin, 0), int(found[-1]) + margin + 1) if len(found) else slice(size)
        )
    return sides[0], sides[1]


def _search(pair: Pair, max_shift_px: float) -> Fit | None:
    """Whole-pixel search, then refinement; None with too few pixels, no texture, or no convergence."""
    photograph, scales = pair.photograph, pair.photograph.scales
    if photograph.mask.sum() < MIN_PIXELS:
        return None
    weights = photograph.mask.astype(np.float64), pair.model_mask.astype(np.float64)
    first = photograph.over(photograph.mask)[0]
    second = normalised(pair.model, weights[1], scales.fine_px, scales.coarse_px)
    most = int(np.ceil(max_shift_px))
    correlation = masked_correlation(first, second, *weights, most, _OVERLAP)
    if not correlation.max() > 0:
        return None
    fit = refine(pair, np.array(peak(correlation)[1]), _REACH_PX)
    return fit if fit.converged else None


def _blocks(fit: Fit, alike_px: float) -> tuple[Floats, Floats]:
    """Distances of the shifts of blocks from that of the whole image, px, and variances of these shifts,
    px^2.

    Only blocks with texture are listed, (n,) each; the variance is the mean over both axes.
    """
    image, model, both = fit.pictures
    height, width = image.shape
    found = []
    for top in range(0, height, _BLOCK_PX):
        for left in range(0, width, _BLOCK_PX):
            at = np.s_[top : top + _BLOCK_PX, left : left + _BLOCK_PX]
            if both[at].sum() < _BLOCK_SHARE * _BLOCK_PX**2:
                continue
            step = solve(image[at], model[at], both[at])
            if step is None:
                continue
            trace = float(np.trace(step.covariance(alike_px)))
            if np.sqrt(trace) <= _BLOCK_SIGMA_PX:
                found.append((float(np.hypot(*step.change)), trace / 2))
    every = np.array(found, dtype=np.float64).reshape(-1, 2)
    return every[:, 0], every[:, 1]
