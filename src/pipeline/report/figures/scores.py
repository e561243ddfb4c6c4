"""Scores of all systems with their intervals, and the rank histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.drawing.style import CYCLE, GRID, QUIET, drawn, new_figure, round_ticks


@drawn
def draw_scores(rows: Mapping[str, Mapping[str, Any]], primary: str, baselines: Sequence[str]) -> Figure:
    """RMSE and slope error of every system with 95 % intervals.

    Parameters
    ----------
    rows : ``systems`` of metrics.json, in the order they are shown from the top.
    primary : name of the primary system. baselines : names of systems without learning.
    """
    figure = new_figure(11, 0.9 + 0.27 * len(rows))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, key, label in zip(axes, ("rmse_m", "slope_deg"), ("RMSE, m", "slope error, °"), strict=True):
        _draw(axis, rows, key, label, primary, baselines)
    axes[0].set_yticks(range(len(rows)), list(rows))
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for text in axes[0].get_yticklabels():
        text.set_fontweight("bold" if text.get_text() == primary else "normal")
        text.set_color("#1a1a1a")
    return figure


def _draw(
    axis: Axes, rows: Mapping[str, Mapping[str, Any]], key: str, label: str, primary: str,
    baselines: Sequence[str],
) -> None:  # fmt: skip
    values = np.array([row[key] for row in rows.values()], float)
    for place, (name, row) in enumerate(rows.items()):
        colour = QUIET if name in baselines else CYCLE[1] if name == primary else CYCLE[0]
        low, high = row.get(f"{key}_ci95", (row[key], row[key]))
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axis.plot([row[key]], [place], color=colour, marker="s" if name in baselines else "o", markersize=6)
    axis.set_xlabel(label)
    axis.grid(axis="x", color=GRID, linewidth=0.5)
    axis.set_axisbelow(True)
    if (values > 0).all() and values.max() > 8 * values.min():
        axis.set_xscale("log")
        round_ticks(axis.xaxis)
    else:
        axis.set_xlim(left=0)


@drawn
def draw_ranks(histogram: Sequence[int], title: str) -> Figure:
    """Share of pixels per rank of the truth among the clones; flat for a reliable ensemble."""
    figure = new_figure(min(11, 4 + 0.4 * len(histogram)), 2.7)
    axis = figure.subplots()
    counts = np.asarray(histogram, float)
    share = counts / max(1.0, counts.sum())
    axis.bar(np.arange(len(share)), share, width=0.86, color=CYCLE[0])
    axis.axhline(1 / len(share), color=CYCLE[1], linewidth=1.4, linestyle="--")
    axis.text(1.0, 1 / len(share), " flat", color=CYCLE[1], va="center", transform=axis.get_yaxis_transform())
    axis.set_xticks(np.arange(len(share)))
    axis.set_xlabel("rank of the truth among the clones")
    axis.set_ylabel("share of pixels")
    axis.set_title(title)
    return figure
