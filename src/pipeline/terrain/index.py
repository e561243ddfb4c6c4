"""Stage ``terrain``: check all input files early, and write an index of files, grids and sites."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.stages.terrain import TerrainStage
from pipeline.storage.atomic import read_json, write_json
from pipeline.terrain.grid import Grid, GridError, RasterError, check_pixel
from pipeline.terrain.lattice import Member, Site, Source, Terrain, arrange, check_overlaps, sample_windows
from pipeline.terrain.readers import open_raster
from pipeline.terrain.site_raster import seem_kilometres, slopes

logger = logging.getLogger(__name__)

SCHEMA = "terrain/1"
# The Moon's heights above R = 1737400 m lie between -9.2 and +10.8 km (LOLA).
HIGHEST_M = 20_000.0


def index_terrain(
    dem_paths: Sequence[Path | str],
    count_paths: Sequence[Path | str] | None,
    inputs: TerrainStage,
    out: Path | str,
) -> None:
    """Check all input files and write the terrain's index.

    Parameters
    ----------
    dem_paths : DEM files.
    count_paths : a count map for each DEM, in the same order; None or empty for none.
    inputs : the stage's section; its `pixel_m` is checked, unless files are rescaled to it.
    out : JSON file to write. Its bytes depend only on the files' headers, sizes and given paths.

    Raises
    ------
    RasterError
        If a file is missing, truncated, unreadable or repeated, contains no heights, or differs from a file
        that it overlaps.
    GridError
        If a file's grid is not supported, its pixel size is not the expected one or differs from the others'
        (except with `rescale`), or a count map is not on its DEM's grid.
    """
    counts = list(count_paths or [])
    if not dem_paths:
        raise RasterError("inputs.dem: expected at least one DEM file, found none")
    if counts and len(counts) != len(dem_paths):
        raise RasterError(
            f"inputs.count: expected {len(dem_paths)} files, one for each DEM, found {len(counts)}"
        )
    sources = [
        _source(str(dem), str(counts[i]) if counts else None, inputs) for i, dem in enumerate(dem_paths)
    ]
    sources.sort(key=lambda s: (s.stem, s.path))
    for a, b in itertools.pairwise(sources):
        if a.path == b.path:
            raise RasterError(f"{a.path}: expected each DEM once in inputs.dem, found it twice")
    first, pixel = sources[0].path, sources[0].grid.pixel_m
    for source in sources[1:]:
        # A model is trained for one pixel size.
        if not inputs.rescale and abs(source.grid.pixel_m - pixel) > 1e-6 * pixel:
            raise GridError(
                f"{source.path}: expected the pixel size of {first} ({pixel:g} m) for all DEMs of a run, "
                f"found {source.grid.pixel_m:g} m"
            )
    pixel = inputs.pixel_m if inputs.rescale and inputs.pixel_m else pixel
    terrain = Terrain(sources, arrange(sources, inputs.blocks), pixel)
    _check_heights(terrain)
    check_overlaps(terrain)
    terrain.close()
    write_json(out, terrain_json(terrain))
    logger.info(
        "terrain: %d files, %d sites, %g m per pixel", len(sources), len(terrain.sites), terrain.pixel_m
    )


def _source(dem: str, count: str | None, inputs: TerrainStage) -> Source:
    raster = open_raster(dem)
    check_pixel(dem, raster.grid, None if inputs.rescale else inputs.pixel_m)
    raster.close()
    if count is None:
        return Source(dem, raster.grid, raster.data_bytes)
    other = open_raster(count)
    other.close()
    if not other.grid.same_as(raster.grid):
        raise GridError(
            f"{count}: expected the grid of its DEM {dem} ({raster.grid.describe()}), "
            f"found {other.grid.describe()}"
        )
    return Source(dem, raster.grid, raster.data_bytes, count, other.data_bytes)


def _check_heights(terrain: Terrain) -> None:
    """Check samples of each DEM.

    Radii, and nodata that is not marked, are out of the range of heights; kilometres have too small slopes.
    """
    for source in terrain.sources:
        raster, pixel = terrain._raster(source, count=False), source.grid.pixel_m
        known, steps = [], []
        for window in sample_windows(0, source.grid.height, 0, source.grid.width):
            data = raster.read(*window).astype(np.float64)
            known.append(data[np.isfinite(data)])
            steps.append(slopes(data, pixel))
        heights = np.concatenate(known)
        if not heights.size:
            continue
        low, high = float(heights.min()), float(heights.max())
        worst = max(abs(low), abs(high))
        if worst > HIGHEST_M:
            raise RasterError(
                f"{source.path}: expected heights in metres above R = 1737400 m (within "
                f"+-{HIGHEST_M:.0f} m), found {worst:g} (radii, or missing data not marked as nodata?)"
            )
        # Level terrain has no slopes in any unit.
        if low < high and heights.size > 64 and seem_kilometres(low, high, np.concatenate(steps), pixel):
            raise RasterError(
                f"{source.path}: expected heights in metres above R = 1737400 m, found {low:g} to {high:g} "
                f"on pixels of {pixel:g} m (kilometres? Multiply them by 1000)"
            )


def terrain_json(terrain: Terrain) -> dict[str, Any]:
    """The index as JSON values."""
    return {
        "schema": SCHEMA,
        "pixel_m": terrain.pixel_m,
        "files": [
            {
                "dem": s.path,
                "bytes": s.data_bytes,
                "count": s.count,
                "count_bytes": s.count_bytes,
                "grid": s.grid.to_json(),
            }
            for s in terrain.sources
        ],
        "sites": [
            {
                "name": site.name,
                "lattice": site.lattice,
                "grid": site.grid.to_json(),
                "members": [[m.source, m.row, m.col] for m in site.members],
                "block": site.block,
                "whole": site.whole,
            }
            for site in terrain.sites
        ],
    }


def load_terrain(index_path: Path | str) -> Terrain:
    """Open the terrain of an index; files are opened when they are first read.

    Raises
    ------
    ValueError
        If the file is not a terrain index.
    """
    index = read_json(index_path, SCHEMA)
    sources = [
        Source(f["dem"], Grid.from_json(f["grid"]), f["bytes"], f["count"], f["count_bytes"])
        for f in index["files"]
    ]
    sites = [
        Site(
            i, s["name"], s["lattice"], Grid.from_json(s["grid"]), tuple(Member(*m) for m in s["members"]),
            s["block"], s["whole"],
        )
        for i, s in enumerate(index["sites"])
    ]  # fmt: skip
    return Terrain(sources, sites, index["pixel_m"])
