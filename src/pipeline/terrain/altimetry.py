"""Simulated altimetry of a window of terrain: heights along tracks, with realistic errors.

A pass crosses the window in a straight line. Its shots are 57 m apart, each with a cross of five spots, or
two of them on the night side (`pipeline.terrain.synthetic.tracks` has the numbers and their source). Passes
are added until the wanted share of the pixels is hit; a pixel's height is the mean of its spots. Before
adjustment, real passes have errors of 11 to 18 m horizontally and 0.8 m in height, which are constant along a
pass and cause ridges along tracks in gridded altimetry. Adjusted passes keep a tenth of these errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt

from pipeline.config.altimetry import AltimetrySection
from pipeline.config.base import Range
from pipeline.jobs.seeds import log_uniform
from pipeline.terrain.synthetic.tracks import (
    LOST_SHARE,
    NIGHT_BEAMS,
    NIGHT_SHARE,
    SHOT_SPACING_M,
    SPOT_RADIUS_M,
    SPOT_ROTATION_DEG,
)

# Largest height bias of a pass, pixels: grids of fine pixels are made from adjusted passes.
BIAS_LIMIT_PX = 0.05
# Bunches of passes per dominant direction, and range of their half widths relative to the window's.
BUNCHES = 4
BUNCH_WIDTH = (0.02, 0.15)
# Largest number of simulated shots per pixel along a pass: for larger pixels, one shot represents several.
SHOTS_PER_PIXEL = 2
# Share of a pass's bias and offset that remains after the adjustment of passes to each other.
_ADJUSTED = 0.1
# Simulated spots per pixel after which no more passes are added.
MOST_SPOTS = 60
# Passed to the kernel as an argument, since numba's cache does not notice changed constants of another file.
_TRACKS = (
    SHOT_SPACING_M, SPOT_RADIUS_M, np.radians(SPOT_ROTATION_DEG), NIGHT_SHARE, NIGHT_BEAMS, LOST_SHARE
)  # fmt: skip


class Errors(NamedTuple):
    """Error amplitudes of a window: standard deviations in metres, and a shift (rows, columns) in pixels."""

    bias_m: float
    offset_m: float
    noise_m: float
    shift_px: tuple[float, float]


@dataclass(frozen=True)
class Altimetry:
    """Altimetry of a window.

    Attributes
    ----------
    height : (H, W) float32, mean height of a pixel's spots, m; NaN where there is none.
    count : (H, W) uint16, spots per pixel.
    passes : number of passes. wanted : requested share of hit pixels.
    errors : amplitudes with which the errors were drawn; all 0 in a window without errors.
    """

    height: NDArray[np.float32]
    count: NDArray[np.uint16]
    passes: int
    wanted: float
    errors: Errors


def simulate(
    dem: NDArray[np.float32], pixel_m: float, rng: np.random.Generator, section: AltimetrySection
) -> Altimetry:
    """Simulate the altimetry of a window.

    Parameters
    ----------
    dem : (H, W) heights, m, at least 2 x 2; NaN where there is no terrain, which no spot hits. Displaced
        passes use heights from beside a pixel: include a halo where this matters.
    pixel_m : pixel size, m. rng : source of all randomness. section : settings.

    Raises
    ------
    ValueError
        If `dem` is not a window of 2 x 2 pixels at least, or `pixel_m` is not positive.
    """
    if dem.ndim != 2 or min(dem.shape) < 2:
        raise ValueError(f"dem: expected a window of at least 2 x 2 pixels, found shape {dem.shape}")
    if not pixel_m > 0:
        raise ValueError(f"pixel_m: expected > 0, found {pixel_m}")
    low, high = section.coverage.low, section.coverage.high
    wanted = float(low * (high / low) ** np.sqrt(rng.random()))
    spread = np.radians(log_uniform(rng, section.spread_deg))
    # Ascending and descending passes lie on both sides of the meridian.
    half = 0.0 if rng.random() < section.one_way else rng.uniform(0.0, np.pi / 4)
    meridian = rng.uniform(0.0, np.pi)
    bunching = _uniform(rng, section.bunching)
    centres = rng.uniform(-1.0, 1.0, (2, BUNCHES))
    widths = rng.uniform(*BUNCH_WIDTH, (2, BUNCHES))
    errors = draw_errors(rng, section, pixel_m)
    heights = np.ascontiguousarray(dem, dtype=np.float32)
    total, weight = np.zeros(dem.shape), np.zeros(dem.shape, dtype=np.int64)
    goal = int(np.ceil(wanted * np.isfinite(heights).sum()))
    stride = max(1, int(pixel_m / (SHOTS_PER_PIXEL * SHOT_SPACING_M)))
    outliers = 0.0 if errors.noise_m == 0 else section.outliers
    off_centre = draw_off_centre(rng, section)
    amounts = np.array(
        [errors.bias_m, errors.offset_m, errors.noise_m, outliers, section.outlier_m, off_centre]
    )
    axes = np.array([meridian - half, meridian + half])
    passes = _fill(
        heights, total, weight, pixel_m, stride, goal, axes, spread, bunching, centres, widths, amounts,
        np.array(errors.shift_px), _TRACKS, rng,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        height = np.where(weight > 0, total / np.maximum(weight, 1), np.nan).astype(np.float32)
    count = np.minimum(weight, np.iinfo(np.uint16).max).astype(np.uint16)
    return Altimetry(height, count, int(passes), float(wanted), errors)


def linear_dem(altimetry: Altimetry) -> NDArray[np.float32]:
    """A gridded DEM like published ones: linear interpolation between hit pixels, nearest neighbour outside.

    Linear interpolation is on the Delaunay triangles of the hit pixels' centres; outside their convex hull,
    or if they are collinear, a pixel has the height of the nearest hit one.

    Returns
    -------
    array (H, W) float32
        Heights, m, without gaps.

    Raises
    ------
    ValueError
        If no pixel is hit.
    """
    hit = altimetry.count > 0
    if not hit.any():
        raise ValueError("altimetry: expected at least one pixel with a spot, found none")
    rows, columns = distance_transform_edt(~hit, return_distances=False, return_indices=True)
    nearest = altimetry.height[rows, columns]
    places = np.argwhere(hit)
    if np.linalg.matrix_rank(places - places[0]) < 2:
        return nearest
    grid = np.indices(hit.shape).reshape(2, -1).T
    linear = LinearNDInterpolator(places, altimetry.height[hit].astype(float))(grid).reshape(hit.shape)
    return np.where(np.isfinite(linear), linear, nearest).astype(np.float32)


def _uniform(rng: np.random.Generator, within: Range) -> float:
    return rng.uniform(within.low, within.high)


def draw_off_centre(rng: np.random.Generator, section: AltimetrySection) -> float:
    """Draw a window's `altimetry.off_centre`; no random number is used where there is no choice."""
    if section.off_centre.high > section.off_centre.low:
        return _uniform(rng, section.off_centre)
    return section.off_centre.low


def draw_errors(rng: np.random.Generator, section: AltimetrySection, pixel_m: float) -> Errors:
    """Error amplitudes of a window; windows with and without errors use equally many random numbers."""
    exact, adjusted, shifted = rng.random(3) < (section.exact, section.adjusted, section.shifted)
    bias = min(_uniform(rng, section.bias_m), BIAS_LIMIT_PX * pixel_m)
    offset, noise = _uniform(rng, section.offset_m), _uniform(rng, section.noise_m)
    down, right = section.shift_px * np.clip(rng.standard_normal(2), -2.0, 2.0)
    if adjusted:
        bias, offset = _ADJUSTED * bias, _ADJUSTED * offset
    if exact:
        return Errors(0.0, 0.0, 0.0, (0.0, 0.0))
    return Errors(bias, offset, noise, (float(down), float(right)) if shifted else (0.0, 0.0))


@njit(cache=True, nogil=True)
def _height(dem, y, x):  # type: ignore[no-untyped-def]
    """Bilinear height at a position in pixels (centres are whole numbers); nearest neighbour beside NaN.

    Positions more than half a pixel beyond the outermost centres are moved back to there.
    """
    rows, columns = dem.shape
    i, j = min(max(int(np.floor(y)), 0), rows - 2), min(max(int(np.floor(x)), 0), columns - 2)
    v, u = min(max(y - i, -0.5), 1.5), min(max(x - j, -0.5), 1.5)
    upper = (1 - u) * dem[i, j] + u * dem[i, j + 1]
    lower = (1 - u) * dem[i + 1, j] + u * dem[i + 1, j + 1]
    value = (1 - v) * upper + v * lower
    if np.isfinite(value):
        return value
    return np.float64(dem[i + (1 if v >= 0.5 else 0), j + (1 if u >= 0.5 else 0)])


@njit(cache=True, nogil=True)
def _chord(y, x, down, right, height, width, margin):  # type: ignore[no-untyped-def]
    """Distances from (y, x) along a line to its entry into and exit from a window with a margin."""
    first, last = -np.inf, np.inf
    for place, step, side in ((y, down, height), (x, right, width)):
        if abs(step) > 1e-12:
            one, two = (-margin - place) / step, (side + margin - place) / step
            first, last = max(first, min(one, two)), min(last, max(one, two))
        elif place < -margin or place > side + margin:
            return 0.0, -1.0
    return first, last


@njit(cache=True, nogil=True)
def _fill(  # type: ignore[no-untyped-def]
    dem, total, weight, pixel_m, stride, goal, axes, spread, bunching, centres, widths, amounts, shift,
    tracks, rng,
):  # fmt: skip
    """Add passes until `goal` pixels are hit; adds heights and numbers of spots to `total` and `weight`.

    Lengths are in metres from the window's upper left corner. Each simulated shot represents `stride` shots.
    """
    rows, columns = dem.shape
    height, width = rows * pixel_m, columns * pixel_m
    bias_m, offset_m, noise_m, outliers, outlier_m, off_centre = amounts
    spot_noise, spot_outliers = noise_m / np.sqrt(stride), outliers * stride
    spacing, radius, turn, night_share, night_beams, lost_share = tracks
    hit, spots, passes = 0, 0, 0
    beams = np.arange(5)
    while hit < goal and spots < MOST_SPOTS * rows * columns:
        passes += 1
        group = 1 if rng.random() < 0.5 else 0
        angle = axes[group] + spread * rng.standard_normal()
        right, down = np.cos(angle), np.sin(angle)
        across = rng.random() * 2.0 - 1.0
        if rng.random() < bunching:
            bunch = int(rng.random() * centres.shape[1])
            across = centres[group, bunch] + widths[group, bunch] * rng.standard_normal()
        across *= 0.5 * (abs(right) * height + abs(down) * width)
        y, x = 0.5 * height + across * right, 0.5 * width - across * down
        first, last = _chord(y, x, down, right, height, width, radius)
        bias = bias_m * rng.standard_normal()
        off_y = offset_m * rng.standard_normal() / pixel_m + shift[0] - 0.5
        off_x = offset_m * rng.standard_normal() / pixel_m + shift[1] - 0.5
        used = 5
        if rng.random() < night_share:
            used = night_beams
            for k in range(used):  # the first of a random order
                other = k + int(rng.random() * (5 - k))
                beams[k], beams[other] = beams[other], beams[k]
        spots += 5  # also for a pass beside the window, so that the loop ends
        along = first + rng.random() * spacing * stride
        while along < last:
            if rng.random() >= lost_share:
                for k in range(used):
                    beam, spot_y, spot_x = beams[k], y + along * down, x + along * right
                    if beam > 0:
                        spot_y += radius * np.sin(angle + turn + beam * (np.pi / 2))
                        spot_x += radius * np.cos(angle + turn + beam * (np.pi / 2))
                    spots += 1
                    row, column = int(np.floor(spot_y / pixel_m)), int(np.floor(spot_x / pixel_m))
                    if row < 0 or row >= rows or column < 0 or column >= columns:
                        continue
                    if not np.isfinite(dem[row, column]):
                        continue
                    centre_y, centre_x = row + 0.5, column + 0.5
                    value = _height(
                        dem,
                        centre_y + off_centre * (spot_y / pixel_m - centre_y) + off_y,
                        centre_x + off_centre * (spot_x / pixel_m - centre_x) + off_x,
                    )
                    if not np.isfinite(value):
                        continue
                    value += bias
                    if spot_noise > 0:
                        value += spot_noise * rng.standard_normal()
                    if spot_outliers > 0 and rng.random() < spot_outliers:
                        value += outlier_m * (2.0 * rng.random() - 1.0) / stride
                    hit += weight[row, column] == 0
                    total[row, column] += value * stride
                    weight[row, column] += stride
            along += spacing * stride
    return passes
