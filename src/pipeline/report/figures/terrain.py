"""The input terrain with its patches, coloured by their role."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from pipeline.drawing.relief import hillshade, stretch
from pipeline.drawing.style import NO_DATA, drawn, image_axis, new_figure, scale_bar

if TYPE_CHECKING:
    from pipeline.terrain.lattice import Terrain

Floats = NDArray[np.floating[Any]]

# In drawing order: held-out patches are drawn over the training patches that they overlap.
ROLES = {
    "train": "#0072b2",
    "low coverage": "#3a3a3a",
    "dropped": "#cc79a7",
    "validation": "#f0e442",
    "test": "#d55e00",
}
_MOST_SITES = 12
_STRIP_ROWS = 8


@dataclass(frozen=True)
class SiteMap:
    """A site, reduced to the size of a panel.

    Attributes
    ----------
    name : of the site. relief : (r, c) hillshade, NaN where there are no data. pixel_m : its pixel size.
    roles : (r, c) index into `ROLES` + 1, 0 where there is no patch.
    """

    name: str
    relief: Floats
    pixel_m: float
    roles: NDArray[np.uint8]


def read_reduced(terrain: Terrain, site: int, most_px: int) -> tuple[NDArray[np.float32], int]:
    """A site's heights at a panel's resolution; only a few rows of the site are in memory.

    Parameters
    ----------
    terrain : open terrain. site : index. most_px : largest side of the result.

    Returns
    -------
    (r, c) means, metres, over `step` columns and at most 8 middle rows of each `step`; and `step`, pixels.
    """
    grid = terrain.sites[site].grid
    step = max(1, math.ceil(max(grid.height, grid.width) / most_px))
    rows, cols = max(1, grid.height // step), max(1, grid.width // step)
    out = np.full((rows, cols), np.nan, np.float32)
    used = min(step, _STRIP_ROWS)
    for r in range(rows):
        top = r * step + (step - used) // 2
        strip = terrain.read(site, top, top + used, 0, cols * step)
        blocks = strip.reshape(used, cols, step).swapaxes(0, 1).reshape(cols, -1)
        known = np.isfinite(blocks)
        count = known.sum(axis=1)
        total = np.where(known, blocks, 0).sum(axis=1, dtype=np.float64)
        out[r] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return out, step


def site_map(
    terrain: Terrain,
    site: int,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    roles: Sequence[str],
    size_px: int,
    most_px: int,
) -> SiteMap:
    """Reduce a site and paint its patches.

    Parameters
    ----------
    rows, cols : (n,) top-left pixels of the patches on the site's grid. roles : (n,) keys of `ROLES`.
    size_px : side of a patch. most_px : largest side of the map.
    """
    heights, step = read_reduced(terrain, site, most_px)
    pixel_m = terrain.pixel_m * step
    painted = np.zeros(heights.shape, np.uint8)
    # A seam separates patches, if they are large enough.
    seam = 1 if size_px / step >= 8 else 0
    wanted = np.array(roles)
    for number, role in enumerate(ROLES, start=1):
        for i in np.flatnonzero(wanted == role):
            top, left = round(rows[i] / step), round(cols[i] / step)
            bottom, right = round((rows[i] + size_px) / step), round((cols[i] + size_px) / step)
            painted[top : max(top + 1, bottom - seam), left : max(left + 1, right - seam)] = number
    return SiteMap(terrain.sites[site].name, hillshade(heights, pixel_m), pixel_m, painted)


def panel_px(sites: int) -> int:
    """Largest side of a site's map when `sites` share the figure, pixels."""
    return 900 if sites == 1 else 640 if sites == 2 else 420


def shown_sites(sites: int) -> int:
    """Number of sites that the figure shows."""
    return min(sites, _MOST_SITES)


@drawn
def draw_terrain(maps: Sequence[SiteMap], counts: dict[str, int]) -> Figure:
    """Hillshades of the sites with their patches.

    Parameters
    ----------
    maps : sites. counts : patches of each role, for the legend; roles without patches are left out.
    """
    across = min(len(maps), 4)
    down = math.ceil(len(maps) / across)
    side = {1: 6.8, 2: 5.3, 3: 3.6}.get(across, 2.7)
    shapes = [site.relief.shape for site in maps]
    tallest = [max(h / w for h, w in shapes[i : i + across]) for i in range(0, len(shapes), across)]
    figure = new_figure(11 if across > 1 else 7.6, side * sum(tallest) + 0.28 * down + 0.45)
    axes = figure.subplots(down, across, squeeze=False, height_ratios=tallest).ravel()
    for axis in axes[len(maps) :]:
        axis.set_axis_off()
    for axis, site in zip(axes, maps, strict=False):
        image_axis(axis, _short(site.name, 60 if across < 3 else 32))
        axis.title.set_fontsize(9 if across < 3 else 8)
        axis.set_anchor("NW")
        axis.imshow(
            _painted(site), interpolation="nearest" if max(site.relief.shape) < 400 else "antialiased"
        )
        scale_bar(axis, site.relief.shape[1], site.pixel_m)
    handles = [
        Patch(facecolor=ROLES[role], alpha=0.8, label=f"{role} ({counts[role]:,})")
        for role in ROLES
        if counts.get(role)
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _short(name: str, most: int) -> str:
    """A site's name, shortened to fit above its panel."""
    first, *others = name.split("+")
    text = first if not others else f"{first} and {len(others)} more"
    return text if len(text) <= most else text[: most - 1] + "…"


def _painted(site: SiteMap) -> Floats:
    """(r, c, 3) colours: the hillshade, tinted by the roles of the patches."""
    low, high = stretch(site.relief) if np.isfinite(site.relief).any() else (0.0, 1.0)
    # Shadows stay light enough for a tint to be visible.
    grey = 0.2 + 0.8 * np.clip((site.relief - low) / (high - low), 0, 1)
    picture = np.where(np.isnan(grey)[..., None], to_rgb(NO_DATA), np.repeat(grey[..., None], 3, axis=2))
    table = np.array([(0, 0, 0), *map(to_rgb, ROLES.values())])
    tint = np.array([0.0, *(0.3 if role == "train" else 0.5 for role in ROLES)])[site.roles][..., None]
    return picture * (1 - tint) + table[site.roles] * tint
