"""Compiled kernel of fine renderings: one image of a patch, shaded on a mesh and averaged to pixels.

Self-contained, as numba's cache on disk checks the file of the called function only. Single-threaded, so that
results do not depend on the number of threads.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def render_kernel(slopes, horizon, table, axes, sun, shares, mesh, start, rest, out):
    """Area averages ``out`` (H, W) f4 of shaded ground under one Sun.

    ``slopes`` (2, Y, X) f4: dz/dx (right) and dz/dy (up) at the mesh's cells. ``horizon`` (h, w) f4: tangents
    of the horizon in the Sun's azimuth; it spans the same ground as ``slopes`` in larger cells, between whose
    centres it is interpolated. ``table`` (A, C) f4: radiance over the slope towards the Sun (``axes[0]`` at
    the first node, ``axes[1]`` nodes per unit) and the absolute slope across (from 0, ``axes[2]`` nodes).
    ``sun`` f4: sine and cosine of its azimuth, tangent of its elevation, of its disc's lower edge, and one
    over the difference of the tangents of its edges. ``shares`` f4: visible share of the disc where the
    horizon stands at even steps from its lower edge to its upper edge. A pixel is ``mesh`` cells wide; the
    first begins at the cells ``start`` and the shares ``rest`` of a cell.
    """
    one, zero, half = np.float32(1), np.float32(0), np.float32(0.5)
    height, width = out.shape
    wide = width * mesh + 1
    first, nodes, nodes_across = axes[0], axes[1], axes[2]
    east, north, top, below, per_band = sun[0], sun[1], sun[2], sun[3], sun[4]
    last_u, last_v = table.shape[0] - 2, table.shape[1] - 2
    flat, across_nodes = table.ravel(), table.shape[1]
    steps = len(shares) - 1
    rows, cols = horizon.shape
    ratio = np.float32(rows) / np.float32(slopes.shape[1])
    # Position of each column of the mesh between the centres of the horizon's columns.
    left = np.empty(wide, np.uint64)
    beside = np.empty(wide, np.float32)
    for c in range(wide):
        place = (np.float32(start[1] + c) + half) * ratio - half
        near = min(max(int(np.floor(place)), 0), cols - 2)
        left[c], beside[c] = near, min(max(place - np.float32(near), zero), one)
    between = np.empty((2, wide), np.float32)  # the horizon's rows above and below a row of the mesh
    reached = -1
    hidden = np.empty(wide, np.float32)
    toward = np.empty(wide, np.float32)
    across = np.empty(wide, np.float32)
    line = np.empty(wide, np.float32)
    pixels = np.empty(width, np.float32)
    out[:] = zero
    for k in range(height * mesh + 1):
        place = (np.float32(start[0] + k) + half) * ratio - half
        r = min(max(int(np.floor(place)), 0), rows - 2)
        weight = min(max(place - np.float32(r), zero), one)
        if r != reached:
            for side in range(2):
                row, filled = horizon[r + side], between[side]
                for c in range(wide):
                    filled[c] = row[left[c]] + beside[c] * (row[left[c] + np.uint64(1)] - row[left[c]])
            reached = r
        upper, lower = between[0], between[1]
        right_slopes = slopes[0, start[0] + k, start[1] : start[1] + wide]
        up_slopes = slopes[1, start[0] + k, start[1] : start[1] + wide]
        # A separate loop, which the compiler can vectorise.
        for c in range(wide):
            hidden[c] = (upper[c] + weight * (lower[c] - upper[c]) - below) * per_band
            toward[c] = east * right_slopes[c] + north * up_slopes[c]
            across[c] = abs(north * right_slopes[c] - east * up_slopes[c]) * nodes_across
        for c in range(wide):
            if hidden[c] >= one or toward[c] >= top:
                line[c] = zero
                continue
            u, v = max((toward[c] - first) * nodes, zero), across[c]
            i, j = min(int(u), last_u), min(int(v), last_v)
            u, v = min(u - np.float32(i), one), min(v - np.float32(j), one)
            # Unsigned: numba then leaves out its test for negative indices.
            here = np.uint64(i * across_nodes + j)
            ahead = here + np.uint64(across_nodes)
            a, b = flat[here], flat[ahead]
            a += v * (flat[here + np.uint64(1)] - a)
            b += v * (flat[ahead + np.uint64(1)] - b)
            value = a + u * (b - a)
            if hidden[c] > zero:
                step = hidden[c] * np.float32(steps)
                s = min(int(step), steps - 1)
                value *= shares[s] + (step - np.float32(s)) * (shares[s + 1] - shares[s])
            line[c] = value
        # A pixel contains its cells completely, except the first one and the one after the last.
        for x in range(width):
            begin = x * mesh
            total = line[begin] * (one - rest[1]) + line[begin + mesh] * rest[1]
            for c in range(begin + 1, begin + mesh):
                total += line[c]
            pixels[x] = total
        y, part = divmod(k, mesh)
        if part:
            for x in range(width):
                out[y, x] += pixels[x]
        else:
            if y < height:
                for x in range(width):
                    out[y, x] += pixels[x] * (one - rest[0])
            if y:
                for x in range(width):
                    out[y - 1, x] += pixels[x] * rest[0]
    out *= one / np.float32(mesh * mesh)
