"""Comparison of systems: errors under the main condition with intervals, and under all conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from pipeline.drawing.style import CYCLE, GRID, QUIET, drawn, new_figure

Row = Mapping[str, Any]
_MARKS = "os^Dv<>P*X"


@drawn
def draw_systems(rows: Mapping[str, Row], doubtful: Sequence[str]) -> Figure:
    """RMSE of every system with its 95 % interval over sites; those that support no claim are grey.

    Parameters
    ----------
    rows : of the main condition, from the top. doubtful : names that support no claim.
    """
    figure = new_figure(8, 0.9 + 0.27 * max(1, len(rows)))
    axis = figure.subplots()
    for place, (name, row) in enumerate(rows.items()):
        colour = QUIET if name in doubtful else CYCLE[0]
        low, high = row.get("rmse_m_ci95_sites") or row.get("rmse_m_ci95") or (row["rmse_m"], row["rmse_m"])
        axis.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axis.plot([row["rmse_m"]], [place], color=colour, marker="o", markersize=6)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.set_xlabel(
        "RMSE, m; lines: 95 % over sites; grey: supports no claim" if rows else "nothing scored yet"
    )
    axis.grid(axis="x", color=GRID, linewidth=0.5)
    axis.set_axisbelow(True)
    return figure


@drawn
def draw_conditions(errors: Mapping[str, Sequence[float | None]], conditions: Sequence[str]) -> Figure:
    """RMSE of every system under every condition.

    Parameters
    ----------
    errors : RMSE, metres, by system and condition, None if not scored. conditions : their names.
    """
    figure = new_figure(9, 4.2)
    axis = figure.subplots()
    for number, (name, values) in enumerate(errors.items()):
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        colour, mark = CYCLE[number % len(CYCLE)], _MARKS[number % len(_MARKS)]
        axis.plot(*zip(*known), color=colour, marker=mark, markersize=5, linewidth=1, label=name)
    axis.set_xticks(range(len(conditions)), conditions)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("RMSE, m" if errors else "nothing scored yet")
    axis.grid(axis="y", color=GRID, linewidth=0.5)
    if errors:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
