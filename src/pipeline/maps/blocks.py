"""Blocks of a map's pixels, in which evidence is summed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Box = tuple[int, int, int, int]

#: Side of a block, pixels.
BLOCK_PX = 48


def block_grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of rows and columns of blocks of a map of shape (rows, columns), pixels."""
    return -(-shape[0] // BLOCK_PX), -(-shape[1] // BLOCK_PX)


def by_block(values: Floats, box: Box, shape: tuple[int, ...]) -> Floats:
    """Sums by block of `values`, which lie in a box (row0, row1, col0, col1) of a map of the given shape."""
    rows, cols = block_grid(shape)
    whole = np.zeros((rows * BLOCK_PX, cols * BLOCK_PX))
    whole[box[0] : box[1], box[2] : box[3]] = values
    return whole.reshape(rows, BLOCK_PX, cols, BLOCK_PX).sum(axis=(1, 3))
