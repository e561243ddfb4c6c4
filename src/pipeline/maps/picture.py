"""Overview of a map in one PNG: relief before and after, uncertainty, source of the heights, and slopes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.drawing.relief import LIGHT, hillshade, show_relief, stretch
from pipeline.drawing.style import QUIET, drawn, image_axis, new_figure, round_up, scale_bar, show_map
from pipeline.maps.kinds import KINDS
from pipeline.maps.overview import Overview, grid_of, read_overview
from pipeline.storage.atomic import replacing

#: Classes of ``class.tif``: value, colour and what decides the height there.
CLASSES = ((1, "#0072b2", "images"), (2, "#56b4e9", "images and a priori"), (3, "#e69f00", "a priori"))

# Larger maps are read at reduced resolution, as a panel has fewer pixels.
_SIDE_PX = 2000


def write_quicklook(path: Path | str, products: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """Draw and write the picture, atomically; equal values give equal bytes.

    Parameters
    ----------
    path : PNG to make.
    products : GeoTIFFs by their names in `pipeline.maps.products.KINDS`; ``mean`` and ``prior`` are needed,
        others get their panels where given.
    facts : about the map; shown where given: ``site``, ``model`` (fingerprint), ``members``, and ``images``
        (number of those that the map uses).
    """
    picture = _draw(products, facts)
    with replacing(path) as temporary:
        temporary.write_bytes(picture)


@drawn
def _draw(products: Mapping[str, str], facts: Mapping[str, Any]) -> Figure:
    grid = grid_of(products["mean"])
    step = -(-max(grid.width, grid.height) // _SIDE_PX)

    def read(name: str) -> Overview:
        return read_overview(products[name], step, KINDS[name].average)

    panels = [name for name in ("std", "lit", "class", "slope") if name in products]
    if "class" not in panels and "azimuth_gap" in products:
        panels.insert(panels.index("lit") + 1 if "lit" in panels else 0, "azimuth_gap")
    across = 3
    down = -(-(2 + len(panels)) // across)
    # Panels have the map's aspect ratio, within limits.
    tall = 3.65 * min(max(grid.height / grid.width, 0.4), 2.0) + 0.55
    figure = new_figure(3.65 * across, tall * down + 0.8)
    head = 0.8 / (tall * down + 0.8)
    figure.set_layout_engine("constrained", rect=(0.006, 0.004, 0.988, 0.992 - head))
    site = str(facts.get("site") or "map").replace("_", " ")
    # A dollar sign in a name does not start a formula.
    figure.text(0.012, 1 - 0.40 * head, site, fontsize=15, fontweight="bold", va="center", parse_math=False)
    figure.text(0.012, 1 - 0.80 * head, _facts(grid, facts), fontsize=9.5, color=QUIET, va="center")
    if facts.get("model"):
        model = f"model {facts['model']}"
        figure.text(
            0.988, 1 - 0.40 * head, model, fontsize=9, color=QUIET, va="center", ha="right", parse_math=False
        )
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for axis in axes:
        axis.set_anchor("N")
    prior, mean = read("prior"), read("mean")
    # The same light and grey scale for both.
    pixel = mean.pixel_m
    ends = _stretch(hillshade(mean.values, pixel))
    show_relief(axes[0], prior.values, pixel, ends, "A priori DEM")
    show_relief(axes[1], mean.values, pixel, ends, "Mean of the clones")
    axes[1].set_xlabel(LIGHT, fontsize=6.5, labelpad=2, color=QUIET)
    axes[0].set_xlabel(" ", fontsize=6.5, labelpad=2)
    scale_bar(axes[0], mean.values.shape[1], grid.pixel_m * grid.width / mean.values.shape[1])
    del prior, mean
    for axis, name in zip(axes[2:], panels):
        _panel(axis, name, read(name).values)
    for axis in axes[2 + len(panels) :]:
        axis.set_axis_off()
    return figure


def _panel(axis: Axes, name: str, values: Any) -> None:
    """Draw one of the panels that have their own colour scale."""
    if name == "class":
        image_axis(axis, "What decides the height")
        colours = ListedColormap([colour for _, colour, _ in CLASSES])
        axis.imshow(values, cmap=colours, vmin=0.5, vmax=len(CLASSES) + 0.5, interpolation="nearest")
        handles = [Patch(facecolor=colour, label=f"{value} {text}") for value, colour, text in CLASSES]
        axis.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, handlelength=1.0,
            columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip
        return
    known = values[np.isfinite(values)]
    if name == "std":
        top = round_up(float(np.quantile(known, 0.99))) if known.size else 1.0
        show_map(axis, values, "magma", (0, top), "Standard deviation", "m", "max")
    elif name == "slope":
        top = round_up(float(np.quantile(known, 0.995))) if known.size else 1.0
        show_map(axis, values, "cividis", (0, top), "Slope of the mean", "degrees", "max")
    elif name == "lit":
        top = max(1.0, float(known.max())) if known.size else 1.0
        show_map(axis, values, "viridis", (0, top), "Images that light the pixel", "number")
    else:
        show_map(axis, values, "cividis", (0, 360), "Widest gap between azimuths", "degrees")


def _stretch(shade: Any) -> tuple[float, float]:
    return stretch(shade) if np.isfinite(shade).any() else (0.0, 1.0)


def _facts(grid: Any, facts: Mapping[str, Any]) -> str:
    lon, lat = (float(v) for v in grid.lonlat((grid.height - 1) / 2, (grid.width - 1) / 2))
    width, height = grid.width * grid.pixel_m / 1000, grid.height * grid.pixel_m / 1000
    east, north = f"{abs(lon):.2f}° {'E' if lon >= 0 else 'W'}", f"{abs(lat):.2f}° {'N' if lat >= 0 else 'S'}"
    texts = [f"{width:.4g} x {height:.4g} km at {north}, {east}", f"pixels of {grid.pixel_m:g} m"]
    if facts.get("members") is not None:
        texts.append(f"{facts['members']} clones")
    if facts.get("images") is not None:
        texts.append(f"{facts['images']} images used")
    return "   ·   ".join(texts)
