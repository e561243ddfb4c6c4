"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.drawing.style import CYCLE, GRID, drawn, new_figure, round_ticks

Floats = NDArray[np.floating[Any]]
Lines = Sequence[Mapping[str, float]]

_NOT_LOSSES = ("samples", "learning_rate")
_COLOURS = {"loss": "#1a1a1a"}
# Length of the running mean, lines of metrics.jsonl.
_SPAN = 10


@drawn
def draw_curves(panels: Sequence[tuple[str, Lines]], groups: Sequence[Sequence[str]] | None = None) -> Figure:
    """One panel per training stage, or per group of losses, all in one row.

    Parameters
    ----------
    panels : title and lines of ``metrics.jsonl`` of each stage.
    groups : with one stage, the losses that share a panel; the others get one panel each.
    """
    shown = [(title, lines, losses(lines)) for title, lines in panels]
    if groups is not None and len(panels) == 1:
        [(title, lines, known)] = shown
        parts = [[k for k in group if k in known] for group in groups]
        parts += [[k] for k in known if not any(k in group for group in groups)]
        shown = [(f"{title}: {', '.join(part)}", lines, part) for part in parts if part]
    figure = new_figure(11, 2.7)
    axes = figure.subplots(1, max(1, len(shown)), squeeze=False)[0]
    for axis, (title, lines, part) in zip(axes, shown, strict=False):
        _draw(axis, title, lines, part)
    return figure


def losses(lines: Lines) -> list[str]:
    """Sorted names of the losses in a curve; a total that equals its only part is left out."""
    found = sorted({key for line in lines for key in line} - set(_NOT_LOSSES))
    if len(found) == 2 and "loss" in found and all(line[found[0]] == line[found[1]] for line in lines):
        found.remove("loss")
    return found


def running_mean(values: Floats, span: int = _SPAN) -> Floats:
    """Mean of the last `span` values (fewer at the start), of the input's length."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - span)
    return (sums[end] - sums[start]) / (end - start)


def _draw(axis: Axes, title: str, lines: Lines, names: Sequence[str]) -> None:
    axis.set_title(title)
    axis.set_xlabel("samples seen")
    axis.set_ylabel("loss")
    axis.grid(color=GRID, linewidth=0.5)
    positive, least, most, longest = True, np.inf, 0.0, 0.0
    for i, name in enumerate(names):
        found = np.array([(line["samples"], line[name]) for line in lines if name in line], float)
        colour = _COLOURS.get(name, CYCLE[i % len(CYCLE)])
        smooth = len(found) >= 3 * _SPAN
        axis.plot(*found.T, color=colour, linewidth=0.8, alpha=0.3 if smooth else 0.9,
                  marker="o" if len(found) < 12 else None, markersize=3,
                  label=None if smooth else name)  # fmt: skip
        if smooth:
            axis.plot(found[:, 0], running_mean(found[:, 1]), color=colour, linewidth=1.5, label=name)
        positive &= bool((found[:, 1] > 0).all())
        least, most = min(least, float(found[:, 1].min())), max(most, float(found[:, 1].max()))
        longest = max(longest, float(found[-1, 0] / found[0, 0]))
    if names:
        axis.legend()
    if positive and most > 4 * least:
        axis.set_yscale("log")
        round_ticks(axis.yaxis)
    if longest > 100:
        axis.set_xscale("log")
