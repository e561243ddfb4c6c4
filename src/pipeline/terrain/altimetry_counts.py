"""Simulated altimetry of a window whose count map is known: spots lie where a real altimeter hit.

A gridded product tells how many spots a pixel has, not which pass they belong to nor where in the pixel they
lie. Passes are therefore imagined as parallel strips, as wide as a cross of five spots, at a random angle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from pipeline.config.altimetry import AltimetrySection
from pipeline.terrain.altimetry import Altimetry, draw_errors, draw_off_centre
from pipeline.terrain.blocks import fill_nearest
from pipeline.terrain.synthetic.tracks import SHOT_SPACING_M

# Most spots simulated in a pixel; the mean of more has hardly another error.
MOST_SPOTS = 16


def simulate_at(
    dem: NDArray[np.float32],
    count: NDArray[np.floating] | NDArray[np.integer],
    pixel_m: float,
    rng: np.random.Generator,
    section: AltimetrySection,
) -> Altimetry:
    """Simulate the altimetry of a window in the pixels that a count map names.

    Parameters
    ----------
    dem : (H, W) heights, m, at least 2 x 2; NaN where there is no terrain, which no spot hits.
    count : (H, W) spots per pixel; NaN is 0. pixel_m : pixel size, m. rng : source of all randomness.
    section : errors of passes and spots; coverage and directions of simulated tracks are not used.

    Raises
    ------
    ValueError
        If the shapes differ, `dem` is not a window of 2 x 2 pixels at least, or `pixel_m` is not positive.
    """
    if dem.ndim != 2 or min(dem.shape) < 2 or count.shape != dem.shape:
        raise ValueError(
            f"count: expected the shape of a window of at least 2 x 2 pixels, found {count.shape} "
            f"for a window of {dem.shape}"
        )
    if not pixel_m > 0:
        raise ValueError(f"pixel_m: expected > 0, found {pixel_m}")
    spots = np.where(np.isfinite(dem), np.nan_to_num(count), 0).astype(np.int64).clip(0)
    rows, columns = np.nonzero(spots)
    errors = draw_errors(rng, section, pixel_m)
    off_centre = draw_off_centre(rng, section)
    angle = rng.uniform(0.0, np.pi)
    start = rng.uniform(0.0, 1.0)
    numbers = np.minimum(spots[rows, columns], MOST_SPOTS)
    pixel = np.repeat(np.arange(len(rows)), numbers)
    within = rng.uniform(-0.5, 0.5, (2, len(pixel)))
    y, x = rows[pixel] + within[0], columns[pixel] + within[1]
    strip_px = max(1.0, SHOT_SPACING_M / pixel_m)
    strip = np.floor((y * np.cos(angle) - x * np.sin(angle)) / strip_px + start).astype(np.int64)
    of, strip = np.unique(strip, return_inverse=True)
    bias = errors.bias_m * rng.standard_normal(len(of))
    offset = errors.offset_m / pixel_m * rng.standard_normal((2, len(of)))
    # Heights beside missing terrain are those of the nearest pixel that has one.
    heights = map_coordinates(
        fill_nearest(np.asarray(dem, np.float32)).astype(float),
        [
            rows[pixel] + off_centre * within[0] + offset[0, strip] + errors.shift_px[0],
            columns[pixel] + off_centre * within[1] + offset[1, strip] + errors.shift_px[1],
        ],
        order=1,
        mode="nearest",
    )
    heights += bias[strip] + errors.noise_m * rng.standard_normal(len(pixel))
    if errors.noise_m > 0:
        wild = rng.random(len(pixel)) < section.outliers
        heights += wild * section.outlier_m * rng.uniform(-1.0, 1.0, len(pixel))
    mean = np.bincount(pixel, heights, len(rows)) / numbers
    height = np.full(dem.shape, np.nan, np.float32)
    height[rows, columns] = mean
    share = len(rows) / max(1, int(np.isfinite(dem).sum()))
    most = np.iinfo(np.uint16).max
    return Altimetry(height, np.minimum(spots, most).astype(np.uint16), len(of), float(share), errors)
