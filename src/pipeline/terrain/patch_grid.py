"""Positions of patches on a site: the anchor of its disjoint grid, and all candidate positions.

The anchor is the one, of size_px x size_px possible offsets, that gives the most disjoint patches entirely
inside the site's files; ties go to the anchor with the most even margins in the bounding box.

One case differs. A raster that is centred on a pole (a whole cap, as all published LOLA products are) has the
grid whose middle patch is centred on the pole, if that costs less than 1 % of the patches: 315 x 315 patches
of 30400 px.

With ``patches.origin: corner`` patches are placed as in the public code: the first starts 2 px from the left
and the bottom edge of the site's bounding box, rows count upwards, and there are (side - size - 4) // size of
them along a side (315 along 30400 px, where 316 would fit). A patch of a whole cap then has the published
index column * 315 + row, plus 99,225 in the northern cap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.terrain.lattice import Terrain

CENTRED_COST = 0.01
#: Margin around patches of origin ``corner``, pixels, which is ray-traced too.
MARGIN_PX = 2
Origin = Literal["even", "corner"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Positions:
    """Possible positions of a square: (row, col) is free if the mesh cell that contains it is.

    Attributes
    ----------
    row_edges, col_edges : ascending borders of the mesh cells, half open.
    free : (rows of cells, columns of cells) bool.
    """

    row_edges: NDArray[np.int64]
    col_edges: NDArray[np.int64]
    free: NDArray[np.bool_]

    def at(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the positions rows x cols are free, shape (len(rows), len(cols))."""
        r = np.searchsorted(self.row_edges, rows, side="right") - 1
        c = np.searchsorted(self.col_edges, cols, side="right") - 1
        return self.free[np.ix_(r, c)]

    def by_residue(self, size: int) -> NDArray[np.int64]:
        """Number of free positions with (row mod size, col mod size) = (i, j), shape (size, size)."""
        rows = _residues(self.row_edges, size)
        cols = _residues(self.col_edges, size)
        return rows.T @ self.free.astype(np.int64) @ cols


def free_positions(boxes: Sequence[Box], size: int) -> Positions:
    """Top-left corners of all size x size squares entirely inside a union of boxes.

    Exact, and with a cost independent of the boxes' sizes, since it uses the mesh of their edges.

    Parameters
    ----------
    boxes : (row0, row1, col0, col1), half open, of a site's files; the bounding box starts at (0, 0).
    size : side of the square, pixels.
    """
    height, width = max(b[1] for b in boxes), max(b[3] for b in boxes)
    rows = np.unique([0, height, *(v for b in boxes for v in b[:2])])
    cols = np.unique([0, width, *(v for b in boxes for v in b[2:])])
    covered = np.zeros((len(rows) - 1, len(cols) - 1), dtype=bool)
    for r0, r1, c0, c1 in boxes:
        covered[_cells(rows, r0, r1), _cells(cols, c0, c1)] = True
    # A square at r touches the hole [a, b) for r in [a - size + 1, b).
    holes = [
        (rows[i] - size + 1, rows[i + 1], cols[j] - size + 1, cols[j + 1]) for i, j in np.argwhere(~covered)
    ]
    last_row, last_col = height - size + 1, width - size + 1
    if last_row <= 0 or last_col <= 0:
        return Positions(np.array([0, 0]), np.array([0, 0]), np.zeros((1, 1), dtype=bool))
    row_edges = np.unique(np.clip([0, last_row, *(v for h in holes for v in h[:2])], 0, last_row))
    col_edges = np.unique(np.clip([0, last_col, *(v for h in holes for v in h[2:])], 0, last_col))
    free = np.ones((len(row_edges) - 1, len(col_edges) - 1), dtype=bool)
    for r0, r1, c0, c1 in holes:
        free[
            _cells(row_edges, max(r0, 0), min(r1, last_row)),
            _cells(col_edges, max(c0, 0), min(c1, last_col)),
        ] = False
    return Positions(row_edges, col_edges, free)


def _cells(edges: NDArray[np.int64], low: int, high: int) -> slice:
    """Cells of a mesh between two of its edges."""
    return slice(int(np.searchsorted(edges, low)), int(np.searchsorted(edges, high)))


def _residues(edges: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Number of integers in each mesh cell with each remainder modulo `size`, shape (cells, size)."""
    below = (edges[:, None] + size - 1 - np.arange(size)) // size
    return np.diff(below, axis=0)


def anchor_of(boxes: Sequence[Box], size: int, pole: tuple[float, float] | None = None) -> tuple[int, int]:
    """Row and column, each in [0, size), of the disjoint patch grid of a site.

    Parameters
    ----------
    boxes : the site's files, as in `free_positions`.
    size : side of a patch, pixels.
    pole : row and column of the pole as pixel EDGES on the site's grid (half the height for a centred cap).
    """
    height, width = max(b[1] for b in boxes), max(b[3] for b in boxes)
    count = free_positions(boxes, size).by_residue(size)
    most = int(count.max())
    if most == 0:
        return 0, 0
    if pole is not None and np.allclose(pole, (height / 2, width / 2), rtol=0, atol=1e-3):
        first = pole[0] - size / 2, pole[1] - size / 2
        if all(v == round(v) for v in first):
            centred = round(first[0]) % size, round(first[1]) % size
            if count[centred] > (1 - CENTRED_COST) * most:
                return centred
    start = np.arange(size)
    uneven_rows = np.abs(start - (height - start) % size)
    uneven_cols = np.abs(start - (width - start) % size)
    uneven = np.where(count == most, uneven_rows[:, None] + uneven_cols, np.iinfo(np.int64).max)
    row, col = np.unravel_index(int(uneven.argmin()), uneven.shape)
    return int(row), int(col)


@dataclass(frozen=True)
class Candidates:
    """Candidate patches of a terrain, in the order site, column, row; all arrays of shape (n,).

    Attributes
    ----------
    id : index in that order among ALL positions of the strided grids in the sites' bounding boxes
        (``column * n_rows + row``), so that it depends neither on the tiles nor on the data. Rows count
        upwards if the origin is the corner.
    site, row, col : site and top-left pixel on its grid.
    on_grid : whether the patch belongs to the disjoint grid; not those of rescaled sites.
    anchors : anchor of each site's disjoint grid.
    """

    id: NDArray[np.int64]
    site: NDArray[np.int32]
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    on_grid: NDArray[np.bool_]
    anchors: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.id)

    def part(self, tile: int, tiles: int) -> slice:
        """The contiguous range of candidates of tile `tile` of `tiles`."""
        return slice(len(self) * tile // tiles, len(self) * (tile + 1) // tiles)


def corner_starts(height: int, width: int, size: int, stride: int) -> tuple[NDArray, NDArray]:
    """First rows and columns of patches with origin ``corner``; rows count upwards.

    Parameters
    ----------
    height, width : of the site's bounding box. size, stride : of the patches; all in pixels.

    Returns
    -------
    Rows, falling, and columns, rising, (n,) and (m,); empty where no patch fits.
    """
    rows, cols = (
        np.arange(max(0, (max(0, (side - size - 2 * MARGIN_PX) // size) - 1) * (size // stride) + 1))
        for side in (height, width)
    )
    return height - MARGIN_PX - size - stride * rows, MARGIN_PX + stride * cols


def candidates(terrain: Terrain, size: int, stride: int, origin: Origin = "even") -> Candidates:
    """All patches of `size` px, `stride` px apart, that are entirely inside a site's files.

    Parameters
    ----------
    terrain : the sites.
    size : side of a patch, pixels.
    stride : step of the candidates, a divisor of `size`; the disjoint grid is part of them.
    origin : ``even`` margins, rows downwards, or the bottom left ``corner``, rows upwards.
    """
    parts: list[tuple[NDArray, ...]] = []
    anchors = []
    base = 0
    for site in terrain.sites:
        grid = site.grid
        boxes = terrain.footprints(site.index)
        if origin == "corner":
            rows, cols = corner_starts(grid.height, grid.width, size, stride)
            anchor = (grid.height - MARGIN_PX) % size, MARGIN_PX % size
        else:
            pole = grid.origin[1] / grid.pixel_m, -grid.origin[0] / grid.pixel_m
            anchor = anchor_of(boxes, size, pole)
            rows = np.arange(anchor[0] % stride, grid.height - size + 1, stride, dtype=np.int64)
            cols = np.arange(anchor[1] % stride, grid.width - size + 1, stride, dtype=np.int64)
        anchors.append(anchor)
        if len(rows) and len(cols):
            j, i = np.nonzero(free_positions(boxes, size).at(rows, cols).T)
            on_grid = ((rows[i] - anchor[0]) % size == 0) & ((cols[j] - anchor[1]) % size == 0)
            on_grid &= not terrain.rescaled(site)
            parts.append((base + j * len(rows) + i, np.full(len(i), site.index), rows[i], cols[j], on_grid))
        base += len(rows) * len(cols)
    empty: tuple[NDArray, ...] = tuple(np.zeros(0, dtype=np.int64) for _ in range(5))
    ids, sites, row, col, on_grid = (np.concatenate(x) for x in zip(*(parts or [empty]), strict=True))
    return Candidates(
        ids.astype(np.int64),
        sites.astype(np.int32),
        row.astype(np.int32),
        col.astype(np.int32),
        on_grid.astype(bool),
        tuple(anchors),
    )
