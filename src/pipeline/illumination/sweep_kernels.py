"""Compiled kernels of the line sweep: exact near crossings, shadows carried along lines, row by row.

Compiled functions that call each other are in one file, as numba's cache on disk checks the file of the
called function only. LLVM vectorises loops that write to another array than they read. The kernels are
single-threaded; each pixel is computed independently.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from pipeline.illumination.crossing_kernels import ABSENT, TILE, compiled

_NOTHING = -np.float32(ABSENT)
GROUP = 4  # crossings that are taken together


@compiled
def _between(a, b, weight, out):
    """``out`` = (1 - weight) a + weight b."""
    rest = np.float32(1) - weight
    for v in range(len(out)):
        out[v] = rest * a[v] + weight * b[v]


@compiled
def _raised(shadow, line, rise, out):
    """``out`` = the greater of ``shadow`` and ``line`` + rise."""
    for v in range(len(out)):
        height = line[v] + rise
        out[v] = height if height > shadow[v] else shadow[v]


@compiled
def _free(near, tangent, low, high, weight, start, rise, out):
    """``out``: neither terrain nearby nor the shadow between two lines covers the pixel."""
    rest = np.float32(1) - weight
    for v in range(len(out)):
        far = weight * low[v] + rest * high[v] <= start[v] + rise
        out[v] = far & (near[v] < tangent)


@compiled
def _near(flat, begin, first, second, weight, nearness, start, horizon, spare):
    """Tangent of the horizon of one row over the given crossings, at least 0; in one of the two buffers.

    ``begin``: the row's first pixel in ``flat``; the number of crossings is a multiple of GROUP.
    """
    n = len(start)
    horizon[:] = 0
    for k in range(0, len(first), GROUP):
        a0, b0 = flat[begin + first[k] :][:n], flat[begin + second[k] :][:n]
        a1, b1 = flat[begin + first[k + 1] :][:n], flat[begin + second[k + 1] :][:n]
        a2, b2 = flat[begin + first[k + 2] :][:n], flat[begin + second[k + 2] :][:n]
        a3, b3 = flat[begin + first[k + 3] :][:n], flat[begin + second[k + 3] :][:n]
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        n0, n1, n2, n3 = nearness[k], nearness[k + 1], nearness[k + 2], nearness[k + 3]
        for v in range(n):
            z = start[v]
            t0 = (a0[v] + w0 * (b0[v] - a0[v]) - z) * n0
            t1 = (a1[v] + w1 * (b1[v] - a1[v]) - z) * n1
            t2 = (a2[v] + w2 * (b2[v] - a2[v]) - z) * n2
            t3 = (a3[v] + w3 * (b3[v] - a3[v]) - z) * n3
            t0 = t0 if t0 > t1 else t1
            t2 = t2 if t2 > t3 else t3
            t0 = t0 if t0 > t2 else t2
            spare[v] = t0 if t0 > horizon[v] else horizon[v]
        horizon, spare = spare, horizon
    return horizon


@compiled
def sweep_kernel(terrain, aside, step_m, backwards, delay, crossings, tangents, places, lit):
    """``lit[places[d]]`` (H, W) u1: the pixels that a Sun in one azimuth lights at elevation tangent d.

    Rows are processed from the Sun's side on (``backwards``: from the last to the first). Line L is at column
    L + ``aside`` u in the u-th of them, |aside| <= 1, and advances by ``step_m`` metres per row.
    ``crossings``: (first, second, weight, nearness) of those nearer than ``delay`` rows, whose number is a
    multiple of GROUP, see `crossing_kernels`. Terrain at ``delay`` rows and farther casts its shadow along
    the lines.
    """
    first, second, weight, nearness = crossings
    rows, cols = terrain.row1 - terrain.row0, terrain.col1 - terrain.col0
    left, height, width = terrain.left - terrain.col0, terrain.height, terrain.width
    top = terrain.top - terrain.row0
    across = terrain.lowest.shape[1] * TILE
    last = rows - top if backwards else top + height  # rows up to the last pixel that receives light
    drift = math.floor(aside * (rows - 1))
    base = max(0, drift) + 2  # place of line 0
    # Height of each line's shadow, plus its fall since the first row.
    shadow = np.full((len(tangents), cols + abs(drift) + 4), _NOTHING, np.float32)
    line, higher = np.empty(cols + 1, np.float32), np.empty(cols + 1, np.float32)
    one, other = np.empty(width, np.float32), np.empty(width, np.float32)
    for u in range(last):
        r = rows - 1 - u if backwards else u
        receives = top <= r < top + height
        if u >= delay:
            k = u - delay
            source = (terrain.row0 + (rows - 1 - k if backwards else k)) * terrain.stride + terrain.col0 - 1
            turn = math.floor(aside * k)
            # From one column before the DEM to its last: lines between two of its columns.
            a, b = terrain.flat[source:][: cols + 1], terrain.flat[source + 1 :][: cols + 1]
            _between(a, b, np.float32(aside * k - turn), line)
            begin = base - 1 - turn
            for d in range(len(tangents)):
                lines = shadow[d, begin : begin + cols + 1]
                _raised(lines, line, np.float32(tangents[d] * step_m * k), higher)
                lines[:] = higher
        if receives:
            y = r - top
            start = terrain.start[y * across :][:width]
            pixel = (terrain.row0 + r) * terrain.stride + terrain.left
            near = _near(terrain.flat, pixel, first, second, weight, nearness, start, one, other)
            turn = math.floor(aside * u)
            part = np.float32(aside * u - turn)
            low = base - 1 - turn + left
            for d in range(len(tangents)):
                rise = np.float32(tangents[d] * step_m * u)
                before, behind = shadow[d, low:][:width], shadow[d, low + 1 :][:width]
                _free(near, tangents[d], before, behind, part, start, rise, lit[places[d], y])


@compiled
def transpose_kernel(source, out):
    """``out`` (H, W) = ``source`` (W, H) transposed, in blocks that stay in the fastest cache."""
    size = 32
    for i in range(0, out.shape[0], size):
        for j in range(0, out.shape[1], size):
            for y in range(i, min(i + size, out.shape[0])):
                for x in range(j, min(j + size, out.shape[1])):
                    out[y, x] = source[x, y]
