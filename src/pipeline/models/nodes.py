"""Least squares among surfaces that are bilinear between nodes some pixels apart, solved exactly.

Conjugate gradients need hundreds of steps to propagate a slope across a wide gap between spots, or from lit
ground into the dark. Here the same problem is solved for surfaces with some hundred unknowns,

    sum of w z^2 + g M g + share * (block means)^2 - 2 r z
        + stiffness * integral of z_xx^2 + 2 z_xy^2 + z_yy^2,

with slopes g and residuals r, whose normal equations are banded, by Cholesky's method. Maps are solved in
parallel, each by one thread in a fixed order.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.jobs.threads import with_torchs_threads

#: Approximate distance between nodes, pixels.
SPACING_PX = 4
#: Inverse variance of a node's height over that of a second difference: a few spots on a line, too, give a
#: solvable system.
_LEVEL = 1e-7


def solve_on_nodes(
    residual: Tensor,
    weight: Tensor,
    information: tuple[Tensor, Tensor, Tensor] | None,
    share: Tensor,
    factor: int,
    stiffness: float,
) -> Tensor:
    """Surfaces (B, P, P) that minimise the sum above.

    Parameters
    ----------
    residual : (B, P, P) of the normal equations. weight : (B, P, P) inverse variances of heights.
    information : (B, P, P) each, on slopes to the right and up: xx, yy, xy. None for none.
    share : (B,) inverse variance of block means, 0 where they are unknown.
    factor : pixels per side of a block.
    stiffness : inverse variance of a second difference over one pixel.
    """
    size = residual.shape[-1]
    nodes = max(4, size // SPACING_PX + 1)

    def host(each: Tensor) -> NDArray[np.float64]:
        return each.detach().double().cpu().contiguous().numpy()

    nothing = np.zeros(residual.shape)
    slopes = [nothing] * 3 if information is None else [host(each) for each in information]
    out = np.empty(residual.shape, np.float64)
    _solve(  # type: ignore[call-arg]
        host(residual), host(weight), *slopes, host(share), factor, float(stiffness), nodes, out
    )
    return torch.from_numpy(out).to(residual)


def spline(height: Tensor, weight: Tensor, stiffness: float) -> Tensor:
    """Smoothing thin-plate splines (B, P, P) through spots, pixels.

    Parameters
    ----------
    height : (B, P, P) heights of the spots, in pixels; used only where the weight is positive.
    weight : (B, P, P) inverse variances, 0 where there is no spot. stiffness : of the plate.
    """
    total = weight.sum(dim=(1, 2), keepdim=True)
    mean = (weight * height).sum(dim=(1, 2), keepdim=True) / total.clamp_min(1e-12)
    nothing = torch.zeros(len(height), device=height.device)
    return mean + solve_on_nodes(weight * (height - mean), weight, None, nothing, 1, stiffness)


@numba.njit(cache=True, nogil=True)
def _add(band, one, other, value):
    """Add to a symmetric matrix whose lower band is stored by rows, the diagonal last."""
    if other <= one:
        band[one, band.shape[1] - 1 - (one - other)] += value


@numba.njit(cache=True, nogil=True)
def _square(band, where, factors, count, value):
    """Add `value` times the square of a linear combination of nodes."""
    for i in range(count):
        for j in range(count):
            _add(band, where[i], where[j], value * factors[i] * factors[j])


@numba.njit(cache=True, nogil=True)
def _corners(y, x, spacing, nodes, where, height, right, up):
    """The four nodes around a pixel, and their coefficients in its height and slopes."""
    row, column = min(int(y / spacing), nodes - 2), min(int(x / spacing), nodes - 2)
    v, u = y / spacing - row, x / spacing - column
    first = row * nodes + column
    where[0], where[1], where[2], where[3] = first, first + 1, first + nodes, first + nodes + 1
    height[0], height[1], height[2], height[3] = (1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u
    right[0], right[1], right[2], right[3] = -(1 - v) / spacing, (1 - v) / spacing, -v / spacing, v / spacing
    up[0], up[1], up[2], up[3] = (1 - u) / spacing, u / spacing, -(1 - u) / spacing, -u / spacing


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(one, other):
    total = 0.0
    for k in range(len(one)):
        total += one[k] * other[k]
    return total


@numba.njit(cache=True, nogil=True)
def _cholesky(band, right):
    """Solve in place; `right` becomes the solution."""
    n, width = band.shape
    reach = width - 1
    for i in range(n):
        first = max(0, i - reach)
        for j in range(first, i):
            begin = max(first, j - reach)
            done = _dot(band[i, begin - i + reach : j - i + reach], band[j, begin - j + reach : reach])
            band[i, j - i + reach] = (band[i, j - i + reach] - done) / band[j, reach]
        row = band[i, first - i + reach : reach]
        band[i, reach] = np.sqrt(max(band[i, reach] - _dot(row, row), 1e-12))
        right[i] = (right[i] - _dot(row, right[first:i])) / band[i, reach]
    for i in range(n - 1, -1, -1):
        right[i] /= band[i, reach]
        for j in range(max(0, i - reach), i):
            right[j] -= band[i, j - i + reach] * right[i]


@numba.njit(cache=True, nogil=True)
def _bends(band, nodes, bent):
    """The integral of squared second derivatives, `bent` per square of a second difference between nodes."""
    line, second = np.zeros(3, np.int64), np.array([1.0, -2.0, 1.0])
    cell, twist = np.zeros(4, np.int64), np.array([1.0, -1.0, -1.0, 1.0])
    for row in range(nodes):
        for column in range(nodes):
            at = row * nodes + column
            for step, here in ((1, column), (nodes, row)):
                if 0 < here < nodes - 1:
                    line[0], line[1], line[2] = at - step, at, at + step
                    _square(band, line, second, 3, bent)
            if row < nodes - 1 and column < nodes - 1:
                cell[0], cell[1], cell[2], cell[3] = at, at + 1, at + nodes, at + nodes + 1
                _square(band, cell, twist, 4, 2 * bent)
            _add(band, at, at, _LEVEL * bent)


@numba.njit(cache=True, nogil=True)
def _blocks(band, size, factor, spacing, nodes, share):
    """Add squares of block means, each a sum over the nodes in and beside the block."""
    slot = np.full(nodes * nodes, -1, np.int64)
    held, mean = np.zeros((factor + 2) ** 2 + 4, np.int64), np.zeros((factor + 2) ** 2 + 4)
    where, height, right, up = np.zeros(4, np.int64), np.zeros(4), np.zeros(4), np.zeros(4)
    for top in range(0, size, factor):
        for left in range(0, size, factor):
            count = 0
            for y in range(top, top + factor):
                for x in range(left, left + factor):
                    _corners(y, x, spacing, nodes, where, height, right, up)
                    for k in range(4):
                        if slot[where[k]] < 0:
                            slot[where[k]] = count
                            held[count], mean[count] = where[k], 0.0
                            count += 1
                        mean[slot[where[k]]] += height[k] / factor**2
            _square(band, held, mean, count, share)
            for i in range(count):
                slot[held[i]] = -1


@with_torchs_threads
@numba.njit(cache=True, nogil=True, parallel=True)
def _solve(residual, weight, xx, yy, xy, share, factor, stiffness, nodes, out):
    """Solve B problems into `out`; see `solve_on_nodes`."""
    for b in numba.prange(len(residual)):
        size = residual.shape[1]
        spacing = (size - 1) / (nodes - 1)
        reach = 2 * nodes
        if share[b] > 0:
            reach = max(reach, (int(np.ceil(factor / spacing)) + 1) * (nodes + 1))
        band, found = np.zeros((nodes * nodes, min(reach, nodes * nodes - 1) + 1)), np.zeros(nodes * nodes)
        where, height, right, up = np.zeros(4, np.int64), np.zeros(4), np.zeros(4), np.zeros(4)
        for y in range(size):
            for x in range(size):
                _corners(y, x, spacing, nodes, where, height, right, up)
                w, a, c, d = weight[b, y, x], xx[b, y, x], yy[b, y, x], xy[b, y, x]
                for i in range(4):
                    found[where[i]] += height[i] * residual[b, y, x]
                    if w > 0 or a > 0 or c > 0:
                        along, across = a * right[i] + d * up[i], d * right[i] + c * up[i]
                        for j in range(4):
                            value = w * height[i] * height[j] + along * right[j] + across * up[j]
                            _add(band, where[i], where[j], value)
        if share[b] > 0:
            _blocks(band, size, factor, spacing, nodes, share[b])
        # Squared second derivatives times the area of a node.
        _bends(band, nodes, stiffness / spacing**2)
        _cholesky(band, found)
        for y in range(size):
            for x in range(size):
                _corners(y, x, spacing, nodes, where, height, right, up)
                value = 0.0
                for k in range(4):
                    value += height[k] * found[where[k]]
                out[b, y, x] = value
