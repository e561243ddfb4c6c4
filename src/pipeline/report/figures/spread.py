"""Figures of Yasuda (2025): spread against error per patch, and errors over the number of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.drawing.style import CYCLE, GRID, QUIET, drawn, new_figure, round_ticks

#: Means and standard deviations by the number of evaluations.
Series = Mapping[int, tuple[float, float]]


@drawn
def draw_spread(systems: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> Figure:
    """Scatter plots of spread and error, one panel per system; on the diagonal for a reliable ensemble.

    Parameters
    ----------
    systems : mean standard deviation and RMSE of each patch, (n,) and (n,), metres, by name.
    """
    columns = min(3, len(systems))
    rows = -(-len(systems) // columns)
    figure = new_figure(3.4 * columns, 3.2 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    most = 1.05 * max(float(np.max(values)) for pair in systems.values() for values in pair)
    for axis, (name, (spread, rmse)) in zip(panels, systems.items(), strict=False):
        axis.plot([0, most], [0, most], color=QUIET, linewidth=0.8)
        axis.plot(rmse, spread, "o", color=CYCLE[0], markersize=3, markeredgewidth=0, alpha=0.6)
        ratio = float(spread.mean() / np.sqrt(np.mean(rmse**2)))
        axis.set_title(f"{name}: spread / RMSE {ratio:.2f}")
        axis.set(xlim=(0, most), ylim=(0, most), aspect="equal")
        axis.set_xlabel("RMSE of the mean, m")
        axis.set_ylabel("spread, m")
    for axis in panels[len(systems) :]:
        axis.set_visible(False)
    return figure


@drawn
def draw_over_nfe(panels: Sequence[tuple[str, Mapping[str, Series]]]) -> Figure:
    """Scores over the network evaluations per clone, with bars of one standard deviation over seeds.

    Parameters
    ----------
    panels : label of the axis, and each system's series.
    """
    figure = new_figure(4.6 * len(panels), 3.2)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (label, systems) in zip(axes, panels, strict=True):
        for number, (name, series) in enumerate(systems.items()):
            nfe = sorted(series)
            means, stds = zip(*(series[n] for n in nfe), strict=True)
            axis.errorbar(
                nfe, means, yerr=stds, color=CYCLE[number % len(CYCLE)], marker="o", markersize=4,
                linewidth=1.2, capsize=2, label=name,
            )  # fmt: skip
        axis.set_xscale("log")
        round_ticks(axis.xaxis)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("network evaluations per clone")
        axis.set_ylabel(label)
        axis.grid(axis="y", color=GRID, linewidth=0.5)
        axis.set_axisbelow(True)
        axis.legend()
    return figure
