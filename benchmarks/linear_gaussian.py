"""Linear-Gaussian estimator of terrain from images, altimetry spots and exact block means.

Heights are in units of a pixel on a square window of N = size² pixels, row by row. The terrain is a Gaussian
field that is self-affine up to an outer scale (Matérn covariance), the radiance is linear in its slopes, and
the unknowns of the images (albedo of a pixel; exposure, haze and shift of an image) are Gaussian and
eliminated. All matrices are dense: 64² pixels take 0.3 GB and seconds, 96² pixels 2 GB and half a minute per
posterior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import gamma, kv

Floats = NDArray[np.float64]

#: Outer scale of the terrain, pixels: much larger than a window, so that its mean and tilt are free.
OUTER_PX = 400.0
#: Number of unknowns of an image: exposure, haze, shift to the right and down.
CAMERA = 4
#: Lags of the terrain's structure function, pixels.
LAGS = (1, 2, 4, 8, 16)
_HURSTS = np.round(np.arange(0.5, 1.6, 0.05), 2)


@dataclass(frozen=True)
class Cameras:
    """Prior standard deviations of the unknowns of images, and errors of the radiance.

    Attributes
    ----------
    exposure, albedo : relative, of an image and of a pixel. haze, noise : over the median lit radiance of the
        image. shift_px : along each axis. model : relative error of the radiance of each pixel and image.
    """

    exposure: float = 0.05
    haze: float = 0.01
    shift_px: float = 0.3
    albedo: float = 0.1
    noise: float = 1 / 60
    model: float = 0.0


@dataclass(frozen=True)
class Light:
    """K images, linear in the slopes of a window.

    Attributes
    ----------
    radiance : (K, N) of albedo 1. right, up : (K, N) its derivatives by the slopes. weight : (K, N) inverse
        variance of noise and model error, 0 where the pixel is not well lit. cameras : (K, 4, N) changes of
        the radiance by one standard deviation of exposure, haze and shifts. albedo : standard deviation.
    """

    radiance: Floats
    right: Floats
    up: Floats
    weight: Floats
    cameras: Floats
    albedo: float


def correlation(away_px: Floats, hurst: float) -> Floats:
    """Matérn's correlation at distances above 0."""
    scaled = away_px / OUTER_PX
    return np.asarray(2 ** (1 - hurst) / gamma(hurst) * scaled**hurst * kv(hurst, scaled))


def covariance(size: int, hurst: float) -> Floats:
    """(N, N) covariance of relief whose neighbouring pixels differ by 1 in the root mean square."""
    steps = np.arange(size)
    away = np.hypot(steps[:, None], steps)
    away[0, 0] = 1.0
    table = correlation(away, hurst)
    table[0, 0] = 1.0
    table /= 2 * (1 - table[0, 1])
    across = table[:, np.abs(steps[:, None] - steps)]
    out = np.empty((size, size, size, size))
    for i in range(size):
        for j in range(size):
            out[i, :, j, :] = across[abs(i - j)]
    return out.reshape(size * size, size * size)


def precision(size: int, hurst: float) -> Floats:
    """The inverse of `covariance`, (N, N)."""
    root = scipy.linalg.cholesky(covariance(size, hurst), lower=True, overwrite_a=True, check_finite=False)
    inverse, failed = scipy.linalg.lapack.dpotri(root, lower=1, overwrite_c=1)
    if failed:
        raise np.linalg.LinAlgError(f"covariance of {size}² pixels, Hurst exponent {hurst}: not invertible")
    return np.asarray(np.tril(inverse) + np.tril(inverse, -1).T)


def _second(heights: Floats, lag: int) -> float:
    """Mean square of second differences over a lag, along both axes; no tilt enters it."""
    down = heights[2 * lag :] - 2 * heights[lag:-lag] + heights[: -2 * lag]
    along = heights[:, 2 * lag :] - 2 * heights[:, lag:-lag] + heights[:, : -2 * lag]
    return float(0.5 * (np.mean(down**2) + np.mean(along**2)))


def _ratios(heights: Floats, hurst: float) -> Floats:
    """Logarithms of measured over expected mean squares of second differences, at slope 1."""
    lags = [lag for lag in LAGS if 4 * lag <= heights.shape[0]]
    one, near, far = (
        correlation(np.array(k, np.float64), hurst) for k in ([1.0], lags, [2 * k for k in lags])
    )
    expected = (4 * (1 - near) - (1 - far)) / (1 - one)
    return np.asarray(np.log([_second(heights, lag) for lag in lags] / expected))


def slope_of(heights: Floats, hurst: float) -> float:
    """Root mean square difference of neighbouring pixels of the field with the roughness of given heights."""
    return float(np.exp(0.5 * _ratios(heights, hurst).mean()))


def fit_hurst(heights: Floats) -> float:
    """The Hurst exponent that best fits second differences over all lags."""
    return float(min(_HURSTS, key=lambda hurst: _ratios(heights, hurst).std()))


def differences(size: int) -> sparse.csr_array:
    """First differences of fourth order along an axis, of lower order at its ends, as in the refinement."""
    rows = np.zeros((size, size))
    for i in range(size):
        if 1 < i < size - 2:
            rows[i, i - 2 : i + 3] = np.array([1, -8, 0, 8, -1]) / 12
        else:
            low, high = max(i - 1, 0), min(i + 1, size - 1)
            rows[i, low], rows[i, high] = -1 / (high - low), 1 / (high - low)
    return sparse.csr_array(rows)


def slopes(size: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """(N, N) operators from heights to slopes to the right and up."""
    one, every = differences(size), sparse.eye_array(size)
    return sparse.kron(every, one, "csr"), -sparse.kron(one, every, "csr")


def linearised(heights: Floats, suns: Floats, lit: NDArray[np.bool_], cameras: Cameras) -> Light:
    """Lambert's law, linearised about a terrain.

    Parameters
    ----------
    heights : (size, size) pixels. suns : (K, 3) unit vectors (right, up, zenith).
    lit : (K, size, size) pixels that are used; unlit ones by the law have no weight.
    """
    z = heights.ravel() - heights.mean()
    p, q = (operator @ z for operator in slopes(heights.shape[0]))
    upright = 1 / np.sqrt(1 + p * p + q * q)
    x, y, up = (suns[:, i, None] for i in range(3))
    radiance = (up - x * p - y * q) * upright
    good = lit.reshape(radiance.shape) & (radiance > 0)
    level = np.array([np.median(r[g]) if g.any() else 1.0 for r, g in zip(radiance, good, strict=True)])
    variance = (cameras.noise * level[:, None]) ** 2 + (cameras.model * radiance) ** 2
    down, right = np.gradient(radiance.reshape(lit.shape), axis=(1, 2))
    changes = [
        cameras.exposure * radiance, np.broadcast_to(cameras.haze * level[:, None], radiance.shape),
        cameras.shift_px * right.reshape(radiance.shape), cameras.shift_px * down.reshape(radiance.shape),
    ]  # fmt: skip
    return Light(
        radiance, -x * upright - radiance * upright**2 * p, -y * upright - radiance * upright**2 * q,
        good / variance, np.stack(changes, axis=1), cameras.albedo,
    )  # fmt: skip


def information(light: Light) -> Floats:
    """(N, N) information of images on heights, with albedos, exposures, hazes and shifts eliminated."""
    right, up = slopes(int(np.sqrt(light.radiance.shape[1])))
    weighted = light.weight * light.radiance
    # A pixel's albedo couples all images of it; then the cameras couple all pixels.
    free = (weighted * light.radiance).sum(axis=0) + light.albedo**-2
    along = [(weighted * slope).sum(axis=0) for slope in (light.right, light.up)]

    def together(one: Floats, other: Floats, i: int, j: int) -> sparse.dia_array:
        return sparse.diags_array((light.weight * one * other).sum(axis=0) - along[i] * along[j] / free)

    mixed = right.T @ together(light.right, light.up, 0, 1) @ up
    out = right.T @ together(light.right, light.right, 0, 0) @ right + mixed + mixed.T
    out = (out + up.T @ together(light.up, light.up, 1, 1) @ up).toarray()
    images, pixels = light.radiance.shape
    unknowns = images * CAMERA
    bright = (weighted[:, None] * light.cameras).reshape(unknowns, pixels)
    own = np.einsum("kn,kin,kjn->kij", light.weight, light.cameras, light.cameras)
    inner = np.eye(unknowns) + scipy.linalg.block_diag(*own) - (bright / free) @ bright.T
    outer = np.zeros((unknowns, pixels))
    for slope, total, operator in zip((light.right, light.up), along, (right, up), strict=True):
        cross = ((light.weight * slope)[:, None] * light.cameras).reshape(unknowns, pixels)
        outer += (cross - bright * total / free) @ operator
    root = scipy.linalg.cholesky(inner, lower=True)
    lost = scipy.linalg.solve_triangular(root, outer, lower=True)
    out -= lost.T @ lost
    return np.asarray(out)


def block_means(size: int, factor: int) -> Floats:
    """(cells, N) operator from heights to the means of square cells."""
    one = np.kron(np.eye(size // factor), np.full(factor, 1 / factor))
    return np.asarray(np.kron(one, one))


class Posterior:
    """Gaussian posterior of heights, by Cholesky decomposition.

    Parameters
    ----------
    matrix : (N, N) precision, overwritten. cells : (cells, N) linear functions of the heights that are known
        exactly, or None.
    """

    def __init__(self, matrix: Floats, cells: Floats | None = None) -> None:
        self._cells = cells
        if cells is not None:
            # Given the cells, a term in them changes nothing; it makes the matrix well conditioned.
            matrix += (matrix.trace() / np.sum(cells**2)) * (cells.T @ cells)
        # The transpose of a symmetric matrix in C order is the same matrix in LAPACK's order, without a copy.
        root = scipy.linalg.cholesky(matrix.T, lower=True, overwrite_a=True, check_finite=False)
        self._inverse, failed = scipy.linalg.lapack.dtrtri(root, lower=1, overwrite_c=1)
        if failed:
            raise np.linalg.LinAlgError(f"precision of {len(matrix)} heights: expected one that is positive")
        if cells is not None:
            half = self._inverse @ cells.T
            self._cross = self._inverse.T @ half
            self._between = scipy.linalg.cho_factor(half.T @ half, lower=True)

    def variance(self) -> Floats:
        """(N,) posterior variance of the heights."""
        out = np.einsum("ij,ij->j", self._inverse, self._inverse)
        if self._cells is not None:
            out -= np.sum(self._cross.T * scipy.linalg.cho_solve(self._between, self._cross.T), axis=0)
        return np.asarray(out)

    def mean(self, data: Floats, known: Floats | None = None) -> Floats:
        """(N,) posterior mean of the heights.

        Parameters
        ----------
        data : (N,) precision of the data times their values. known : (cells,) values.
        """
        out = self._inverse.T @ (self._inverse @ data)
        if self._cells is not None:
            off = known - self._cells @ out
            out = out + self._cross @ scipy.linalg.cho_solve(self._between, off)
        return np.asarray(out)
