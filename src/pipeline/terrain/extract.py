"""Stage ``patches``: extract one tile's patches, with a halo, from the terrain."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.stages.terrain import PatchesStage
from pipeline.jobs.progress import progress
from pipeline.storage.store import StoreWriter
from pipeline.terrain.grid import RasterError
from pipeline.terrain.index import load_terrain
from pipeline.terrain.lattice import Terrain
from pipeline.terrain.patch_grid import MARGIN_PX, Candidates, candidates

logger = logging.getLogger(__name__)

# Largest window read at once: 8 Mpx = 32 MB of float32.
WINDOW_PX = 1 << 23


def extract_tile(index_path: Path | str, patches: PatchesStage, tile: int, out: Path | str) -> None:
    """Write the patches of one tile.

    A tile is a contiguous range of all candidates (see `pipeline.terrain.patch_grid`). Candidates with a
    missing pixel are left out; the store's attributes say how many. Halo pixels without data are NaN.

    Parameters
    ----------
    index_path : index made by `index_terrain`.
    patches : side, halo, stride and origin of patches, and the number of tiles.
    tile : 0 to ``patches.tiles - 1``.
    out : store to write, schema ``patches``. A tile without patches gives a store of length 0.

    Raises
    ------
    ValueError
        If there is no such tile.
    RasterError
        If no patch fits into any DEM, or a file cannot be read or has changed since it was indexed.
    """
    if not 0 <= tile < patches.tiles:
        raise ValueError(f"tile: expected 0 to {patches.tiles - 1} (patches.tiles), found {tile}")
    terrain = load_terrain(index_path)
    every = candidates(terrain, patches.size_px, patches.stride_px, patches.origin)
    if not len(every):
        least = patches.size_px if patches.origin == "even" else 2 * (patches.size_px + MARGIN_PX)
        raise RasterError(
            f"{index_path}: expected DEMs of at least {least} px per side (patches.size_px), found "
            f"{', '.join(f'{s.grid.height} x {s.grid.width}' for s in terrain.sites)}"
        )
    mine = np.arange(len(every))[every.part(tile, patches.tiles)]
    whole = _without_gaps(terrain, every, mine, patches.size_px, tile)
    kept = mine[whole]
    logger.info(
        "tile %d: %d of %d candidates, %d left out for missing pixels",
        tile, len(kept), len(every), len(mine) - len(kept),
    )  # fmt: skip
    attrs = {
        **_attrs(terrain, every, patches),
        "tile": tile,
        "candidates": len(mine),
        "left_out_missing": len(mine) - len(kept),
    }
    with StoreWriter(out, "patches", attrs) as store:
        _write_table(store, terrain, every, kept, patches.size_px)
        _write_pixels(store, terrain, every, kept, patches, tile)
    terrain.close()


def _attrs(terrain: Terrain, every: Candidates, patches: PatchesStage) -> dict[str, Any]:
    sites = [
        {
            "name": site.name,
            "files": terrain.files(site.index),
            "lattice": site.lattice,
            "crs_wkt": site.grid.crs_wkt,
            "origin": list(site.grid.origin),
            "height": site.grid.height,
            "width": site.grid.width,
            "anchor": list(every.anchors[site.index]),
            "pixel_m": site.grid.pixel_m,
            "whole": site.whole,
            **{key: getattr(site.grid.projection, key) for key in ("pole", "lon0", "scale")},
        }
        for site in terrain.sites
    ]
    return {
        "pixel_m": terrain.pixel_m,
        "size_px": patches.size_px,
        "halo_px": patches.halo_px,
        "stride_px": patches.stride_px,
        # Of the first site; with both poles in one run, see the sites' own.
        "crs_wkt": terrain.sites[0].grid.crs_wkt,
        "sites": sites,
    }


@dataclass(frozen=True)
class _Block:
    """Candidates of one site that are read in one window; `members` are indices into the grouped list."""

    site: int
    members: NDArray[np.int64]
    row0: int
    row1: int
    col0: int
    col1: int


def _blocks(every: Candidates, which: NDArray[np.int64], reach: int, largest: int) -> Iterator[_Block]:
    """Group candidates so that a window contains many and no window is larger than WINDOW_PX.

    Files are stored by rows and candidates are ordered along columns: reading patch by patch would decode
    the same strips many times.

    Parameters
    ----------
    every, which : candidates and the indices to group.
    reach : side of a patch, including its halo if it is read, pixels.
    largest : largest side of a window, pixels.
    """
    for site in np.unique(every.site[which]):
        inside = np.flatnonzero(every.site[which] == site)
        rows, cols = every.row[which[inside]], every.col[which[inside]]
        for c0, c1 in _runs(np.unique(cols), max(0, largest - reach)):
            in_cols = (cols >= c0) & (cols <= c1)
            tall = max(0, WINDOW_PX // (c1 - c0 + reach) - reach)
            for r0, r1 in _runs(np.unique(rows[in_cols]), tall):
                members = inside[in_cols & (rows >= r0) & (rows <= r1)]
                yield _Block(int(site), members, r0, r1, c0, c1)


def _runs(values: NDArray[np.int32], span: int) -> Iterator[tuple[int, int]]:
    """Split sorted values into runs whose first and last differ by at most `span`; yields both."""
    start = 0
    while start < len(values):
        stop = int(np.searchsorted(values, values[start] + span, side="right"))
        yield int(values[start]), int(values[stop - 1])
        start = stop


def _without_gaps(
    terrain: Terrain, every: Candidates, which: NDArray[np.int64], size: int, tile: int
) -> NDArray[np.bool_]:
    """Which candidates have data on every pixel of the patch, shape (len(which),)."""
    out = np.zeros(len(which), dtype=bool)
    blocks = list(_blocks(every, which, size, 8192))
    for b in progress(blocks, len(blocks), f"tile {tile}: looking for gaps"):
        missing = np.isnan(terrain.read(b.site, b.row0, b.row1 + size, b.col0, b.col1 + size))
        # Count missing pixels of rectangles by differences of a summed-area table.
        table = np.zeros((missing.shape[0] + 1, missing.shape[1] + 1), dtype=np.int32)
        table[1:, 1:] = missing.cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
        r, c = every.row[which[b.members]] - b.row0, every.col[which[b.members]] - b.col0
        n = table[r + size, c + size] - table[r, c + size] - table[r + size, c] + table[r, c]
        out[b.members] = n == 0
    return out


def _write_table(
    store: StoreWriter, terrain: Terrain, every: Candidates, kept: NDArray[np.int64], size: int
) -> None:
    """Write each patch's site, pixel, map coordinates, longitude, latitude and pole."""
    place = {name: np.zeros(len(kept)) for name in ("x0", "y0", "lon", "lat")}
    pole = np.zeros(len(kept), dtype=np.int8)
    for site in terrain.sites:
        at = every.site[kept] == site.index
        row = every.row[kept][at] + (size - 1) / 2
        col = every.col[kept][at] + (size - 1) / 2
        place["x0"][at], place["y0"][at] = site.grid.xy(row, col)
        place["lon"][at], place["lat"][at] = site.grid.lonlat(row, col)
        pole[at] = site.grid.pole
    for name in ("id", "site", "row", "col", "on_grid"):
        store.write(name, getattr(every, name)[kept], ("patch",))
    units = {"x0": "m", "y0": "m", "lon": "degrees_east", "lat": "degrees_north"}
    for name, values in place.items():
        store.write(name, values, ("patch",), attrs={"units": units[name]})
    store.write("pole", pole, ("patch",))


def _write_pixels(
    store: StoreWriter,
    terrain: Terrain,
    every: Candidates,
    kept: NDArray[np.int64],
    patches: PatchesStage,
    tile: int,
) -> None:
    """Stream heights, valid halo widths and counts into the store."""
    size, halo = patches.size_px, patches.halo_px
    side = size + 2 * halo
    attrs = {"units": "m", "long_name": "height above R = 1737400 m"}
    dem = store.create(
        "dem", (len(kept), side, side), "f4", ("patch", "y", "x"), (1, side, side), attrs=attrs
    )
    count = None
    if terrain.has_count:
        count = store.create("count", (len(kept), size, size), "f4", ("patch", "py", "px"), (1, size, size))
    widths = np.zeros((len(kept), 4), dtype=np.int32)
    blocks = list(_blocks(every, kept, side, 8192))
    for b in progress(blocks, len(blocks), f"tile {tile}: cutting patches"):
        around = b.row0 - halo, b.row1 + size + halo, b.col0 - halo, b.col1 + size + halo
        heights = terrain.read(b.site, *around)
        counts = None
        if count is not None:
            counts = terrain.read_count(b.site, b.row0, b.row1 + size, b.col0, b.col1 + size)
        for i in b.members:
            r, c = int(every.row[kept[i]]) - b.row0, int(every.col[kept[i]]) - b.col0
            patch = heights[r : r + side, c : c + side]
            dem[int(i)] = patch
            widths[i] = valid_halo(patch, halo)
            if count is not None and counts is not None:
                count[int(i)] = counts[r : r + size, c : c + size]
    store.write("halo", widths, ("patch", "side"), attrs={"sides": ["top", "right", "bottom", "left"]})


def valid_halo(patch: NDArray[np.float32], halo: int) -> NDArray[np.int32]:
    """Width of the halo with data on each side of a patch.

    The width is the number of adjacent lines, of the length of the patch's edge, without a missing pixel.
    Corners belong to no side: they may be NaN even if both of their sides are valid.

    Parameters
    ----------
    patch : (P + 2h, P + 2h) heights, NaN for missing.
    halo : h, pixels.

    Returns
    -------
    int32 (4,): top, right, bottom, left.
    """
    missing = np.isnan(patch)
    end = patch.shape[0] - halo
    rows = np.asarray(missing[:, halo:end].any(axis=1), dtype=bool)
    cols = np.asarray(missing[halo:end, :].any(axis=0), dtype=bool)
    outward = (rows[:halo][::-1], cols[end:], rows[end:], cols[:halo][::-1])
    return np.array([int(np.argmax(s)) if s.any() else halo for s in outward], dtype=np.int32)
