"""Several DEM files as one terrain: pixel lattices, sites, and reads that cross file borders.

Files whose pixels coincide (one projection, one pixel size, origins a whole number of pixels apart) are on
one lattice and are read as one raster, so that no pixel is used twice where files overlap. A *site* is a
connected group of such files: their footprints overlap or touch.

A run has one pixel size. Sites with pixels of another size, and block means of sites, are read with heights
that are multiplied by the run's pixel size over theirs, so that slopes stay as they are; their grids have the
true size, and so have the positions of their patches.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.terrain.blocks import block_mean
from pipeline.terrain.grid import Grid, RasterError
from pipeline.terrain.readers import Raster, open_raster

AGREEMENT_M = 1e-3
_SAMPLE_PX = 64
_SAMPLES_A_SIDE = 4
_OPEN_FILES = 64
# Largest window read at once for block means: 8 Mpx = 32 MB of float32.
_WINDOW_PX = 1 << 23


@dataclass(frozen=True)
class Source:
    """Paths of a DEM file and its count map as given by the user, with their common grid.

    `data_bytes` and `count_bytes` are the file sizes at the time of indexing: a file that has changed is
    refused.
    """

    path: str
    grid: Grid
    data_bytes: int
    count: str | None = None
    count_bytes: int = 0

    @property
    def stem(self) -> str:
        """File name without folder and suffix, which the patterns of ``split.test_sites`` match."""
        return Path(self.path).stem


@dataclass(frozen=True)
class Member:
    """A file of a site: index into `Terrain.sources`, and its top-left pixel on the site's grid."""

    source: int
    row: int
    col: int


@dataclass(frozen=True)
class Site:
    """A connected piece of terrain.

    Attributes
    ----------
    index : position in `Terrain.sites`.
    name : sorted file stems joined by ``+``.
    lattice : number of its pixel lattice.
    grid : its bounding box; rows and columns of a site count from the top-left pixel of this box.
    members : its files, and their places on the pixels of `whole`.
    block : its pixels are means of this many pixels of `whole` per side.
    whole : index of the site whose block means it has; its own index with a block of 1.
    """

    index: int
    name: str
    lattice: int
    grid: Grid
    members: tuple[Member, ...]
    block: int
    whole: int


class Terrain:
    """All sites, read through windows.

    At most `_OPEN_FILES` files are open at once; memory is bounded by the size of the requested window.

    Parameters
    ----------
    sources : files.
    sites : from `arrange`, or read from an index.
    pixel_m : pixel size of the run, metres.
    """

    def __init__(self, sources: Sequence[Source], sites: Sequence[Site], pixel_m: float) -> None:
        self.sources = tuple(sources)
        self.sites = tuple(sites)
        self.pixel_m = pixel_m
        self._open: OrderedDict[str, Raster] = OrderedDict()

    def rescaled(self, site: Site) -> bool:
        """Whether a site's heights are rescaled to the run's pixel size."""
        return not math.isclose(site.grid.pixel_m, self.pixel_m, rel_tol=1e-6)

    @property
    def true_sites(self) -> tuple[Site, ...]:
        """The sites whose heights are not rescaled."""
        return tuple(site for site in self.sites if not self.rescaled(site))

    @property
    def has_count(self) -> bool:
        """Whether every DEM has an altimetry count map."""
        return all(s.count is not None for s in self.sources)

    def files(self, site: int) -> list[str]:
        """File stems of a site, sorted."""
        return [self.sources[m.source].stem for m in self.sites[site].members]

    def footprints(self, site: int) -> list[tuple[int, int, int, int]]:
        """Pixels of a site's files on its grid: (row0, row1, col0, col1), half open.

        Block means: those of blocks within a single file.
        """
        here = self.sites[site]
        pairs = [(m, self.sources[m.source].grid) for m in here.members]
        boxes = [(m.row, m.row + grid.height, m.col, m.col + grid.width) for m, grid in pairs]
        return [(-(-a // here.block), b // here.block, -(-c // here.block), d // here.block)
                for a, b, c, d in boxes]  # fmt: skip

    def read(self, site: int, row0: int, row1: int, col0: int, col1: int) -> NDArray[np.float32]:
        """Heights in a window of a site, metres above R = 1737400 m, times `pixel_m` over the site's own.

        Parameters
        ----------
        site : index in `sites`.
        row0, row1, col0, col1 : half-open window on the site's grid; it may extend beyond it.

        Returns
        -------
        array of shape (row1 - row0, col1 - col0), NaN where no file has data. Where files overlap, the first
        one with data is used; they agree (see `check_overlaps`).

        Raises
        ------
        RasterError
            If a file cannot be read or has changed since it was indexed.
        """
        heights = self._means(site, row0, row1, col0, col1, count=False)
        here = self.sites[site]
        return heights * np.float32(self.pixel_m / here.grid.pixel_m) if self.rescaled(here) else heights

    def read_count(self, site: int, row0: int, row1: int, col0: int, col1: int) -> NDArray[np.float32]:
        """LOLA spots per pixel, or block, in a window of a site; as `read`.

        Raises
        ------
        RasterError
            If the terrain has no count maps.
        """
        if not self.has_count:
            raise RasterError("inputs.count: expected a count map for every DEM, found none")
        means = self._means(site, row0, row1, col0, col1, count=True)
        return means * np.float32(self.sites[site].block ** 2)

    def _means(
        self, site: int, row0: int, row1: int, col0: int, col1: int, count: bool
    ) -> NDArray[np.float32]:
        """Block means of the site that a site is of, in bands of bounded size; a block with NaN is NaN."""
        side, whole = self.sites[site].block, self.sites[site].whole
        if side == 1:
            return self._read(whole, row0, row1, col0, col1, count)
        out = np.empty((row1 - row0, col1 - col0), dtype=np.float32)
        step = max(1, _WINDOW_PX // (side**2 * max(1, col1 - col0)))
        for row in range(row0, row1, step):
            end = min(row + step, row1)
            pixels = self._read(whole, row * side, end * side, col0 * side, col1 * side, count)
            if count:
                pixels = np.nan_to_num(pixels, copy=False)  # a missing count is zero
            out[row - row0 : end - row0] = block_mean(pixels, side, np.float64)
        return out

    def _read(
        self, site: int, row0: int, row1: int, col0: int, col1: int, count: bool
    ) -> NDArray[np.float32]:
        out = np.full((row1 - row0, col1 - col0), np.nan, dtype=np.float32)
        for member, (r0, r1, c0, c1) in zip(self.sites[site].members, self.footprints(site), strict=True):
            top, bottom, left, right = max(row0, r0), min(row1, r1), max(col0, c0), min(col1, c1)
            if top >= bottom or left >= right:
                continue
            view = out[top - row0 : bottom - row0, left - col0 : right - col0]
            empty = np.isnan(view)
            if empty.any():
                raster = self._raster(self.sources[member.source], count)
                view[empty] = raster.read(top - r0, bottom - r0, left - c0, right - c0)[empty]
        return out

    def _raster(self, source: Source, count: bool) -> Raster:
        """An open file; checked against the index when it is opened."""
        path = str(source.count) if count else source.path
        if path not in self._open:
            raster = open_raster(path)
            size = source.count_bytes if count else source.data_bytes
            if raster.data_bytes != size or not raster.grid.same_as(source.grid):
                raise RasterError(
                    f"{path}: expected the file that was indexed ({size} bytes, {source.grid.describe()}), "
                    f"found {raster.data_bytes} bytes, {raster.grid.describe()}"
                )
            self._open[path] = raster
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(path)
        return self._open[path]

    def close(self) -> None:
        """Close all files; later reads open them again."""
        for raster in self._open.values():
            raster.close()
        self._open.clear()


def arrange(sources: Sequence[Source], blocks: Sequence[int] = ()) -> tuple[Site, ...]:
    """Group files into lattices and connected sites.

    Parameters
    ----------
    sources : files. blocks : sides of blocks, pixels, over whose means all sites are repeated.

    Returns
    -------
    sites, south pole first, then by name and origin, independent of the order of `sources`; then those of
    each side of blocks in the same order, unless they have not a single block.
    """
    order = sorted(range(len(sources)), key=lambda i: (sources[i].stem, sources[i].path))
    lattices: list[list[int]] = []
    for i in order:
        for group in lattices:
            if sources[group[0]].grid.lattice_offset(sources[i].grid) is not None:
                group.append(i)
                break
        else:
            lattices.append([i])
    found: list[tuple[tuple, int, Grid, tuple[Member, ...]]] = []
    for number, group in enumerate(lattices):
        reference = sources[group[0]].grid
        boxes = {i: _box(reference, sources[i].grid) for i in group}
        for piece in _components(boxes):
            top = min(boxes[i][0] for i in piece)
            bottom = max(boxes[i][1] for i in piece)
            left = min(boxes[i][2] for i in piece)
            right = max(boxes[i][3] for i in piece)
            grid = reference.window(top, left, bottom - top, right - left)
            members = tuple(Member(i, boxes[i][0] - top, boxes[i][2] - left) for i in piece)
            name = "+".join(sources[i].stem for i in piece)
            found.append(((grid.pole, name, grid.origin), number, grid, members))
    found.sort(key=lambda item: item[0])
    sites = [
        Site(index, key[1], lattice, grid, members, 1, index)
        for index, (key, lattice, grid, members) in enumerate(found)
    ]
    corners = [sources[group[0]].grid for group in lattices]
    for side in blocks:
        first = len(corners)
        for site in sites[: len(found)]:
            means = _blocks_of(site.grid, side)
            if means is None:
                continue
            # Blocks begin at each site's corner, so that sites of one lattice may have blocks of several.
            same = (i for i in range(first, len(corners)) if corners[i].lattice_offset(means) is not None)
            lattice = next(same, len(corners))
            if lattice == len(corners):
                corners.append(means)
            name = f"{site.name}, means of {side} x {side} px"
            sites.append(Site(len(sites), name, lattice, means, site.members, side, site.index))
    return tuple(sites)


def _blocks_of(grid: Grid, side: int) -> Grid | None:
    """Grid of the whole blocks of a grid from its top-left corner on; None if there are none."""
    if min(grid.height, grid.width) < side:
        return None
    transform = grid.transform @ grid.transform.scale(side)
    return replace(grid, transform=transform, height=grid.height // side, width=grid.width // side)


def _box(reference: Grid, grid: Grid) -> tuple[int, int, int, int]:
    offset = reference.lattice_offset(grid)
    assert offset is not None  # the caller grouped by lattice
    return offset[0], offset[0] + grid.height, offset[1], offset[1] + grid.width


def _components(boxes: dict[int, tuple[int, int, int, int]]) -> list[list[int]]:
    """Connected components of boxes that overlap or touch, members in the order of `boxes`."""
    left, out = list(boxes), []
    while left:
        piece = {left[0]}
        frontier = [left[0]]
        while frontier:
            a = boxes[frontier.pop()]
            near = [i for i in left if i not in piece and _meet(a, boxes[i])]
            piece.update(near)
            frontier += near
        out.append([i for i in left if i in piece])
        left = [i for i in left if i not in piece]
    return out


def _meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1] and a[2] <= b[3] and b[2] <= a[3]


def sample_windows(row0: int, row1: int, col0: int, col1: int) -> Iterator[tuple[int, int, int, int]]:
    """Small windows spread evenly over a larger one, including its corners."""

    def starts(low: int, high: int) -> list[int]:
        last = max(low, high - _SAMPLE_PX)
        return sorted({round(v) for v in np.linspace(low, last, _SAMPLES_A_SIDE)})

    for r in starts(row0, row1):
        for c in starts(col0, col1):
            yield r, min(r + _SAMPLE_PX, row1), c, min(c + _SAMPLE_PX, col1)


def check_overlaps(terrain: Terrain) -> None:
    """Compare samples of overlapping files of a site where both have data.

    Raises
    ------
    RasterError
        If two files differ by more than `AGREEMENT_M`; the message names both, and the position.
    """
    for site in terrain.sites:
        if site.block > 1:
            continue
        boxes = terrain.footprints(site.index)
        for i, a in enumerate(site.members):
            for j in range(i + 1, len(site.members)):
                row0, row1 = max(boxes[i][0], boxes[j][0]), min(boxes[i][1], boxes[j][1])
                col0, col1 = max(boxes[i][2], boxes[j][2]), min(boxes[i][3], boxes[j][3])
                if row0 < row1 and col0 < col1:
                    _compare(terrain, site, a, site.members[j], (row0, row1, col0, col1))


def _compare(terrain: Terrain, site: Site, a: Member, b: Member, window: tuple[int, int, int, int]) -> None:
    first, second = terrain.sources[a.source], terrain.sources[b.source]
    for r0, r1, c0, c1 in sample_windows(*window):
        one, two = (
            terrain._raster(s, count=False).read(r0 - m.row, r1 - m.row, c0 - m.col, c1 - m.col)
            for s, m in ((first, a), (second, b))
        )
        apart = np.abs(np.where(np.isnan(one) | np.isnan(two), 0, one - two))
        if apart.max(initial=0) > AGREEMENT_M:
            r, c = np.unravel_index(int(apart.argmax()), apart.shape)
            x, y = site.grid.xy(r0 + r, c0 + c)
            raise RasterError(
                f"{first.path} and {second.path}: expected equal heights where they overlap (within "
                f"{AGREEMENT_M:g} m), found {one[r, c]:.3f} and {two[r, c]:.3f} m at ({x:.0f}, {y:.0f}) m"
            )
