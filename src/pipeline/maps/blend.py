"""Blending the clones of windows into whole-map clones, a band of rows at a time.

With one noise field over the map, the windows of a clone agree where they overlap, and the mean and standard
deviation over whole-map clones contain no disagreement of windows. Where windows still differ, above all in
the dark, their mean varies less than each of them; departures from the clones' mean are therefore scaled to
the variance of the windows. Sums run over the windows of a pixel in the map's order, so that the result does
not depend on tiles or bands, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.config.maps import MapSection
from pipeline.maps.ground import SiteGround
from pipeline.region.blend import blend_weights, published_std
from pipeline.region.windows import Sides, Window
from pipeline.storage.store import Stored, read_store, store_attrs
from pipeline.terrain.blocks import block_mean

Floats = NDArray[np.float64]

# Approximate number of clones' heights in memory at a time (products of a band take several times as much),
# and least height of a band in cells: windows are read again for each band that they overlap.
_BAND_VALUES, _BAND_CELLS = 2**22, 4
# Variances are averaged over a Gaussian of this sigma, pixels, cut off at `_REACH_PX`: those of single pixels
# from few clones are noisy.
_SIGMA_PX, _REACH_PX = 4.0, 16


@lru_cache(maxsize=64)
def smooth_weights(size: int, border: Sides) -> Floats:
    """Squared-sine weights of a window, (size, size): falling to 0 at its border, 1 towards the map's border.

    With a stride of half a window they add up to 1.
    """
    top, right, bottom, left = border
    sides = _sine(size, top, bottom), _sine(size, left, right)
    weights = np.outer(*sides)
    weights.setflags(write=False)
    return weights


def _sine(size: int, first_open: bool, last_open: bool) -> Floats:
    at = np.arange(size) + 0.5
    value: Floats = np.sin(np.pi * at / size) ** 2
    value[(at < size / 2) if first_open else slice(0, 0)] = 1
    value[(at >= size / 2) if last_open else slice(0, 0)] = 1
    return value


def with_variance(clones: Floats, variance: Floats) -> Floats:
    """Clones (M, H, W) whose departures from their mean are enlarged to a variance (H, W), with divisor M.

    The variance of a weighted mean never exceeds the weighted mean of the variances, so the factor is at
    least 1.
    """
    mean = clones.mean(axis=0)
    wanted, found = (
        ndimage.gaussian_filter(v, _SIGMA_PX, mode="nearest", radius=_REACH_PX)
        for v in (variance, clones.var(axis=0))
    )
    scale = np.sqrt(np.divide(wanted, found, out=np.ones_like(found), where=found > 0)).clip(min=1.0)
    return mean + scale * (clones - mean)


@dataclass(frozen=True)
class Band:
    """Whole-map clones in a band of rows.

    Attributes
    ----------
    top, bottom : rows of the map, half-open.
    clones : (M, rows, W) metres above the DEM's datum.
    apart : (rows, W) the published standard deviation, metres; None unless the section asks for it.
    """

    top: int
    bottom: int
    clones: Floats
    apart: Floats | None


class Clones:
    """Clones of all windows of a map, in stores of schema ``clones/1``.

    Parameters
    ----------
    paths : stores of all tiles. ground : of the map. section : settings of the blending. members : number of
        clones.
    """

    def __init__(
        self, paths: Sequence[Path | str], ground: SiteGround, section: MapSection, members: int
    ) -> None:
        self._ground, self._section, self.members = ground, section, members
        grid = ground.layout.grid
        self.rows, self.cols = grid.height, grid.width
        found: list[tuple[Window, Stored, int, float]] = []
        for path in paths:
            store, size = read_store(path, schema="clones"), int(store_attrs(path)["size_px"])
            table = (store["row"].values, store["col"].values, store["reference"].values)
            for i, (row, col, reference) in enumerate(zip(*table, strict=True)):
                sides = (row == 0, col + size == self.cols, row + size == self.rows, col == 0)
                window = Window(int(row), int(col), size, tuple(bool(s) for s in sides))  # type: ignore[arg-type]
                found.append((window, store, i, float(reference)))
        self._windows = sorted(found, key=lambda each: (each[0].row, each[0].col))

    @property
    def band_rows(self) -> int:
        """Number of rows of a band, whole cells, such that memory is bounded."""
        factor = self._ground.layout.factor
        step = _BAND_VALUES // (self.members * self.cols)
        return max(_BAND_CELLS * factor, step // factor * factor)

    def band(self, top: int, bottom: int) -> Band:
        """Rows ``top`` to ``bottom``, whole cells.

        Raises
        ------
        ValueError
            If no window covers one of its pixels.
        """
        first, last = max(0, top - _REACH_PX), min(self.rows, bottom + _REACH_PX)
        part = slice(top - first, bottom - first)
        found, gaps = self._blended(first, last)
        if gaps[part].any():
            raise ValueError(f"rows {top} to {bottom}: expected windows over the whole map, found gaps")
        clones, apart = found.clones[:, part], None if found.apart is None else found.apart[part]
        if self._ground.layout.exact_cells:
            clones = clones + cell_deficit(clones, self._ground, top)
        return Band(top, bottom, clones, apart)

    def _blended(self, top: int, bottom: int) -> tuple[Band, NDArray[np.bool_]]:
        """Rows ``top`` to ``bottom`` before the correction of cells' means, and pixels without a window."""
        shape = (bottom - top, self.cols)
        total, squares, variance = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        clones = np.zeros((self.members, *shape))
        smooth = self._section.blend == "smooth" and self.members > 1
        for window, drawn in self._in(top, bottom):
            here, part, weight = self._place(window, top, bottom)
            clones[:, *here] += weight * drawn[:, *part]
            total[here] += weight
            if smooth:
                variance[here] += weight * drawn[:, *part].var(axis=0)
        gaps = total == 0
        total[gaps] = 1  # 0 m and no variance there, without influence on neighbours
        clones /= total
        apart = None
        if self._section.std == "published":
            mean, windows = clones.mean(axis=0), np.zeros(shape, dtype=np.int64)
            for window, drawn in self._in(top, bottom):
                here, part, weight = self._place(window, top, bottom)
                squares[here] += weight * ((drawn[:, *part] - mean[here]) ** 2).sum(axis=0)
                windows[here] += 1
            apart = published_std(squares, total, self.members, windows)
        if smooth:
            clones = with_variance(clones, variance / total)
        return Band(top, bottom, clones, apart), gaps

    def _in(self, top: int, bottom: int) -> Iterator[tuple[Window, Floats]]:
        """Windows that overlap a band, with their clones in metres above the datum."""
        for window, store, i, reference in self._windows:
            if window.row < bottom and window.row + window.size > top:
                yield window, store["clones"][i].astype(np.float64) + reference

    def _place(
        self, window: Window, top: int, bottom: int
    ) -> tuple[tuple[slice, slice], tuple[slice, slice], Floats]:
        """The window's pixels in the band, the same pixels in the window, and their weights."""
        first, last = max(window.row, top), min(window.row + window.size, bottom)
        across = slice(window.col, window.col + window.size)
        part = (slice(first - window.row, last - window.row), slice(0, window.size))
        if self._section.blend == "smooth":
            weights = smooth_weights(window.size, window.border)
        else:
            px, sigma = self._section.blend_px, self._section.blend_sigma_px
            weights = blend_weights(window.size, px, sigma, window.border)
        return (slice(first - top, last - top), across), part, weights[part]


def cell_deficit(heights: Floats, ground: SiteGround, top: int) -> Floats:
    """Correction of maps' cells to the a priori means, which blending changes slightly.

    A squared sine in each cell that falls to 0 at its border: local, so that bands and tiles do not change
    it.

    Parameters
    ----------
    heights : (M, rows, W) metres above the DEM's datum, whole cells. ground : of the map. top : first row.
    """
    factor, halo = ground.layout.factor, ground.halo_cells
    down, across = heights.shape[1] // factor, heights.shape[2] // factor
    first = halo + top // factor
    cells = ground.cells[first : first + down, halo : halo + across]
    apart = np.where(np.isfinite(cells), cells - block_mean(heights, factor), 0.0)
    # Its mean is 1; a cell of one pixel has no border.
    bump = 2 * np.sin(np.pi * (np.arange(factor) + 0.5) / factor) ** 2 if factor > 1 else np.ones(1)
    whole: Floats = apart.repeat(factor, axis=1).repeat(factor, axis=2)
    return whole * np.tile(bump, down)[:, None] * np.tile(bump, across)
