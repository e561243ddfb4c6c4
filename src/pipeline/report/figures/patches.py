"""Reconstructed patches beside their truth, errors and uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.drawing.relief import hillshade, show_relief, stretch
from pipeline.drawing.style import colour_bar, drawn, new_figure, round_up, scale_bar, show_map
from pipeline.terrain.blocks import block_mean

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class PatchExample:
    """A system's reconstruction of one test patch; heights are metres above the a priori mean, (P, P).

    Attributes
    ----------
    label : of the row. truth, prior, mean, clone, std : metres; `prior` is the bicubic.
    pixel_m : pixel size, metres. factor : super-resolution factor.
    """

    label: str
    truth: Floats
    prior: Floats
    mean: Floats
    clone: Floats
    std: Floats
    pixel_m: float
    factor: int

    def rmse_m(self, estimate: Floats) -> float:
        """Root mean square error of an estimate, metres."""
        return float(np.sqrt(np.mean((np.asarray(estimate, float) - self.truth) ** 2)))


@drawn
def draw_reconstruction(example: PatchExample) -> Figure:
    """A priori DEM, mean of the clones and truth, side by side with the same illumination."""
    figure = new_figure(11, 4.0)
    axes = figure.subplots(1, 3)
    ends = stretch(hillshade(example.truth, example.pixel_m))
    cell = example.pixel_m * example.factor
    panels = (
        (example.prior, f"A priori, {cell:g} m cells, bicubic · RMSE {example.rmse_m(example.prior):.2f} m"),
        (example.mean, f"Mean of the clones · RMSE {example.rmse_m(example.mean):.2f} m"),
        (example.truth, f"Truth, {example.pixel_m:g} m pixels"),
    )
    for axis, (dem, title) in zip(axes, panels, strict=True):
        show_relief(axis, dem, example.pixel_m, ends, title)
        scale_bar(axis, example.truth.shape[1], example.pixel_m)
    return figure


@drawn
def draw_rows(examples: Sequence[PatchExample], error_m: float, std_m: float) -> Figure:
    """One row per patch: five hillshades with the same illumination, error of the mean, standard deviation.

    Parameters
    ----------
    examples : rows. error_m, std_m : ends of the two colour scales, metres, the same in all rows.
    """
    figure = new_figure(11, 0.3 + 1.72 * len(examples) + 0.5)
    grid = figure.add_gridspec(
        len(examples) + 1, 7, height_ratios=[*[1.0] * len(examples), 0.05], hspace=0.02, wspace=0.02
    )
    panels: list[Any] = [None, None]
    titles = (
        "A priori cells", "Bicubic", "Mean", "One clone", "Truth", "Mean minus truth", "Standard deviation"
    )  # fmt: skip
    for row, example in enumerate(examples):
        axes = [figure.add_subplot(grid[row, col]) for col in range(7)]
        _reliefs(axes[:5], example)
        panels[0] = show_map(axes[5], example.mean - example.truth, "RdBu_r", (-error_m, error_m))
        panels[1] = show_map(axes[6], example.std, "magma", (0, std_m))
        axes[0].set_ylabel(example.label, fontsize=8.5)
        if row == 0:
            for axis, title in zip(axes, titles, strict=True):
                axis.set_title(title, fontsize=9)
    for col, panel, end in ((5, panels[0], "both"), (6, panels[1], "max")):
        colour_bar(figure.add_subplot(grid[-1, col]), panel, "m", end, fill=True)
    return figure


def _reliefs(axes: Sequence[Axes], example: PatchExample) -> None:
    ends = stretch(hillshade(example.truth, example.pixel_m))
    cells = block_mean(example.truth, example.factor, np.float64)
    # Shaded at their own resolution: on the fine grid, flat cells have slopes only at their borders.
    show_relief(axes[0], cells, example.pixel_m * example.factor, ends)
    maps = (example.prior, example.mean, example.clone, example.truth)
    for axis, dem in zip(axes[1:], maps, strict=True):
        show_relief(axis, dem, example.pixel_m, ends)
    for axis, dem in zip(axes[1:4], maps, strict=False):
        axis.set_xlabel(f"RMSE {example.rmse_m(dem):.2f} m", fontsize=8, labelpad=2)
    scale_bar(axes[4], example.truth.shape[1], example.pixel_m)


def scale_ends(examples: Sequence[PatchExample]) -> tuple[float, float]:
    """Ends of the colour scales of `draw_rows`, metres: 99th percentiles of |error| and of std."""
    errors = np.concatenate([np.abs(e.mean - e.truth).ravel() for e in examples])
    spreads = np.concatenate([np.asarray(e.std).ravel() for e in examples])
    return round_up(float(np.quantile(errors, 0.99))), round_up(float(np.quantile(spreads, 0.99)))
