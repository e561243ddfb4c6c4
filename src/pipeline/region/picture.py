"""The region at a glance: relief, one image, uncertainty and error maps in one PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

import pipeline.illumination.laws.lambert  # noqa: F401 - of `hillshade`: imported here, it enters the keys
from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.directions import azimuth_elevation, vectors
from pipeline.illumination.photometry import radiance
from pipeline.storage.atomic import replacing

Floats = NDArray[np.floating[Any]]

_INK, _QUIET, _NO_DATA = "#1a1a1a", "#5c5c5c", "#dfe3ea"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": "#9a9a9a",
    "axes.linewidth": 0.6,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelcolor": _QUIET,
    "xtick.color": _QUIET,
    "xtick.labelsize": 8,
}
# Light of the relief panels: from the map's upper left, as on printed maps.
_AZIMUTH, _ELEVATION = 315.0, 35.0
# More pixels than a panel has are averaged.
_PANEL_PX = 900


@dataclass(frozen=True)
class Shown:
    """What the picture is made of; maps are (S, S).

    Attributes
    ----------
    title, subtitle, origin : two lines above the panels, and what stands at the end of the first.
    prior, mean, clone, truth, std : metres.
    image, valid, sun : one image, where it has data, and its Sun (3,).
    pixel_m, cell_m : pixel sizes of the result and of the a priori DEM, metres.
    rmse_prior, rmse_mean, rmse_clone : metres.
    """

    title: str
    subtitle: str
    origin: str
    prior: Floats
    mean: Floats
    clone: Floats
    truth: Floats
    std: Floats
    image: Floats
    valid: NDArray[np.bool_]
    sun: Floats
    pixel_m: float
    cell_m: float
    rmse_prior: float
    rmse_mean: float
    rmse_clone: float


def hillshade(dem: Floats, pixel_m: float) -> Floats:
    """Lambert shading in [0, 1] of a DEM (S, S), lit from the upper left."""
    law = PhotometrySection(law="lambert", albedo=1.0)
    sun = torch.from_numpy(vectors(_AZIMUTH, _ELEVATION))[None]
    light: Floats = radiance(torch.from_numpy(np.array(dem, dtype=np.float64)), pixel_m, sun, None, law)[
        0
    ].numpy()
    return light / np.pi


def write_quicklook(path: Path | str, shown: Shown) -> None:
    """Draw and write the picture, atomically; equal values give equal bytes."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.6, 8.9), facecolor="white")
        FigureCanvasAgg(figure)
        _draw(figure, shown)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=125, metadata={"Software": None})


def _draw(figure: Figure, shown: Shown) -> None:
    axes = figure.subplots(2, 4)
    figure.subplots_adjust(left=0.012, right=0.988, top=0.885, bottom=0.075, wspace=0.035, hspace=0.105)
    figure.text(0.012, 0.962, shown.title, fontsize=15, fontweight="bold", va="center")
    figure.text(0.012, 0.931, shown.subtitle, fontsize=9.5, color=_QUIET, va="center")
    figure.text(0.988, 0.962, shown.origin, fontsize=9, color=_QUIET, va="center", ha="right")
    px = shown.pixel_m
    reliefs = [hillshade(dem, px) for dem in (shown.prior, shown.mean, shown.clone, shown.truth)]
    # One stretch for all four: that of the truth.
    low, high = np.quantile(reliefs[3], (0.01, 0.995))
    titles = (
        f"A priori, {shown.cell_m:g} m cells, bicubic  |  RMSE {shown.rmse_prior:.2f} m",
        f"Mean of the clones  |  RMSE {shown.rmse_mean:.2f} m",
        f"One clone  |  RMSE {shown.rmse_clone:.2f} m",
        f"Truth, {px:g} m pixels",
    )
    for axis, relief, title in zip(axes[0], reliefs, titles, strict=True):
        _map(axis, relief, title, "gray", low, high)
    _scale_bar(axes[0, 0], shown.truth.shape[1], px)

    azimuth, elevation = (float(v) for v in azimuth_elevation(shown.sun))
    image = np.where(shown.valid, shown.image, np.nan)
    known = image[shown.valid]
    top = float(np.quantile(known, 0.998)) if known.size else 1.0
    title = f"One image (pale: no data)  |  Sun az. {azimuth:.0f}°, el. {elevation:.0f}°"
    panel = _map(axes[1, 0], image, title, "gray", 0, top or 1.0)
    _bar(figure, axes[1, 0], panel, "radiance factor")
    _sun_arrow(axes[1, 0], azimuth, image.shape[0])

    top = _round_up(float(np.quantile(shown.std, 0.99)))
    panel = _map(axes[1, 1], shown.std, "Standard deviation", "magma", 0, top)
    _bar(figure, axes[1, 1], panel, "m", "max")
    errors = shown.mean - shown.truth, shown.prior - shown.truth
    reach = _round_up(float(np.quantile(np.abs(errors[1]), 0.985)))
    for axis, error, title in zip(
        axes[1, 2:], errors, ("Mean minus truth", "A priori minus truth"), strict=True
    ):
        panel = _map(axis, error, title, "RdBu_r", -reach, reach)
        _bar(figure, axis, panel, "m", "both")


def _map(axis: Axes, values: Floats, title: str, colours: str, low: float, high: float) -> Any:
    """One panel; the map's top is up."""
    axis.set_facecolor(_NO_DATA)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title)
    extent = (0, values.shape[1], values.shape[0], 0)
    return axis.imshow(
        _thinned(values), cmap=colours, vmin=low, vmax=high, extent=extent, interpolation="antialiased"
    )


def _thinned(values: Floats) -> Floats:
    """Block means of maps that are much larger than a panel."""
    step = -(-max(values.shape) // _PANEL_PX)
    if step == 1:
        return values
    rows, cols = (n // step * step for n in values.shape)
    blocks: Floats = values[:rows, :cols].reshape(rows // step, step, cols // step, step).mean(axis=(1, 3))
    return blocks


def _bar(figure: Figure, axis: Axes, panel: Any, label: str, extend: str = "neither") -> None:
    """A thin colour bar below a panel, its label at the right end."""
    place = axis.inset_axes((0.04, -0.052, 0.82 if len(label) < 4 else 0.6, 0.022))
    bar = figure.colorbar(panel, cax=place, orientation="horizontal", extend=extend)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(length=2, width=0.5, pad=2)
    bar.ax.locator_params(nbins=5)
    bar.ax.text(
        1.03 if extend == "neither" else 1.08,
        0.5,
        label,
        transform=bar.ax.transAxes,
        va="center",
        fontsize=8,
        color=_QUIET,
    )


def _scale_bar(axis: Axes, pixels: int, pixel_m: float) -> None:
    """A bar of a round length, about a fifth of the panel."""
    metres = _round_down(pixels * pixel_m / 4)
    length = metres / pixel_m
    x, y = 0.045 * pixels, 0.95 * pixels
    outline = [withStroke(linewidth=4.5, foreground="black", alpha=0.55)]
    axis.plot(
        [x, x + length], [y, y], color="white", linewidth=2.6, solid_capstyle="butt", path_effects=outline
    )
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    outline = [withStroke(linewidth=2.5, foreground="black", alpha=0.55)]
    axis.text(
        x + length / 2, y - 0.018 * pixels, label, color="white", ha="center", va="bottom", fontsize=9,
        fontweight="bold", path_effects=outline,
    )  # fmt: skip


def _sun_arrow(axis: Axes, azimuth: float, pixels: int) -> None:
    """An arrow in the corner that points the way the light travels."""
    east, down = np.sin(np.radians(azimuth)), -np.cos(np.radians(azimuth))
    x, y, half = 0.09 * pixels, 0.09 * pixels, 0.05 * pixels
    axis.annotate(
        "", xy=(x - half * east, y - half * down), xytext=(x + half * east, y + half * down),
        arrowprops={"arrowstyle": "-|>", "color": "#f4a300", "linewidth": 1.8, "mutation_scale": 13},
    )  # fmt: skip


def _round_down(value: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above a positive value."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-12)))


def _round_up(value: float) -> float:
    """A value rounded up to two digits, for the end of a colour bar; 1 for none."""
    if not value > 0:
        return 1.0
    power = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / power - 1e-9) * power)
