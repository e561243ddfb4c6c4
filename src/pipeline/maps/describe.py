"""Plan of a map before any work: images used and refused, bounds, memory and time."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config.maps import MapSection
from pipeline.config.root import Config
from pipeline.maps.layout import Layout
from pipeline.maps.points import read_points
from pipeline.maps.survey import Surveyed, survey
from pipeline.maps.tiling import tiles
from pipeline.terrain.grid import FINEST_PIXEL_M

# Measured on two cores at 2.8 GHz without a GPU (docs/performance.md): seconds per clone of a window with
# four network evaluations, per window with its images, and per image and megapixel prepared.
_CLONE_S, _WINDOW_S, _IMAGE_S = 0.12, 0.4, 8.0
# Memory of a job without a map, and per pixel of the map: arrays of the whole map in double precision.
_BASE_GB, _PIXEL_BYTES = 1.0, 200


def describe(config: Config, layout: Layout, paths: Sequence[str]) -> str:
    """A map's plan as text.

    Parameters
    ----------
    config : with a site. layout, paths : of the site's map, and of its images.

    Raises
    ------
    ValueError
        If none of the images can be used, or the points cannot.
    """
    if config.site.points is not None:
        read_points(config.site.points)
    rows = survey(paths, config.site, config.images, layout.grid)
    pixel = config.site.pixel_m
    return "\n".join(plan_lines(layout, rows, config.map, config.patches.size_px, pixel))


def plan_lines(
    layout: Layout, rows: list[Surveyed], drawn: MapSection, window_px: int, asked_m: float | None = None
) -> list[str]:
    """Lines of a map's plan.

    Parameters
    ----------
    layout, rows : of the site. drawn : section of the map. window_px : side of a window.
    asked_m : pixel size that the user asked for, metres; None for the DEM's own.
    """
    region, grid = layout.region, layout.grid
    left, bottom, right, top = region.bounds
    usable = [row for row in rows if row.usable]
    withheld = sum(row.withheld for row in usable)
    windows = sum(map(len, tiles(grid.height, grid.width, window_px, drawn.stride_px, drawn.tile_px)))
    megapixels = grid.height * grid.width / 1e6
    seconds = windows * (drawn.members + 4) * _CLONE_S + 2 * windows * _WINDOW_S
    seconds += 2 * len(usable) * megapixels * _IMAGE_S
    memory = _BASE_GB + grid.height * grid.width * _PIXEL_BYTES / 1e9
    lines = [
        f"map:     {region.describe()}",
        f"bounds:  x {left:.1f} to {right:.1f}, y {bottom:.1f} to {top:.1f} m",
        f"DEM:     {layout.kind}" + (", cells kept exactly" if layout.exact_cells else ""),
        *(f"         {note}" for note in (*layout.notes, *_own_pixels(layout, asked_m))),
        f"images:  {len(rows)} given, {len(usable)} used, {withheld} of them withheld for the check",
    ]
    for row in rows:
        state = "withheld" if row.withheld else "used" if row.usable else "refused"
        sun = "" if row.azimuth_deg is None else f"Sun {row.azimuth_deg:5.1f} {row.elevation_deg:5.2f} deg"
        lines.append(f"  {state:9} {row.path}  {sun} ({row.sun_source}) {row.why or row.note}".rstrip())
    lines.append(f"work:    {windows} windows of {drawn.members} clones")
    lines.append(
        f"time:    about {max(1, round(seconds / 60))} min on 2 cores; memory: about {memory:.1f} GB per job"
    )
    return lines


def _own_pixels(layout: Layout, asked_m: float | None) -> list[str]:
    """What to ask for where a map has the DEM's own pixels for want of another wish."""
    own, factor = layout.grid.pixel_m, layout.factor
    if asked_m is not None or own / factor < FINEST_PIXEL_M:
        return []
    finer = f"for a {factor} times finer map set site.pixel_m (--pixel) to {own / factor:.6g}"
    return [f"map at the DEM's own {own:.6g} m; {finer}"]
