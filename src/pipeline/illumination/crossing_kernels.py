"""Compiled kernels of the mesh's crossings: where the ray of one azimuth meets the edges of the terrain.

Their input, `Terrain`, and the sizes of its tiles are defined here too: `horizon_kernels` and `sweep_kernels`
share them.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from pipeline.storage.sha256 import file_sha256

_DIGEST = file_sha256(__file__)[:12]

LANES = 8  # float32 values handled at once: one AVX2 register; LLVM splits it for narrower machines
TILE = 8  # pixels per side of the tiles that skip terrain together
SPAN = 4  # most rows and columns that the corners of one group of crossings may spread over
WINDOW = TILE + SPAN  # side of the square of terrain that a tile can meet in one group
#: Stands for "no terrain" (negative) and "no pixel" (positive), safe in sums and products.
ABSENT = np.float32(1e30)
_TIE = 1e-9  # crossings closer than this (pixels) are one crossing, at a vertex
_VERTEX = 1e-7  # a crossing this close to a vertex (pixels) is at the vertex


class Terrain(NamedTuple):
    """Input of the kernels: the surface with a margin of absent terrain, and the pixels that receive light.

    ``flat`` (rows * stride,) heights in m; ``pooled`` the same shape, the highest terrain of the square of
    WINDOW pixels per side whose top-left corner is there; ``start`` (tile rows * TILE * tile columns * TILE,)
    heights of the receiving pixels, +ABSENT where there is none; ``lowest`` (tile rows, tile columns) their
    minimum per tile. ``top``, ``left``: first receiving pixel; ``row0`` to ``row1``, ``col0`` to ``col1``:
    the DEM, in ``flat``.
    """

    flat: np.ndarray
    pooled: np.ndarray
    start: np.ndarray
    lowest: np.ndarray
    stride: int
    top: int
    left: int
    height: int
    width: int
    row0: int
    row1: int
    col0: int
    col1: int
    pixel_m: float


def compiled(function: Callable[..., None]) -> Any:
    """Compile a kernel at its first call and cache it until its file or this one changes.

    numba's cache on disk checks the file of the called function only, so the names of cached functions
    contain this file's digest.
    """
    function.__qualname__ += f"_{_DIGEST}"
    return njit(cache=True, nogil=True)(function)


@njit(cache=True, nogil=True)
def crossings_of(east, south, terrain, first, second, weight, nearness, groups):
    """Fill the crossings of one azimuth, nearest first, and cut them into groups; returns the group count.

    A ray moves by (south, east) rows and columns per pixel of distance. It crosses grid columns, grid rows
    and the diagonals (column - row = constant) each at regular distances: the three sequences are merged.
    Crossing k lies at the fraction ``weight[k]`` between the pixels that are ``first[k]`` and
    ``second[k]`` elements of ``flat`` away; ``nearness[k]`` = 1 / distance in metres. Group g begins at
    ``groups[g, 0]``; all its corners lie within SPAN rows and columns below and right of the offset
    (``groups[g, 1]``, ``groups[g, 2]``).
    """
    top, left = terrain.top - terrain.row0, terrain.left - terrain.col0
    rows = terrain.row1 - terrain.row0 - 1 - top if south > 0 else top + terrain.height - 1
    cols = terrain.col1 - terrain.col0 - 1 - left if east > 0 else left + terrain.width - 1
    steps = np.array([abs(east), abs(south), abs(east - south)])
    reach = min(rows / steps[1] if steps[1] > 0 else np.inf, cols / steps[0] if steps[0] > 0 else np.inf)
    signs = (1 if east > 0 else -1, 1 if south > 0 else -1, 1 if east > south else -1)
    count = np.ones(3, np.int64)
    k = g = 0
    row_low = row_high = col_low = col_high = 0
    while True:
        at_col = count[0] / steps[0] if steps[0] > 0 else np.inf
        at_row = count[1] / steps[1] if steps[1] > 0 else np.inf
        at_diagonal = count[2] / steps[2] if steps[2] > 0 else np.inf
        way = min(at_col, at_row, at_diagonal)
        if way > reach + _TIE:
            break
        row, col = way * south, way * east
        down = right = 0
        if at_col <= way + _TIE:
            c = signs[0] * count[0]
            r = math.floor(row + _VERTEX)
            part, down = row - r, 1
            count[0] += 1
        elif at_row <= way + _TIE:
            r = signs[1] * count[1]
            c = math.floor(col + _VERTEX)
            part, right = col - c, 1
        else:
            r = math.floor(row + _VERTEX)
            c = r + signs[2] * count[2]
            part, down, right = row - r, 1, 1
        # All lines that meet at a vertex are crossed there.
        if at_row <= way + _TIE:
            count[1] += 1
        if at_diagonal <= way + _TIE:
            count[2] += 1
        if part < _VERTEX:
            part, down, right = 0.0, 0, 0
        low_r, high_r = min(row_low, r), max(row_high, r + down)
        low_c, high_c = min(col_low, c), max(col_high, c + right)
        if k == 0 or high_r - low_r > SPAN or high_c - low_c > SPAN:
            low_r, high_r, low_c, high_c = r, r + down, c, c + right
            groups[g, 0] = k
            g += 1
        row_low, row_high, col_low, col_high = low_r, high_r, low_c, high_c
        groups[g - 1, 1] = row_low
        groups[g - 1, 2] = col_low
        first[k] = r * terrain.stride + c
        second[k] = first[k] + down * terrain.stride + right
        weight[k] = part
        nearness[k] = 1.0 / (way * terrain.pixel_m)
        k += 1
    groups[g, 0] = k
    return g


@njit(cache=True, nogil=True)
def crossing_table(terrain):
    """Empty arrays for the crossings of any azimuth: at most one per row, column and diagonal of the DEM."""
    room = 2 * (terrain.row1 - terrain.row0 + terrain.col1 - terrain.col0) + 8
    first, second = np.empty(room, np.int64), np.empty(room, np.int64)
    weight, nearness = np.empty(room, np.float32), np.empty(room, np.float32)
    return first, second, weight, nearness, np.empty((room + 1, 3), np.int64)
