"""Compiled loops of `pipeline.models.refinement`: information of a sample set's images on a DEM's slopes.

Most pixels of a set are in shadow, so the loops visit lit pixels only. Sets are processed in parallel, each
by one thread in a fixed order: the result does not depend on the number of threads.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from pipeline.jobs.threads import with_torchs_threads

#: Unknowns per image: exposure, haze, shift along columns and rows.
CAMERA = 4


@numba.njit(cache=True, nogil=True)
def _solve(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """Solve a small positive definite system in place by Cholesky's method; `right` becomes the solution."""
    n = len(right)
    for j in range(n):
        for k in range(j):
            matrix[j, j] -= matrix[j, k] * matrix[j, k]
        matrix[j, j] = np.sqrt(max(matrix[j, j], 1e-12))
        for i in range(j + 1, n):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k]
            matrix[i, j] /= matrix[j, j]
    for i in range(n):
        for k in range(i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]


@numba.njit(cache=True, nogil=True)
def _render(p, q, sun, shading):
    """Lambert's shading of slopes under a Sun, negative where the Sun is behind."""
    for y in range(p.shape[0]):
        for x in range(p.shape[1]):
            length = np.float32(1) / np.sqrt(np.float32(1) + p[y, x] * p[y, x] + q[y, x] * q[y, x])
            shading[y, x] = (sun[2] - sun[0] * p[y, x] - sun[1] * q[y, x]) * length


@numba.njit(cache=True, nogil=True)
def _terms(shading, y, x):
    """Shading's differences along columns and rows."""
    up, down = max(y - 1, 0), min(y + 1, shading.shape[0] - 1)
    left, right = max(x - 1, 0), min(x + 1, shading.shape[1] - 1)
    return 0.5 * (shading[y, right] - shading[y, left]), 0.5 * (shading[down, x] - shading[up, x])


@numba.njit(cache=True, nogil=True)
def _camera(shading, image, lit, level, error, widths, alike_px, fit):
    """Fit an image's unknowns by robust least squares into `fit`; RMS residual, and correlation."""
    rows, columns = shading.shape
    spread, alike = 1.0, 0.0
    term = np.zeros(CAMERA)
    for attempt in range(2):
        moments = np.zeros((CAMERA, CAMERA))
        product = np.zeros(CAMERA)
        power, count = 0.0, 0.0
        for y in range(rows):
            for x in range(columns):
                if lit[y, x] and shading[y, x] > 0:
                    term[0], term[1] = shading[y, x], 1.0
                    term[2], term[3] = _terms(shading, y, x)
                    value = image[y, x]
                    weight = 1.0
                    if attempt:
                        off = value
                        for i in range(CAMERA):
                            off -= fit[i] * term[i]
                        weight = 1.0 / (1.0 + (off / (2 * spread * level + 1e-9)) ** 2)
                    for i in range(CAMERA):
                        for j in range(i + 1):
                            moments[i, j] += weight * term[i] * term[j]
                        product[i] += weight * term[i] * value
                    power += weight * value * value
                    count += weight
        if count < 1:
            fit[0], fit[1], fit[2], fit[3] = 1.0, 0.0, 0.0, 0.0
            return 1.0, 0.0
        start = min(max(product[1] / max(moments[1, 0], 1e-9), 0.05), 20.0)
        # Each unknown in units of its own prior width.
        width = np.array([widths[0] * start, widths[1] * level, widths[2] * start, widths[2] * start])
        scale = 1.0 / (alike_px * (error * level) ** 2)
        matrix = np.zeros((CAMERA, CAMERA))
        right = np.zeros(CAMERA)
        for i in range(CAMERA):
            for j in range(i + 1):
                matrix[i, j] = moments[i, j] * scale * width[i] * width[j]
            matrix[i, i] += 1.0
            right[i] = product[i] * scale * width[i]
        right[0] += start / width[0]
        _solve(matrix, right)
        for i in range(CAMERA):
            fit[i] = right[i] * width[i]
        left = power
        for i in range(CAMERA):
            left -= 2 * fit[i] * product[i]
            for j in range(CAMERA):
                left += fit[i] * fit[j] * (moments[i, j] if j <= i else moments[j, i])
        spread = np.sqrt(max(left, 0.0) / count) / level
        bright = moments[0, 0] - moments[1, 0] ** 2 / count
        other = power - product[1] ** 2 / count
        both = product[0] - moments[1, 0] * product[1] / count
        alike = both / np.sqrt(max(bright * other, 1e-20))
    fit[0] = max(fit[0], 1e-3)
    return spread, alike


@numba.njit(cache=True, nogil=True)
def _accumulate(p, q, sun, shading, image, lit, level, fit, whole, error, floor, robust, darker, sums):
    """Add one image to `sums` (11, P, P): xx, yy, xy, xr, yr, rr, x, y, r, squared misfit, weight."""
    least = (floor * level / fit[0]) ** 2
    for y in range(p.shape[0]):
        for x in range(p.shape[1]):
            bright = shading[y, x]
            if not (lit[y, x] and bright > 0):
                continue
            along, down = _terms(shading, y, x)
            left = (image[y, x] - fit[1] - fit[2] * along - fit[3] * down) / fit[0] - bright
            sigma2 = least + (error * bright) ** 2
            off = left * left / (robust * robust * sigma2)
            if left < 0:
                off *= darker * darker
            weight = whole / (sigma2 * (1 + off) ** 2)
            upright2 = 1 / (1 + p[y, x] ** 2 + q[y, x] ** 2)
            upright = np.sqrt(upright2)
            gx = -sun[0] * upright - bright * upright2 * p[y, x]
            gy = -sun[1] * upright - bright * upright2 * q[y, x]
            sums[0, y, x] += weight * gx * gx
            sums[1, y, x] += weight * gy * gy
            sums[2, y, x] += weight * gx * gy
            sums[3, y, x] += weight * gx * bright
            sums[4, y, x] += weight * gy * bright
            sums[5, y, x] += weight * bright * bright
            sums[6, y, x] += weight * gx * left
            sums[7, y, x] += weight * gy * left
            sums[8, y, x] += weight * bright * left
            sums[9, y, x] += weight * left * left
            sums[10, y, x] += weight


@with_torchs_threads
@numba.njit(cache=True, nogil=True, parallel=True)
def linearise(
    p, q, images, lit, level, suns, error, widths, alike_px, floor, robust, darker, sums, fits, alikes
):
    """Fit exposure, haze and shift of the images of B sets, and linearise their radiance about slopes.

    Parameters
    ----------
    p, q : (B, P, P) slopes to the right and up. images, lit : (B, N, P, P) float32, bool. level : (B, N)
        mean lit radiance. suns : (B, N, 3). error : relative, of the images.
    widths : (3,) standard deviations of exposure, haze and shift. alike_px, floor, robust, darker : see
        `pipeline.models.refinement_images`.
    sums : (B, 11, P, P) float64 zeros, filled; see `_accumulate`. fits : (B, N, 4), filled. alikes : (B,
        N), filled.
    """
    for b in numba.prange(len(images)):
        shading = np.empty(p.shape[1:], np.float32)
        for n in range(images.shape[1]):
            any_lit = False
            for y in range(p.shape[1]):
                for x in range(p.shape[2]):
                    any_lit = any_lit or lit[b, n, y, x]
            fits[b, n, 0] = 1.0
            if not any_lit:
                continue
            _render(p[b], q[b], suns[b, n], shading)
            spread, alikes[b, n] = _camera(
                shading, images[b, n], lit[b, n], level[b, n], error, widths, alike_px, fits[b, n]
            )
            # Images with large residuals get less weight as a whole.
            whole = 1 / (1 + (spread / (3 * error)) ** 2)
            _accumulate(
                p[b], q[b], suns[b, n], shading, images[b, n], lit[b, n], level[b, n], fits[b, n], whole,
                error,
                floor, robust, darker, sums[b],
            )  # fmt: skip


@with_torchs_threads
@numba.njit(cache=True, nogil=True, parallel=True)
def free(p, q, images, seen, suns, fits, out):
    """Images (B, N, P, P) corrected for exposure, haze and shift, 0 where not valid, into `out`."""
    for b in numba.prange(len(images)):
        shading = np.empty(p.shape[1:], np.float32)
        for n in range(images.shape[1]):
            fit = fits[b, n]
            moved = fit[2] != 0 or fit[3] != 0
            if moved:
                _render(p[b], q[b], suns[b, n], shading)
            for y in range(p.shape[1]):
                for x in range(p.shape[2]):
                    value = 0.0
                    if seen[b, n, y, x]:
                        value = images[b, n, y, x] - fit[1]
                        if moved and shading[y, x] > 0:
                            along, down = _terms(shading, y, x)
                            value -= fit[2] * along + fit[3] * down
                        value /= fit[0]
                    out[b, n, y, x] = value


@with_torchs_threads
@numba.njit(cache=True, nogil=True, parallel=True)
def well_lit(images, seen, share, overall_share, lit, level):
    """Pixels that are lit in an image together with their neighbours, and each image's mean lit radiance.

    Parameters
    ----------
    images, seen : (B, N, P, P) radiance, valid pixels. share : fraction of an image's mean lit radiance below
        which a pixel is dark. overall_share : the same for the set's. lit : (B, N, P, P) bool, filled.
    level : (B, N), filled.
    """
    for b in numba.prange(len(images)):
        total, count = 0.0, 0.0
        for n in range(images.shape[1]):
            limit = 0.0
            for _ in range(3):
                bright, pixels = 0.0, 0
                for y in range(images.shape[2]):
                    for x in range(images.shape[3]):
                        if seen[b, n, y, x] and images[b, n, y, x] > limit:
                            bright += images[b, n, y, x]
                            pixels += 1
                level[b, n] = bright / max(pixels, 1)
                limit = share * level[b, n]
            total += bright
            count += pixels
            level[b, n] = max(level[b, n], 1e-6)
        least = overall_share * total / max(count, 1.0)
        for n in range(images.shape[1]):
            limit = max(share * level[b, n], least)
            for y in range(images.shape[2]):
                for x in range(images.shape[3]):
                    good = seen[b, n, y, x] and images[b, n, y, x] > limit
                    if good:
                        # Pixels next to a shadow are in penumbra.
                        for v in range(max(y - 1, 0), min(y + 2, images.shape[2])):
                            for u in range(max(x - 1, 0), min(x + 2, images.shape[3])):
                                if seen[b, n, v, u] and images[b, n, v, u] <= limit:
                                    good = False
                    lit[b, n, y, x] = good
