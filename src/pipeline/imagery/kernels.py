"""Compiled kernels of the area average: map pixels from the pixels of an image.

Single-threaded; every map pixel is computed independently and in a fixed order, so no result depends on the
window, the chunk or the number of threads.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

from pipeline.illumination.crossing_kernels import compiled

CELL = 16  # map pixels along a side of a cell of the lattice
_HALF = CELL / 2


@compiled
def slopes(values, valid, down, right):
    """Slopes of the planes over an image's pixels, per pixel downwards and to the right.

    Central differences; one-sided beside an invalid pixel, 0 between two invalid pixels. All (H, W).
    """
    height, width = values.shape
    for k in range(height):
        for m in range(width):
            down[k, m] = right[k, m] = 0.0
            if not valid[k, m]:
                continue
            before, after = m > 0 and valid[k, m - 1], m < width - 1 and valid[k, m + 1]
            if before and after:
                right[k, m] = 0.5 * (values[k, m + 1] - values[k, m - 1])
            elif after:
                right[k, m] = values[k, m + 1] - values[k, m]
            elif before:
                right[k, m] = values[k, m] - values[k, m - 1]
            before, after = k > 0 and valid[k - 1, m], k < height - 1 and valid[k + 1, m]
            if before and after:
                down[k, m] = 0.5 * (values[k + 1, m] - values[k - 1, m])
            elif after:
                down[k, m] = values[k + 1, m] - values[k, m]
            elif before:
                down[k, m] = values[k, m] - values[k - 1, m]


@compiled
def average_cells(values, valid, down, right, corner, patches, samples, first_cell, first_pixel, mean, share):
    """Area averages of the map pixels of a block, whose image coordinates follow the cells' polynomials.

    Parameters
    ----------
    values, valid, down, right : (H, W) window of the image, float64 and bool, and its `slopes`.
    corner : row and column of the window's first pixel.
    patches : (cell rows, cell columns, 2, 3, 3) coefficients of image row and column: powers of the map row
        by powers of the map column, both in half cells from the cell's corner.
    samples : (cell rows, cell columns) points along a side of a map pixel; 0 or less for none.
    first_cell : row and column of the cell that comes first.
    first_pixel : row and column of the map pixel that comes first.
    mean, share : (rows, columns) results; pixels of cells without samples stay as they are.
    """
    height, width = values.shape
    rows = patches[:, :, 0]
    cols = patches[:, :, 1]
    for i in range(mean.shape[0]):
        row = first_pixel[0] + i
        cell_row = row // CELL - first_cell[0]
        for j in range(mean.shape[1]):
            col = first_pixel[1] + j
            cell_col = col // CELL - first_cell[1]
            n = samples[cell_row, cell_col]
            if n <= 0:
                continue
            p, q = rows[cell_row, cell_col], cols[cell_row, cell_col]
            step = 1.0 / (n * _HALF)
            first_t, first_s = row % CELL / _HALF + 0.5 * step, col % CELL / _HALF + 0.5 * step
            total, count = 0.0, 0
            for a in range(n):
                t = first_t + a * step
                p0 = p[0, 0] + t * (p[1, 0] + t * p[2, 0])
                p1 = p[0, 1] + t * (p[1, 1] + t * p[2, 1])
                p2 = p[0, 2] + t * (p[1, 2] + t * p[2, 2])
                q0 = q[0, 0] + t * (q[1, 0] + t * q[2, 0])
                q1 = q[0, 1] + t * (q[1, 1] + t * q[2, 1])
                q2 = q[0, 2] + t * (q[1, 2] + t * q[2, 2])
                for b in range(n):
                    s = first_s + b * step
                    v = p0 + s * (p1 + s * p2)
                    u = q0 + s * (q1 + s * q2)
                    whole_v, whole_u = math.floor(v), math.floor(u)
                    k, m = int(whole_v) - corner[0], int(whole_u) - corner[1]
                    if 0 <= k < height and 0 <= m < width and valid[k, m]:
                        y, x = v - whole_v - 0.5, u - whole_u - 0.5
                        total += values[k, m] + down[k, m] * y + right[k, m] * x
                        count += 1
            if count:
                mean[i, j] = total / count
            share[i, j] = count / (n * n)


@compiled
def average_points(values, valid, down, right, corner, rows, cols, mean, share):
    """Averages of sets of points of the image: ``rows``, ``cols`` (sets, points); not finite: no point."""
    height, width = values.shape
    for i in range(len(mean)):
        total, count = 0.0, 0
        for a in range(rows.shape[1]):
            v, u = rows[i, a], cols[i, a]
            # The comparison also drops points that are not finite.
            if corner[0] <= v < corner[0] + height and corner[1] <= u < corner[1] + width:
                k, m = int(v) - corner[0], int(u) - corner[1]
                if valid[k, m]:
                    y, x = v - math.floor(v) - 0.5, u - math.floor(u) - 0.5
                    total += values[k, m] + down[k, m] * y + right[k, m] * x
                    count += 1
        if count:
            mean[i] = total / count
        share[i] = count / rows.shape[1]


@compiled
def bounds(patches, bulges, samples, first_cell, first_pixel, shape, box):
    """Smallest and largest image row and column of the map pixels of a block, into ``box``.

    Points inside a map pixel may lie beyond its corners by ``bulges`` (cell rows, cell columns, 2), image
    pixels.
    """
    for i in range(shape[0]):
        row = first_pixel[0] + i
        cell_row = row // CELL - first_cell[0]
        for j in range(shape[1]):
            col = first_pixel[1] + j
            cell_col = col // CELL - first_cell[1]
            if samples[cell_row, cell_col] <= 0:
                continue
            for a in range(2):
                t = (row % CELL + a) / _HALF
                for b in range(2):
                    s = (col % CELL + b) / _HALF
                    for axis in range(2):
                        p = patches[cell_row, cell_col, axis]
                        at = 0.0
                        for k in range(2, -1, -1):
                            at = at * t + (p[k, 0] + s * (p[k, 1] + s * p[k, 2]))
                        bulge = bulges[cell_row, cell_col, axis]
                        box[2 * axis] = min(box[2 * axis], at - bulge)
                        box[2 * axis + 1] = max(box[2 * axis + 1], at + bulge)
