"""Hills with a Sun over them, and images of them with a known shift, gain, dark level, noise and strip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.directions import vectors
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.photometry import radiance

Floats = NDArray[np.float64]

SIZE, PIXEL_M, MARGIN = 160, 40.0, 24


def hills(seed: int = 0, size: int = SIZE + 2 * MARGIN) -> Floats:
    """Heights with the relief of the polar highlands at a few scales, m."""
    rng = np.random.default_rng(seed)
    heights = np.zeros((size, size))
    for sigma, relief in ((20.0, 250.0), (8.0, 90.0), (3.0, 20.0)):
        layer = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
        heights += relief * layer / layer.std()
    return heights


def rendering(dem: Floats, azimuth: float = 60.0, elevation: float = 5.0) -> tuple[Floats, Floats]:
    """Lambert's radiance with shadows, and the Sun's visible share, inside the margin."""
    sun = vectors(np.array([azimuth]), np.array([elevation]))
    share = HorizonVisibility(dem, PIXEL_M, slice(MARGIN, -MARGIN)).share(sun, 0.533)[0].astype(np.float64)
    light = radiance(dem, PIXEL_M, sun, None, PhotometrySection(law="lambert"))[0]
    return light[MARGIN:-MARGIN, MARGIN:-MARGIN] * share, share


def photograph(
    light: Floats, right: float, up: float, gain: float = 1.0, dark: float = 0.0, noise: float = 0.0
) -> Floats:
    """An image whose content lies to the right and up of where the rendering has it."""
    moved = ndimage.shift(light, (-up, right), order=3, mode="nearest")
    rng = np.random.default_rng(7)
    return gain * moved + dark + noise * rng.standard_normal(light.shape)


def strip(width: float = 60.0, tilt: float = 0.2) -> NDArray[np.bool_]:
    """A swath across the map."""
    rows, cols = np.indices((SIZE, SIZE))
    return np.abs(cols - SIZE / 2 - tilt * (rows - SIZE / 2)) < width
