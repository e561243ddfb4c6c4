"""Image coordinates of a map's pixels: exact at the nodes of a lattice, biquadratic in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from pipeline.imagery.kernels import CELL
from pipeline.imagery.projection import from_lonlat, moon_crs, period, to_lonlat
from pipeline.imagery.raster import ImageFile
from pipeline.terrain.grid import GridError

Floats = NDArray[np.float64]

# Points along a side of a map pixel: at least this many, and two per image pixel. More change the error
# little (see `resample`), and with ten the common ratios of 1, 2 and 5 image pixels are exact.
_LEAST_SAMPLES = 10
_SAMPLES_PER_PIXEL = 2
# Near a pole of a lon/lat image, pixels are very narrow; more points than this change nothing.
_MOST_EXACT_SAMPLES = 32
_TOLERANCE_PIXELS = 0.01


@dataclass(frozen=True)
class MapTarget:
    """A north-up map grid of square pixels.

    Attributes
    ----------
    crs_wkt : a projected CRS of the Moon.
    transform : affine from (column, row) of pixel corners to map coordinates.
    height, width : pixels.

    Raises
    ------
    GridError
        If the CRS is not a projected lunar one or the pixels are not square and north-up.
    """

    crs_wkt: str
    transform: Affine
    height: int
    width: int

    def __post_init__(self) -> None:
        if moon_crs(self.crs_wkt, "target map").is_geographic:
            raise GridError("target map: expected a projected CRS, found longitudes and latitudes")
        t = self.transform
        if t.b or t.d or not (t.a > 0 and abs(t.a + t.e) <= 1e-6 * t.a):
            raise GridError(f"target map: expected square north-up pixels, found transform {t[:6]}")

    @property
    def pixel(self) -> float:
        """Side of a pixel, in the CRS's units."""
        return float(self.transform.a)


class Locator:
    """Image coordinates of points of a map.

    Parameters
    ----------
    file : the image.
    target : the map.
    shift : displacement applied to the image's content, right and up, in the map's units.
    """

    def __init__(self, file: ImageFile, target: MapTarget, shift: tuple[float, float]) -> None:
        self._image_wkt, self._map_wkt = file.crs_wkt, target.crs_wkt
        self._step = target.pixel
        self._left, self._top = target.transform.c - shift[0], target.transform.f - shift[1]
        self._inverse = ~file.transform
        self._period = period(file.crs_wkt)
        self._size = (file.height, file.width)
        self._middle = float(file.middle[0])

    def locate(self, row: Floats, col: Floats) -> tuple[Floats, Floats]:
        """Image row and column of map rows and columns, all counted from pixel CORNERS; any shape."""
        x, y = self._left + self._step * col, self._top - self._step * row
        x, y = from_lonlat(self._image_wkt, *to_lonlat(self._map_wkt, x, y))
        with np.errstate(invalid="ignore"):
            if self._period is not None:
                x = x - self._period * np.round((x - self._middle) / self._period)
            t = self._inverse
            return t.d * x + t.e * y + t.f, t.a * x + t.b * y + t.c

    def cells(self, rows: tuple[int, int], cols: tuple[int, int]) -> Lattice:
        """The lattice over a window of map pixels.

        Cells are `CELL` map pixels wide and begin at whole multiples of it, whatever the window. A cell
        whose polynomial is off by more than a hundredth of an image pixel (beside a pole or the seam of a
        lon/lat image) has no samples.
        """
        first = (rows[0] // CELL, cols[0] // CELL)
        count = (-(-rows[1] // CELL) - first[0], -(-cols[1] // CELL) - first[1])
        half = CELL / 2
        nodes = self._grid(
            half * np.arange(2 * first[0], 2 * (first[0] + count[0]) + 1),
            half * np.arange(2 * first[1], 2 * (first[1] + count[1]) + 1),
        )
        checks = self._grid(
            half * (np.arange(2 * first[0], 2 * (first[0] + count[0])) + 0.5),
            half * (np.arange(2 * first[1], 2 * (first[1] + count[1])) + 0.5),
        )
        with np.errstate(invalid="ignore"):
            patches = np.stack([_polynomials(axis) for axis in nodes], axis=2)
            good = np.ones(count, dtype=bool)
            for axis in range(2):
                for a in range(2):
                    for b in range(2):
                        there = _evaluate(patches[:, :, axis], a + 0.5, b + 0.5)
                        good &= np.abs(there - checks[axis][a::2, b::2]) <= _TOLERANCE_PIXELS
            wanted, bulges = _samples(nodes), _bulges(patches)
            beyond = good & _beyond(nodes, bulges, self._size)
        samples = np.where(beyond, -1, np.where(good, wanted, 0))
        return Lattice(first, np.ascontiguousarray(patches), bulges, samples, wanted)

    def _grid(self, row: NDArray, col: NDArray) -> tuple[Floats, Floats]:
        return self.locate(*np.meshgrid(row, col, indexing="ij"))


@dataclass(frozen=True)
class Lattice:
    """Cells over a window of a map.

    Attributes
    ----------
    first : row and column of the first cell.
    patches : (cell rows, cell columns, 2, 3, 3) polynomials, see `average_cells`.
    bulges : (cell rows, cell columns, 2) bound of the reach of a map pixel beyond its corners, image pixels.
    samples : (cell rows, cell columns) points along a side of a map pixel; 0 where the polynomial is not
        accurate enough, -1 where the cell lies beyond the image.
    wanted : (cell rows, cell columns) points along a side of a map pixel, whatever the polynomial.
    """

    first: tuple[int, int]
    patches: Floats
    bulges: Floats
    samples: NDArray[np.int64]
    wanted: NDArray[np.int64]


# Sums and products are written out, element by element: the order of the sums in matrix products may depend
# on the size of the arrays, and results must be the same to the last bit in every window.


def _quadratic(a: Floats, b: Floats, c: Floats) -> tuple[Floats, Floats, Floats]:
    """Coefficients of the quadratics through values at 0, 1 and 2."""
    return a, -1.5 * a + 2.0 * b - 0.5 * c, 0.5 * a - b + 0.5 * c


def _polynomials(nodes: Floats) -> Floats:
    """(cell rows, cell columns, 3, 3) coefficients of biquadratics through 3 x 3 nodes per cell."""
    down = _quadratic(nodes[:-2:2], nodes[1:-1:2], nodes[2::2])
    both = [np.stack(_quadratic(k[:, :-2:2], k[:, 1:-1:2], k[:, 2::2]), axis=-1) for k in down]
    return np.stack(both, axis=-2)


def _evaluate(patches: Floats, t: float, s: float) -> Floats:
    at = [patches[..., k, 0] + s * (patches[..., k, 1] + s * patches[..., k, 2]) for k in range(3)]
    return at[0] + t * (at[1] + t * at[2])


def _bulges(patches: Floats) -> Floats:
    """Bound of how far a polynomial inside a map pixel exceeds its values at the pixel's corners.

    A function differs by at most h^2 / 8 (max |f_ss| + max |f_tt|) from the bilinear one through the corners
    of a square of side h, whose extremes are at the corners; h = 2 / CELL, and s and t are at most 2.
    """
    p = np.abs(patches)
    across = p[..., 0, 2] + 2 * p[..., 1, 2] + 4 * p[..., 2, 2]
    down = p[..., 2, 0] + 2 * p[..., 2, 1] + 4 * p[..., 2, 2]
    return 2 * (across + down) * (2 / CELL) ** 2 / 8


def _beyond(nodes: tuple[Floats, Floats], bulges: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells that lie wholly beyond an image of `size` rows and columns."""
    out = np.zeros(bulges.shape[:2], dtype=bool)
    for axis, length in enumerate(size):
        n = nodes[axis]
        corners = np.stack([n[:-2:2, :-2:2], n[:-2:2, 2::2], n[2::2, :-2:2], n[2::2, 2::2]])
        # The bound of `_bulges` for a square that is CELL times wider, plus one pixel for rounding errors.
        room = bulges[:, :, axis] * CELL**2 + 1
        out |= (corners.max(axis=0) < -room) | (corners.min(axis=0) > length + room)
    return out


def _samples(nodes: tuple[Floats, Floats]) -> NDArray[np.int64]:
    """Points along a side of a map pixel in every cell, by the greatest step between neighbouring nodes."""
    down = np.hypot(*(np.diff(axis, axis=0) for axis in nodes))
    right = np.hypot(*(np.diff(axis, axis=1) for axis in nodes))
    down = np.maximum(down[::2], down[1::2])
    right = np.maximum(right[:, ::2], right[:, 1::2])
    step = np.maximum.reduce(
        [down[:, :-2:2], down[:, 1:-1:2], down[:, 2::2], right[:-2:2], right[1:-1:2], right[2::2]]
    ) / (CELL / 2)
    step = np.where(np.isfinite(step), step, 0.0)
    wanted = np.ceil(_SAMPLES_PER_PIXEL * step - 1e-6)
    return np.maximum(_LEAST_SAMPLES, wanted).astype(np.int64)


def exact_points(locator: Locator, row: int, col: int, samples: int) -> tuple[Floats, Floats]:
    """Exact image rows and columns, (1, n^2) each, of n x n points of one map pixel, n = min(samples, 32)."""
    n = min(samples, _MOST_EXACT_SAMPLES)
    steps = (np.arange(n) + 0.5) / n
    rows, cols = np.meshgrid(row + steps, col + steps, indexing="ij")
    return locator.locate(rows.reshape(1, -1), cols.reshape(1, -1))
