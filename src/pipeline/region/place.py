"""Location of the region: at a given centre, or where it contains the most test patches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.region import RegionSection
from pipeline.terrain.grid import Grid
from pipeline.terrain.lattice import Terrain
from pipeline.terrain.patch_grid import Candidates, Origin, candidates, free_positions

logger = logging.getLogger(__name__)


class PlaceError(ValueError):
    """The terrain has no suitable square for the region."""


@dataclass(frozen=True)
class Place:
    """A square of a site.

    Attributes
    ----------
    site, row, col : index of the site, and the square's top-left pixel on the site's grid.
    size_px : side, pixels.
    """

    site: int
    row: int
    col: int
    size_px: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(row0, row1, col0, col1), half open."""
        return self.row, self.row + self.size_px, self.col, self.col + self.size_px

    def grid(self, terrain: Terrain) -> Grid:
        """Map grid of the square."""
        return terrain.sites[self.site].grid.window(self.row, self.col, self.size_px, self.size_px)


@dataclass(frozen=True)
class SplitMap:
    """Locations of the patches of each split.

    Attributes
    ----------
    patches : all candidate patches of the terrain.
    label : (n,) their split, '' for patches that were not kept.
    size_px : side of a patch, pixels.
    """

    patches: Candidates
    label: NDArray[np.str_]
    size_px: int

    def inside(self, place: Place, split: str) -> NDArray[np.int64]:
        """Rows and columns (n, 2), in the region, of a split's patches that are entirely in it."""
        row, col = self.patches.row - place.row, self.patches.col - place.col
        last = place.size_px - self.size_px
        fits = (row >= 0) & (row <= last) & (col >= 0) & (col <= last)
        fits &= (self.patches.site == place.site) & (self.label == split)
        return np.stack([row[fits], col[fits]], axis=1).astype(np.int64)


def split_map(
    terrain: Terrain, labels: Mapping[str, str], size_px: int, stride_px: int, origin: Origin = "even"
) -> SplitMap:
    """Locate the patches of ``split/1``, whose ids encode their positions.

    Parameters
    ----------
    terrain : the sites.
    labels : id -> split.
    size_px, stride_px, origin : keys of ``patches``, on which the ids depend.

    Raises
    ------
    PlaceError
        If the labels are not of this terrain and these patches.
    """
    every = candidates(terrain, size_px, stride_px, origin)
    label = np.array([labels.get(str(i), "") for i in every.id], dtype="U10")
    if int((label != "").sum()) != len(labels):
        raise PlaceError(
            f"split: expected ids of the terrain's patches ({size_px} px, {stride_px} px apart), found "
            f"{len(labels) - int((label != '').sum())} others (a split of another terrain?)"
        )
    return SplitMap(every, label, size_px)


def find_place(terrain: Terrain, section: RegionSection, splits: SplitMap) -> Place:
    """Square of the region: around `center_m`, or the one with the most complete test patches.

    Without a centre, candidates start at nodes of the sites' disjoint patch grids and have no missing pixel;
    ties go to the first by site, row and column. With a centre, the square is moved to whole pixels, and the
    first site that has data on all of it is taken (map coordinates do not distinguish a northern site from a
    southern one).

    Raises
    ------
    PlaceError
        If there is no such square; the message says what was found.
    """
    if section.center_m is not None:
        return _given(terrain, section.center_m, section.size_px)
    best = _automatic(terrain, section.size_px, splits)
    found = len(splits.inside(best, "test"))
    log = logger.info if found else logger.warning
    log("region: %d whole test patches on %s", found, terrain.sites[best.site].name)
    return best


def _given(terrain: Terrain, center: tuple[float, float], size: int) -> Place:
    found = []
    for site in terrain.true_sites:
        row, col = (float(v) for v in site.grid.rowcol(*center))
        # The middle of the square is an edge between pixels when its side is even.
        place = Place(site.index, round(row + 0.5 - size / 2), round(col + 0.5 - size / 2), size)
        missing = int(np.isnan(terrain.read(site.index, *place.box)).sum())
        if not missing:
            return place
        found.append((missing, site.name))
    missing, name = min(found)
    held = f"{missing} of them without data on {name}" if missing < size**2 else "no terrain there"
    raise PlaceError(
        f"region.center_m: expected data on all {size} x {size} px around ({center[0]:g}, {center[1]:g}) m, "
        f"found {held}; move the centre or lower region.size_px"
    )


class _Cells:
    """Cells of a site's disjoint patch grid: which contain test patches, and which have missing pixels."""

    def __init__(self, terrain: Terrain, site: int, splits: SplitMap) -> None:
        self.terrain, self.site, self.side = terrain, site, splits.size_px
        grid, every = terrain.sites[site].grid, splits.patches
        self.first = every.anchors[site]
        sides = zip((grid.height, grid.width), self.first, strict=True)
        self.shape = tuple(max(0, (length - first) // self.side) for length, first in sides)
        self.test = np.zeros(self.shape, dtype=np.int64)
        mine = (every.site == site) & every.on_grid & (splits.label == "test")
        cells = (every.row[mine] - self.first[0]) // self.side, (every.col[mine] - self.first[1]) // self.side
        self.test[cells] = 1
        self.looked = np.zeros(self.shape, dtype=bool)
        self.gaps = np.zeros(self.shape, dtype=bool)

    def pixel(self, i: int, j: int) -> tuple[int, int]:
        """Top-left pixel of a cell."""
        return self.first[0] + i * self.side, self.first[1] + j * self.side

    def places(self, size: int) -> list[tuple[int, int, int]]:
        """(test patches, i, j) of all cells at which a square of `size` px inside the data can start."""
        rows = np.array([self.pixel(i, 0)[0] for i in range(self.shape[0])], dtype=np.int64)
        cols = np.array([self.pixel(0, j)[1] for j in range(self.shape[1])], dtype=np.int64)
        grid = self.terrain.sites[self.site].grid
        rows, cols = rows[rows + size <= grid.height], cols[cols + size <= grid.width]
        if not len(rows) or not len(cols):
            return []
        free = free_positions(self.terrain.footprints(self.site), size).at(rows, cols)
        n = size // self.side
        # Cells beyond the last complete one contain no test patch.
        total = np.pad(self.test, ((1, n), (1, n))).cumsum(0).cumsum(1)
        down, right = total[n : n + len(rows)], np.s_[n : n + len(cols)]
        up, left = total[: len(rows)], np.s_[: len(cols)]
        count = down[:, right] - up[:, right] - down[:, left] + up[:, left]
        return [(int(count[i, j]), int(i), int(j)) for i, j in np.argwhere(free)]

    def whole(self, i: int, j: int, size: int) -> bool:
        """Whether the square of `size` px at a cell has no missing pixel; cells are read only once."""
        n = size // self.side
        part = np.s_[i : i + n, j : j + n]
        for a, b in np.argwhere(~self.looked[part]):
            if self.gaps[part].any():
                return False
            self.look(i + int(a), j + int(b))
        if self.gaps[part].any():
            return False
        row, col = self.pixel(i, j)
        return bool(np.isfinite(self.terrain.read(self.site, row, row + size, col, col + size)).all())

    def look(self, i: int, j: int) -> None:
        """Read a cell, if it was not yet read, and note whether pixels are missing."""
        if not self.looked[i, j]:
            row, col = self.pixel(i, j)
            heights = self.terrain.read(self.site, row, row + self.side, col, col + self.side)
            self.gaps[i, j] = bool(np.isnan(heights).any())
            self.looked[i, j] = True

    def largest(self) -> int:
        """Side, in pixels, of the largest square of cells without a missing pixel."""
        for i, j in np.ndindex(*self.shape):
            self.look(i, j)
        best = np.zeros((self.shape[0] + 1, self.shape[1] + 1), dtype=np.int64)
        for i, j in np.argwhere(~self.gaps):
            best[i + 1, j + 1] = 1 + min(best[i, j], best[i, j + 1], best[i + 1, j])
        return int(best.max()) * self.side


def _automatic(terrain: Terrain, size: int, splits: SplitMap) -> Place:
    sites = {site.index: _Cells(terrain, site.index, splits) for site in terrain.true_sites}
    ranked = sorted(
        (-count, cells.site, i, j) for cells in sites.values() for count, i, j in cells.places(size)
    )
    for _, site, i, j in ranked:
        if sites[site].whole(i, j, size):
            return Place(site, *sites[site].pixel(i, j), size)
    largest = max(cells.largest() for cells in sites.values())
    raise PlaceError(
        f"region.size_px: expected a square of {size} px without missing pixels on the patch grid of one "
        f"piece of terrain, found none; the largest there has {largest} px"
    )
