"""Stage ``far``: block means of the whole terrain, which cast shadows from beyond the patches' halos.

Beyond the terrain itself, coarse DEMs continue it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.jobs.progress import progress
from pipeline.storage.store import StoreWriter
from pipeline.terrain.grid import Grid, RasterError
from pipeline.terrain.index import load_terrain
from pipeline.terrain.lattice import Site, Terrain
from pipeline.terrain.map_grid import MapGrid
from pipeline.terrain.sampling import datum_offset, resampled
from pipeline.terrain.site_raster import heights_in_metres, open_site_raster

logger = logging.getLogger(__name__)

# Largest window read at once: 8 Mpx = 32 MB of float32.
WINDOW_PX = 1 << 23


def write_far(
    index_path: Path | str,
    cell_px: int,
    out: Path | str,
    coarse: Sequence[Path | str] = (),
    reach_m: float = 0.0,
) -> None:
    """Write the block means of every pixel lattice of the terrain.

    Sites of one lattice share one array, so that a mountain in one window casts its shadow into another.
    The blocks start at the top-left corner of the lattice's bounding box, widened by `reach_m` where there
    are coarse DEMs. A block's height is the mean of its pixels that have data; where there are none, that of
    the first coarse DEM with data there, moved by the median difference to the terrain where both have data;
    else NaN. Where the terrain is rescaled (`Terrain.read`), coarse DEMs are, too. The terrain is read in
    bands; only the block means of one lattice stay in memory.

    Parameters
    ----------
    index_path : index of the terrain, schema ``terrain/1``.
    cell_px : side of a block, pixels.
    out : store to make, schema ``far/1``.
    coarse : DEMs in any lunar projection that continue the terrain, the preferred one first.
    reach_m : how far from the terrain they do, m.

    Raises
    ------
    RasterError
        If a file cannot be read or has changed since it was indexed; if no coarse DEM has heights around a
        site.
    """
    terrain = load_terrain(index_path)
    numbers = sorted({site.lattice for site in terrain.sites})
    row, col = np.zeros(len(terrain.sites), np.int64), np.zeros(len(terrain.sites), np.int64)
    attrs = {"pixel_m": terrain.pixel_m, "cell_px": cell_px}
    with StoreWriter(out, "far", attrs) as store:
        for number in numbers:
            sites = [site for site in terrain.sites if site.lattice == number]
            wider = math.ceil(reach_m / (cell_px * terrain.pixel_m)) if coarse else 0
            offsets = _offsets(sites, wider * cell_px)
            for site, (r, c) in zip(sites, offsets, strict=True):
                row[site.index], col[site.index] = r, c
            means = _block_means(terrain, sites, offsets, cell_px, wider)
            # The first of the sites may begin right of or below the lattice's top-left corner.
            corner = sites[0].grid.window(-offsets[0][0], -offsets[0][1], 1, 1)
            if coarse:
                _continue(means, corner, cell_px, coarse, terrain.pixel_m / corner.pixel_m)
            middle = cell_px * corner.pixel_m / 2
            first = [corner.origin[0] + middle, corner.origin[1] - middle]
            about = {"first_centre_m": first, "crs_wkt": sites[0].grid.crs_wkt, "units": "m"}
            about["long_name"] = "mean height of a block above R = 1737400 m"
            store.write(f"lattice_{number}/dem", means, ("y", "x"), attrs=about, compress=True)
            known = np.isfinite(means)
            logger.info(
                "lattice %d: %d x %d blocks, %.0f %% with data", number, *means.shape, 100 * known.mean()
            )
        store.write("lattice", np.array([s.lattice for s in terrain.sites], np.int32), ("site",))
        store.write("row", row, ("site",))
        store.write("col", col, ("site",))
    terrain.close()


def _continue(
    means: NDArray[np.float32], corner: Grid, cell_px: int, coarse: Sequence[Path | str], scale: float
) -> None:
    """Fill blocks without data from coarse DEMs, in place.

    Parameters
    ----------
    means : ``(rows, cols)``. corner : grid whose top-left pixel is that of the first block.
    cell_px : side of a block, pixels. coarse : DEMs. scale : by which their heights are multiplied.

    Raises
    ------
    RasterError
        If a DEM is not readable as heights of the Moon, or none has heights there.
    """
    transform = corner.transform @ corner.transform.scale(cell_px)
    grid = MapGrid(corner.crs_wkt, transform, means.shape[1], means.shape[0])
    own, used = means.copy(), False
    for path in coarse:
        raster = open_site_raster(path)
        heights = resampled(raster, grid)
        raster.close()
        if not np.isfinite(heights).any():
            continue
        heights = scale * heights_in_metres(str(path), heights, grid.pixel_m)[0]
        move = datum_offset(own, heights)
        filled = np.isnan(means) & np.isfinite(heights)
        means[filled] = heights[filled] + move
        used = True
        logger.info("%s: %d blocks, moved by %.1f m to the terrain", path, int(filled.sum()), move)
    if not used:
        names = ", ".join(str(path) for path in coarse)
        raise RasterError(f"inputs.far: expected heights around {grid.describe()}, found none in {names}")


def _offsets(sites: Sequence[Site], wider_px: int) -> list[tuple[int, int]]:
    """Row and column of each site's top-left pixel in the bounding box of all sites, widened on all sides."""
    found = []
    for site in sites:
        offset = sites[0].grid.lattice_offset(site.grid)
        assert offset is not None  # sites of one lattice
        found.append(offset)
    top, left = min(r for r, _ in found), min(c for _, c in found)
    return [(r - top + wider_px, c - left + wider_px) for r, c in found]


def _block_means(
    terrain: Terrain, sites: Sequence[Site], offsets: Sequence[tuple[int, int]], cell: int, wider: int
) -> NDArray[np.float32]:
    """Mean of the pixels with data of every block, ``(rows, cols)``; NaN where there are none.

    `wider` blocks lie beyond the sites on all sides; `offsets` include them.
    """
    bottom = max(r + site.grid.height for site, (r, _) in zip(sites, offsets, strict=True))
    right = max(c + site.grid.width for site, (_, c) in zip(sites, offsets, strict=True))
    shape = -(-bottom // cell) + wider, -(-right // cell) + wider
    total, count = np.zeros(shape), np.zeros(shape, np.int64)
    bands = [band for site, offset in zip(sites, offsets, strict=True) for band in _bands(site, offset, cell)]
    for site, (r0, r1), (c0, c1), (row, col) in progress(bands, len(bands), "block means"):
        heights = terrain.read(site, r0 * cell - row, r1 * cell - row, c0 * cell - col, c1 * cell - col)
        blocks = heights.reshape(r1 - r0, cell, c1 - c0, cell)
        # Two sites may have pixels in one block.
        total[r0:r1, c0:c1] += np.nansum(blocks, axis=(1, 3), dtype=np.float64)
        count[r0:r1, c0:c1] += np.isfinite(blocks).sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        return (total / np.where(count, count, np.nan)).astype(np.float32)


Band = tuple[int, tuple[int, int], tuple[int, int], tuple[int, int]]


def _bands(site: Site, offset: tuple[int, int], cell: int) -> list[Band]:
    """Rows of blocks of a site to read together: (site, block rows, block columns, the site's offset)."""
    row, col = offset
    first, last = row // cell, -(-(row + site.grid.height) // cell)
    left, right = col // cell, -(-(col + site.grid.width) // cell)
    step = max(1, WINDOW_PX // (cell * cell * (right - left)))
    return [(site.index, (r, min(r + step, last)), (left, right), offset) for r in range(first, last, step)]
