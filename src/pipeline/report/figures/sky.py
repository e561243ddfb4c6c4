"""Sky plots: directions, arcs and image sets of the Sun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from numpy.typing import NDArray

from pipeline.drawing.style import CYCLE, GRID, INK, QUIET, drawn, new_figure
from pipeline.illumination.directions import azimuth_elevation

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SkyView:
    """The Suns of one patch; vectors are unit vectors in the map frame.

    Attributes
    ----------
    title : above the plot. offered : (n, 3) directions to choose from. chosen : (m, 3), repeats allowed.
    arc : (k, 3) the Sun's path at the patch's coordinates, or None if the images follow no arc.
    """

    title: str
    offered: Floats
    chosen: Floats
    arc: Floats | None


def multiplicity(suns: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Distinct directions (k, 3) and how often each occurs (k,)."""
    distinct, count = np.unique(np.round(np.asarray(suns, float), 6), axis=0, return_counts=True)
    return distinct, count


@drawn
def draw_sky(views: Sequence[SkyView]) -> Figure:
    """One polar plot per patch: zenith in the centre, horizon at the edge, map up at the top."""
    figure = new_figure(11, 4.2)
    axes = figure.subplots(1, len(views), subplot_kw={"projection": "polar"}, squeeze=False)[0]
    most = max(int(multiplicity(v.chosen)[1].max(initial=1)) for v in views)
    for axis, view in zip(axes, views, strict=True):
        _draw(axis, view)
    unit = sorted({1, max(1, most // 2), most})
    handles = [
        axes[0].scatter([], [], s=_area(n), color=CYCLE[1], alpha=0.75, label=f"chosen {n} x") for n in unit
    ]
    marks = [
        axes[0].scatter([], [], s=5, color="#8a8a8a", label="offered direction"),
        *axes[0].plot([], [], color=CYCLE[0], linewidth=1.4, label="Sun arc of the place"),
    ]
    figure.legend(handles=[*marks, *handles], loc="outside lower center", ncols=len(marks) + len(handles))
    return figure


def _area(times: Any) -> Any:
    """Area of a marker, square points."""
    return 22.0 * np.asarray(times, float)


def _draw(axis: PolarAxes, view: SkyView) -> None:
    axis.set_theta_zero_location("N")
    axis.set_theta_direction(-1)
    axis.set_rlim(0, 90)
    axis.set_rgrids(
        [0, 30, 60, 80, 90], ["90°", "60°", "30°", "10°", "0°"], angle=22.5, fontsize=7, color=QUIET
    )
    axis.set_thetagrids([0, 90, 180, 270], ["0°, map up", "90°", "180°", "270°"], fontsize=8)
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_title(view.title, fontsize=9, pad=10, loc="center", color=INK)
    axis.scatter(*_place(view.offered), s=4, color="#8a8a8a", linewidths=0)
    if view.arc is not None and len(view.arc):
        azimuth, zenith = _place(view.arc)
        # Break the line where the arc is below the horizon.
        jump = np.flatnonzero(np.linalg.norm(np.diff(view.arc, axis=0), axis=1) > 0.1) + 1
        axis.plot(
            np.insert(azimuth, jump, np.nan), np.insert(zenith, jump, np.nan), color=CYCLE[0], linewidth=1.4
        )
    distinct, count = multiplicity(view.chosen)
    axis.scatter(*_place(distinct), s=_area(count), color=CYCLE[1], alpha=0.75, linewidths=0, zorder=3)


def _place(suns: Floats) -> tuple[Floats, Floats]:
    """Angle, radians, and distance from the zenith, degrees."""
    azimuth, elevation = azimuth_elevation(suns)
    return np.radians(azimuth), 90 - elevation
