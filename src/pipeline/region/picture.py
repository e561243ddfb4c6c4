"""The region at a glance: relief, one image, uncertainty and error maps in one PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.drawing.relief import hillshade, show_relief, stretch
from pipeline.drawing.style import QUIET, drawn, new_figure, round_up, scale_bar, show_map
from pipeline.illumination.directions import azimuth_elevation
from pipeline.storage.atomic import replacing

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Shown:
    """What the picture is made of; maps are (S, S).

    Attributes
    ----------
    title, subtitle, origin : two lines above the panels, and what stands at the end of the first.
    prior, mean, clone, std : metres. truth : metres, or None where it is not known.
    image, valid, sun : one image, where it has data, and its Sun (3,).
    pixel_m, cell_m : pixel sizes of the result and of the a priori DEM, metres.
    """

    title: str
    subtitle: str
    origin: str
    prior: Floats
    mean: Floats
    clone: Floats
    truth: Floats | None
    std: Floats
    image: Floats
    valid: NDArray[np.bool_]
    sun: Floats
    pixel_m: float
    cell_m: float


def write_quicklook(path: Path | str, shown: Shown) -> None:
    """Draw and write the picture, atomically; equal values give equal bytes."""
    picture = _draw(shown)
    with replacing(path) as temporary:
        Path(temporary).write_bytes(picture)


@drawn
def _draw(shown: Shown) -> Figure:
    truth, px, across = shown.truth, shown.pixel_m, 3 if shown.truth is None else 4
    figure = new_figure(3.65 * across, 8.9)
    figure.set_layout_engine("constrained", rect=(0.006, 0.004, 0.988, 0.913))
    figure.text(0.012, 0.966, shown.title, fontsize=15, fontweight="bold", va="center")
    figure.text(0.012, 0.935, shown.subtitle, fontsize=9.5, color=QUIET, va="center")
    figure.text(0.988, 0.966, shown.origin, fontsize=9, color=QUIET, va="center", ha="right")
    axes = figure.subplots(2, across)
    reliefs = {
        f"A priori, {shown.cell_m:g} m cells, bicubic": shown.prior,
        "Mean of the clones": shown.mean,
        "One clone": shown.clone,
    }
    # One stretch for all: that of the truth, or of the best that is known.
    ends = stretch(hillshade(shown.mean if truth is None else truth, px))
    for axis, (title, dem) in zip(axes[0], reliefs.items()):
        if truth is not None:
            title += f"  |  RMSE {np.sqrt(np.mean((dem - truth) ** 2)):.2f} m"
        show_relief(axis, dem, px, ends, title)
    scale_bar(axes[0, 0], shown.mean.shape[1], px)

    azimuth, elevation = (float(v) for v in azimuth_elevation(shown.sun))
    image = np.where(shown.valid, shown.image, np.nan)
    top = float(np.quantile(shown.image[shown.valid], 0.998)) if shown.valid.any() else 0.0
    title = f"One image (pale: no data)  |  Sun az. {azimuth:.0f}°, el. {elevation:.0f}°"
    show_map(axes[1, 0], image, "gray", (0, top or 1.0), title, "radiance factor")
    _sun_arrow(axes[1, 0], azimuth, image.shape[0])
    top = round_up(float(np.quantile(shown.std, 0.99)))
    show_map(axes[1, 1], shown.std, "magma", (0, top), "Standard deviation", "m", "max")
    changes = {"Mean minus a priori": shown.mean - shown.prior}
    if truth is not None:
        show_relief(axes[0, 3], truth, px, ends, f"Truth, {px:g} m pixels")
        changes = {"Mean minus truth": shown.mean - truth, "A priori minus truth": shown.prior - truth}
    reach = round_up(float(np.quantile(np.abs([*changes.values()][-1]), 0.985)))
    for axis, (title, change) in zip(axes[1, 2:], changes.items(), strict=True):
        show_map(axis, change, "RdBu_r", (-reach, reach), title, "m", "both")
    return figure


def _sun_arrow(axis: Axes, azimuth: float, pixels: int) -> None:
    """An arrow in the corner that points the way the light travels."""
    east, down = np.sin(np.radians(azimuth)), -np.cos(np.radians(azimuth))
    x, y, half = 0.09 * pixels, 0.09 * pixels, 0.05 * pixels
    axis.annotate(
        "", xy=(x - half * east, y - half * down), xytext=(x + half * east, y + half * down),
        arrowprops={"arrowstyle": "-|>", "color": "#f4a300", "linewidth": 1.8, "mutation_scale": 13},
    )  # fmt: skip
