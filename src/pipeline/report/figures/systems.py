"""Comparison of systems: errors under the main condition with intervals, and under all conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from pipeline.drawing.style import CYCLE, GRID, QUIET, drawn, new_figure

Row = Mapping[str, Any]


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
    """RMSE of every system under every condition, as numbers on a logarithmic scale of colours.

    Parameters
    ----------
    errors : RMSE, metres, by system and condition, None if not scored. conditions : their names.
    """
    figure = new_figure(8.5, 1.2 + 0.3 * max(1, len(errors)))
    axis = figure.subplots()
    if not errors:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "nothing scored yet", ha="center", va="center", color=QUIET)
        return figure
    table = np.array([[np.nan if value is None else value for value in row] for row in errors.values()])
    scale = LogNorm(np.nanmin(table), np.nanmax(table))
    picture = axis.imshow(table, norm=scale, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        ink = "black" if np.isfinite(value) and scale(value) > 0.55 else "white"
        text = f"{value:.3g}" if np.isfinite(value) else ""
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
    axis.set_xticks(range(len(conditions)), conditions)
    axis.set_yticks(range(len(errors)), list(errors))
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    figure.colorbar(picture, ax=axis, label="RMSE, m", pad=0.02)
    return figure
