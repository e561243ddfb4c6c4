"""Noise fields: the random numbers of windows that are parts of one map.

A clone of a map is consistent across its windows only if they are drawn with the same noise where they
overlap. Here each number belongs to a position on the map: the k-th tensor that a clone draws is a field over
the whole map, of which a window takes its part. A field depends on the seed, the clone, k and the channel,
not on the order or the tiling in which windows are drawn.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

# Clones that a stratified sequence tells apart: 2 to this power.
_DIGITS = 12
# Side of a block of the field, cells; a block is drawn as a whole.
_BLOCK = 64


@dataclass
class NoiseField:
    """The noise of one clone in one window; takes the place of `torch.Generator` in `bridges.base.normal`.

    Parameters
    ----------
    seed : of the map. clone : number of the clone, -1 for the noise that all clones share.
    row, col : the window's top-left pixel on the map, both at least 0. size : its side, pixels.

    Notes
    -----
    A tensor with h cells along the window's side is white noise on cells of size / h pixels. Where the window
    does not begin on a cell of the map, a value is a weighted sum of the four nearest, with weights that keep
    the variance at 1; neighbours are then correlated. A tensor of one cell belongs to the clone, not to the
    window: there are as few of them as clones, so clones have it from one stratified sequence
    (`stratified_normal`).
    """

    seed: int
    clone: int
    row: int
    col: int
    size: int
    _drawn: int = dataclasses.field(default=0, init=False)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """The window's part (C, h, w) of the next field of standard normal numbers, float32.

        Raises
        ------
        ValueError
            If the window does not hold whole cells.
        """
        channels, *cells = shape
        index, self._drawn = self._drawn, self._drawn + 1
        out = np.empty(shape, dtype=np.float32)
        for channel in range(channels):
            key = (self.seed, self.clone + 1, index, channel)
            if cells == [1, 1]:
                single = (self.seed, index, channel)
                out[channel] = stratified_normal(single, self.clone) if self.clone >= 0 else _first(key)
            else:
                out[channel] = self._part(key, *cells)
        return torch.from_numpy(out)

    def _part(self, key: tuple[int, ...], rows: int, cols: int) -> NDArray[np.float32]:
        if rows != cols or self.size % rows:
            raise ValueError(
                f"noise: expected cells that divide a window of {self.size} px, found {rows} x {cols}"
            )
        cell = self.size // rows
        (row, down), (col, right) = divmod(self.row, cell), divmod(self.col, cell)
        values = field((*key, cell), row, col, rows + (down > 0), cols + (right > 0))
        return _mixed(_mixed(values, down / cell, 0), right / cell, 1)


@dataclass(frozen=True)
class WindowNoise:
    """Noise source of a window: `clone` gives each clone its own field.

    Parameters
    ----------
    seed, row, col, size : see `NoiseField`.
    """

    seed: int
    row: int = 0
    col: int = 0
    size: int = 96

    def clone(self, number: int) -> NoiseField:
        """The noise of a clone, from its first tensor on."""
        return NoiseField(self.seed, number, self.row, self.col, self.size)


def field(key: tuple[int, ...], row: int, col: int, rows: int, cols: int) -> NDArray[np.float32]:
    """Cells ``row : row + rows``, ``col : col + cols`` of a field of standard normal numbers, float32.

    Parameters
    ----------
    key : seed of the field. row, col : first cell, at least 0. rows, cols : number of cells.

    Returns
    -------
    ``(rows, cols)``.
    """
    out = np.empty((rows, cols), dtype=np.float32)
    for i in range(row // _BLOCK, (row + rows - 1) // _BLOCK + 1):
        for j in range(col // _BLOCK, (col + cols - 1) // _BLOCK + 1):
            top, left = i * _BLOCK, j * _BLOCK
            down = slice(max(row, top), min(row + rows, top + _BLOCK))
            across = slice(max(col, left), min(col + cols, left + _BLOCK))
            block = _block(key, i, j)[
                down.start - top : down.stop - top, across.start - left : across.stop - left
            ]
            out[down.start - row : down.stop - row, across.start - col : across.stop - col] = block
    return out


@lru_cache(maxsize=8192)
def stratified_normal(key: tuple[int, ...], number: int) -> float:
    """The number-th of a sequence of standard normal numbers whose sizes are stratified.

    Of the first 2^k, one has its absolute value in each of the 2^k quantiles of such values: those of van der
    Corput's sequence in base 2 under nested random flips of digits (Owen 1995). Signs are independent. So
    each number is standard normal on its own, and sequences of different keys are independent, but the mean
    square of few numbers is nearly 1: of 8, its standard deviation is 0.2, of 8 independent numbers 0.5.

    Parameters
    ----------
    key : what tells this sequence from others. number : at least 0.
    """
    share, cell = 0.0, 0
    for digit in range(_DIGITS):
        own = number >> digit & 1
        share += (own ^ (_words((*key, digit, cell)) & 1)) / 2 ** (digit + 1)
        cell = 2 * cell + own
    words = _words((*key, _DIGITS, number))
    within = ((words >> 1) + 0.5) / 2**31
    size = float(ndtri(0.5 + (share + within / 2**_DIGITS) / 2))
    return size if words & 1 else -size


def _words(key: tuple[int, ...]) -> int:
    """32 random bits of a key."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _first(key: tuple[int, ...]) -> np.float32:
    """A single number that all clones share."""
    return _block((*key, 0), 0, 0)[0, 0]


def _block(key: tuple[int, ...], i: int, j: int) -> NDArray[np.float32]:
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*key, i, j))))
    return rng.standard_normal((_BLOCK, _BLOCK), dtype=np.float32)


def _mixed(values: NDArray[np.float32], share: float, axis: int) -> NDArray[np.float32]:
    """Interpolation between neighbours along an axis, a `share` of the way to the next, at unit variance."""
    if not share:
        return values
    first, second = (values[:-1], values[1:]) if axis == 0 else (values[:, :-1], values[:, 1:])
    mixed = (1 - share) * first + share * second
    return (mixed / math.hypot(1 - share, share)).astype(np.float32)
