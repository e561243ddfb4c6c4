"""Relief shading of DEMs, and the panels that show it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.drawing.style import show_map

Floats = NDArray[np.floating[Any]]

# From the map's upper left, as on printed maps: lit from the lower side, craters look like hills.
AZIMUTH_DEG, ELEVATION_DEG = 315.0, 35.0
LIGHT = f"light from azimuth {AZIMUTH_DEG:g}° (clockwise from map up), elevation {ELEVATION_DEG:g}°"


def hillshade(
    dem: Floats, pixel_m: float, azimuth_deg: float = AZIMUTH_DEG, elevation_deg: float = ELEVATION_DEG
) -> NDArray[np.float64]:
    """Cosine of the incidence angle on a DEM under a distant light, without cast shadows.

    Parameters
    ----------
    dem : (Y, X) heights, metres; row 0 is the top of the map; at least 2 x 2. NaN where there are no data.
    pixel_m : pixel size, metres.
    azimuth_deg : of the light, clockwise from map up. elevation_deg : above the horizon.

    Returns
    -------
    (Y, X) in [0, 1]: max(0, n . s) for the unit normal n of central differences (one-sided at the edges).
    """
    down, right = np.gradient(np.asarray(dem, dtype=np.float64), pixel_m)
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    east, north = np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth)
    # The normal is (-dz/dx, -dz/dy, 1) with y up the map: rows run down, so dz/dy = -down.
    cosine = (np.sin(elevation) - east * right + north * down) / np.sqrt(1 + right**2 + down**2)
    return np.maximum(cosine, 0)


def stretch(shade: Floats) -> tuple[float, float]:
    """Ends of a grey scale that saturates at the darkest and brightest 0.5 % of a hillshade."""
    low, high = np.nanquantile(shade, (0.005, 0.995))
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def show_relief(axis: Axes, dem: Floats, pixel_m: float, ends: tuple[float, float], title: str = "") -> None:
    """Draw the hillshade of a DEM, (Y, X) metres, as one panel."""
    show_map(axis, hillshade(dem, pixel_m), "gray", ends, title)
