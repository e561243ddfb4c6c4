"""The images from which a patch is reconstructed, and where they have data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.drawing.style import drawn, new_figure, scale_bar, show_map
from pipeline.illumination.directions import azimuth_elevation

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

COLUMNS = 8
_KEPT = ListedColormap(["#3b4252", "#ecd9a0"])


def distinct_suns(suns: Floats, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct Suns of a set (N, 3), sorted by azimuth; more than `most` are thinned evenly.

    Returns
    -------
    Index of the first image of each Sun, and how often it occurs.
    """
    _, first, count = np.unique(np.round(suns, 6), axis=0, return_index=True, return_counts=True)
    order = np.lexsort(azimuth_elevation(suns[first])[::-1])
    if len(order) > most:
        order = order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(int))]
    return first[order], count[order]


@drawn
def draw_contact_sheet(
    images: Floats, valid: Mask, suns: Floats, repeats: NDArray[np.int64] | None, pixel_m: float
) -> Figure:
    """Images in rows, each with azimuth and elevation of its Sun.

    Parameters
    ----------
    images : (n, P, P) radiance factor. valid : (n, P, P), False where there are no data.
    suns : (n, 3) unit vectors, map frame. repeats : how often the set contains each image, or None.
    pixel_m : pixel size, metres.
    """
    rows = math.ceil(len(images) / COLUMNS)
    figure = new_figure(11, 1.82 * rows)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    azimuth, elevation = azimuth_elevation(suns)
    for axis in axes[len(images) :]:
        axis.set_axis_off()
    for i, axis in enumerate(axes[: len(images)]):
        top = _white(images[i][valid[i]])
        times = "" if repeats is None or repeats[i] == 1 else f" · {repeats[i]} x"
        title = f"az {azimuth[i]:.0f}°, el {elevation[i]:.0f}°{times}"
        show_map(axis, np.where(valid[i], images[i], np.nan), "gray", (0, top or 1), title)
        axis.title.set_fontsize(8)
        axis.set_xlabel(f"white = {top:.2g}" if top else "no light", fontsize=7.5, labelpad=2)
    scale_bar(axes[0], images.shape[-1], pixel_m)
    return figure


def _white(values: Floats) -> float:
    """End of an image's grey scale: its 99.5th percentile, or its maximum if hardly any pixel is lit."""
    if not values.size:
        return 0.0
    return float(np.quantile(values, 0.995)) or float(values.max())


@drawn
def draw_masks(valid: Mask, images: Floats, pixel_m: float, shown: int = 6) -> Figure:
    """Masks of the first images with missing data, and numbers of images with data, and light, per pixel.

    Parameters
    ----------
    valid : (N, P, P), False where there are no data. images : (N, P, P) radiance factor.
    pixel_m : pixel size, metres. shown : largest number of masks.
    """
    picked = np.flatnonzero(~valid.all(axis=(1, 2)))[:shown]
    figure = new_figure(11, 3.5)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.05, 1))[0]
    for i, axis in enumerate(left.subplots(2, -(-shown // 2), squeeze=False).ravel()):
        if i >= len(picked):
            axis.set_axis_off()
            continue
        kept = valid[picked[i]]
        show_map(axis, kept, _KEPT, (0, 1), f"image {picked[i]}: {kept.mean():.0%} kept")
        axis.title.set_fontsize(8)
    counts = (valid.sum(axis=0), (valid & (images > 0)).sum(axis=0))
    top = max(1, len(valid))
    for axis, count, title in zip(
        right.subplots(1, 2), counts, ("Images with data", "Images with data and light"), strict=True
    ):
        show_map(axis, count, "viridis", (0, top), title, f"images (of {top})")
        scale_bar(axis, count.shape[1], pixel_m)
    return figure
