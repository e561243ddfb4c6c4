"""Compiled kernels of the far horizon: exact crossings of rays with the edges of the coarse mesh.

Between two edges the surface is a plane, so the steepest line of sight to it ends on an edge. For one
azimuth the rays of all pixels are parallel: an edge is crossed by the pixels in a band across the patch, at a
fraction of its length that grows linearly over the band. Each edge is therefore processed once per azimuth,
and the horizon of its band of pixels is raised; edges that cannot rise above the lowest Sun are left out
beforehand.

Self-contained, as numba's cache on disk checks the file of the called function only.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np
from numba import njit

_TIE = 1e-9  # a ray this close to the end of an edge (pixels) meets it
_ALONG = 1e-6  # an edge this narrow across the ray (pixels) lies along it


@njit(cache=True, nogil=True)
def _edge(z, rows, cols, away, i, j, k, m, lowest, clearance, pixel_m, floor, edges, count):
    """Append the edge between vertices (i, j) and (k, m) where it may exceed `floor`; the new count."""
    length = math.hypot(rows[k] - rows[i], cols[m] - cols[j])
    # No point of the edge is nearer than this, by the triangle inequality.
    way = max((away[i, j] + away[k, m] - length) / 2, clearance) * pixel_m
    bound = (max(z[i, j], z[k, m]) - lowest) / way
    if bound < floor:
        return count
    edges[count, 0], edges[count, 1], edges[count, 2] = rows[i], cols[j], z[i, j]
    edges[count, 3], edges[count, 4], edges[count, 5] = rows[k], cols[m], z[k, m]
    edges[count, 6] = bound
    return count + 1


@njit(cache=True, nogil=True)
def far_edges(z, rows, cols, lower, upper, away, lowest, clearance, pixel_m, floor):
    """Edges of the mesh that may be visible above `floor` (a tangent) from the patch.

    Parameters are those of `pipeline.illumination.far.FarMesh`, the height of the lowest pixel of the patch,
    m, and the pixel size, m. Returns ``(E, 7)``: row, column (pixels) and height (m) of both ends, and an
    upper bound of the edge's tangent, by which the edges are sorted in descending order.
    """
    high, wide = z.shape
    edges = np.empty((3 * high * wide, 7))
    count = 0
    for i in range(high):
        for j in range(wide):
            right = j + 1 < wide and ((i + 1 < high and upper[i, j]) or (i > 0 and lower[i - 1, j]))
            down = i + 1 < high and ((j + 1 < wide and lower[i, j]) or (j > 0 and upper[i, j - 1]))
            across = i + 1 < high and j + 1 < wide and (lower[i, j] or upper[i, j])
            for there, k, m in ((right, i, j + 1), (down, i + 1, j), (across, i + 1, j + 1)):
                if there:
                    count = _edge(
                        z, rows, cols, away, i, j, k, m, lowest, clearance, pixel_m, floor, edges, count
                    )
    return edges[np.argsort(-edges[:count, 6])]


@njit(cache=True, nogil=True, error_model="numpy")
def far_horizon_kernel(edges, heights, top, left, pixel_m, headings, floors, out):
    """``out`` (A, H, W) f4: tangent of the far horizon, at least 0; exact above each heading's floor (A,).

    ``edges`` are those of `far_edges`; ``heights`` (H, W) f8 are the patch's, m, its first pixel (top, left);
    a heading moves by (east, south) columns and rows per pixel of distance.
    """
    high, wide = heights.shape
    for a in range(len(headings)):
        east, south = headings[a, 0], headings[a, 1]
        out[a] = 0.0
        # Across the ray: s = column * south - row * east; along it: t = row * south + column * east.
        corner = left * south - top * east
        over, under = (wide - 1) * south, -(high - 1) * east
        least = corner + min(0.0, over) + min(0.0, under) - _TIE
        most = corner + max(0.0, over) + max(0.0, under) + _TIE
        ahead = top * south + left * east + min(0.0, (high - 1) * south) + min(0.0, (wide - 1) * east)
        for e in range(len(edges)):
            if edges[e, 6] < floors[a]:
                break
            row0, col0, z0 = edges[e, 0], edges[e, 1], edges[e, 2]
            row1, col1, z1 = edges[e, 3], edges[e, 4], edges[e, 5]
            s0, s1 = col0 * south - row0 * east, col1 * south - row1 * east
            t0, t1 = row0 * south + col0 * east, row1 * south + col1 * east
            low, end = min(s0, s1), max(s0, s1)
            # An edge along the ray is met at its ends, which other edges share.
            if end - low < _ALONG or end < least or low > most or max(t0, t1) < ahead:
                continue
            slant, rise = (t1 - t0) / (s1 - s0), (z1 - z0) / (s1 - s0)
            for y in range(high):
                row = float(top + y)
                # The columns whose ray meets the edge.
                if abs(south) > 1e-12:
                    one, two = (low + row * east) / south, (end + row * east) / south
                    first = max(math.ceil(min(one, two) - _TIE) - left, 0)
                    last = min(math.floor(max(one, two) + _TIE) - left, wide - 1)
                elif low - _TIE <= -row * east <= end + _TIE:
                    first, last = 0, wide - 1
                else:
                    continue
                # The edge's height and distance are linear in the column.
                part = left * south - row * east - s0
                height, climb = z0 + rise * part, rise * south
                way = (t0 + slant * part - row * south - left * east) * pixel_m
                further = (slant * south - east) * pixel_m
                # The mesh does not touch the patch: an edge lies ahead of all pixels, or behind all of them.
                if first > last or way + further * first <= 0:
                    continue
                line, ground = out[a, y], heights[y]
                for x in range(first, last + 1):
                    tangent = (height + climb * x - ground[x]) / (way + further * x)
                    line[x] = tangent if tangent > line[x] else line[x]
