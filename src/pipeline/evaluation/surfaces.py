"""Comparison of two surfaces: slope, aspect, roughness, similarity and power by wavelength.

All functions take numpy arrays in metres and work in float64, without libraries whose sums depend on the
number of threads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import correlate1d

Floats = NDArray[np.floating[Any]]

#: Wavelengths of the bands of the power spectrum, pixels: first end included, second excluded.
BANDS = ((2, 4), (4, 8), (8, 16), (16, 32))
#: Their names in columns and numbers.
BAND_NAMES = tuple(f"{low}_{high}" for low, high in BANDS)
# Least range of heights in units of the pixel size: SSIM and PSNR need one that is not zero.
_LEAST_RANGE = 1e-6
_MOST_DB = 120.0
_SIGMA, _RADIUS = 1.5, 5


def horn_gradient(z: Floats, pixel_m: float) -> tuple[Floats, Floats]:
    """Gradient by Horn's stencil (1981), the one of GDAL: central differences weighted 1, 2, 1 across.

    Parameters
    ----------
    z : (..., P, P), metres. pixel_m : pixel size, metres.

    Returns
    -------
    dz/dx along columns and dz/dy along rows, (..., P-2, P-2), dimensionless.
    """
    z = np.asarray(z, float)
    across = z[..., :-2, :] + 2 * z[..., 1:-1, :] + z[..., 2:, :]
    down = z[..., :-2] + 2 * z[..., 1:-1] + z[..., 2:]
    along_x = (across[..., 2:] - across[..., :-2]) / (8 * pixel_m)
    along_y = (down[..., 2:, :] - down[..., :-2, :]) / (8 * pixel_m)
    return along_x, along_y


def slope_and_aspect_error_deg(estimate: Floats, truth: Floats, pixel_m: float) -> tuple[float, float, float]:
    """Errors of slope angle and aspect, by Horn's stencil.

    Parameters
    ----------
    estimate, truth : (P, P), metres. pixel_m : pixel size, metres.

    Returns
    -------
    Mean of ``|atan|grad z'| - atan|grad z||``, degrees; mean angle between the two downhill directions, 0 to
    180 degrees, weighted with the truth's ``|grad z|``, as flat ground has no aspect (90 stands for a flat
    estimate); mean of the truth's ``|grad z|``. The second is 0 where all of the truth is flat.
    """
    (x, y), (true_x, true_y) = horn_gradient(estimate, pixel_m), horn_gradient(truth, pixel_m)
    steep, weight = np.hypot(x, y), np.hypot(true_x, true_y)
    slope = np.abs(np.arctan(steep) - np.arctan(weight)).mean()
    turn = np.abs(np.arctan2(true_x * y - true_y * x, true_x * x + true_y * y))
    turn[steep == 0] = np.pi / 2
    total = weight.sum()
    aspect = (weight * turn).sum() / total if total > 0 else 0.0
    return float(np.degrees(slope)), float(np.degrees(aspect)), float(weight.mean())


def roughness_m(z: Floats) -> float:
    """RMS of each interior pixel's height above the mean of its four neighbours, metres.

    Parameters
    ----------
    z : (P, P), metres.
    """
    z = np.asarray(z, float)
    around = (z[:-2, 1:-1] + z[2:, 1:-1] + z[1:-1, :-2] + z[1:-1, 2:]) / 4
    return float(np.sqrt(np.mean((z[1:-1, 1:-1] - around) ** 2)))


def _blurred(fields: Floats) -> Floats:
    """Gaussian means of (..., P, P) over windows of 11 x 11 pixels (less on small fields) that lie inside."""
    radius = min(_RADIUS, (fields.shape[-1] - 1) // 2)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (-2, -1):
        fields = correlate1d(fields, weights, axis=axis)
    inside = slice(radius, fields.shape[-1] - radius)
    return fields[..., inside, inside]


def data_range_m(truth: Floats, pixel_m: float) -> float:
    """Range of true heights of a patch, metres; at least a millionth of the pixel size.

    Parameters
    ----------
    truth : (P, P), metres. pixel_m : pixel size, metres.
    """
    return max(float(np.ptp(truth)), _LEAST_RANGE * pixel_m)


def ssim(estimate: Floats, truth: Floats, range_m: float) -> float:
    """Structural similarity (Wang et al. 2004) of heights above the truth's lowest point.

    Gaussian window of sigma 1.5 on 11 x 11 pixels, K1 = 0.01, K2 = 0.03, moments with divisor N, mean over
    the pixels whose window lies inside.

    Parameters
    ----------
    estimate, truth : (P, P), metres. range_m : data range L, metres.
    """
    low = np.min(truth)
    x, y = np.asarray(estimate, float) - low, np.asarray(truth, float) - low
    c1, c2 = (0.01 * range_m) ** 2, (0.03 * range_m) ** 2
    mean_x, mean_y, square_x, square_y, product = _blurred(np.stack([x, y, x * x, y * y, x * y]))
    var_x, var_y, cov = square_x - mean_x**2, square_y - mean_y**2, product - mean_x * mean_y
    alike = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    return float((alike / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def psnr_db(mse_m2: float, range_m: float) -> float:
    """Peak signal-to-noise ratio, 10 log10(L^2 / mean squared error), at most 120 dB.

    Parameters
    ----------
    mse_m2 : metres squared. range_m : data range L, metres.
    """
    return min(_MOST_DB, float(10 * np.log10(range_m**2 / max(mse_m2, 1e-300))))


@lru_cache(maxsize=4)
def _window_and_bands(size: int) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Hann window; band of each real-FFT coefficient (`len(BANDS)`: none); their multiplicities."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    band = np.full(frequency.shape, len(BANDS))
    for number, (low, high) in enumerate(BANDS):
        # Wavelengths from `low` on; the last digits of 1 / 4 must not decide.
        band[(frequency * low <= 1 + 1e-9) & (frequency * high > 1 + 1e-9)] = number
    # A real FFT holds one of each pair of conjugates.
    twice = np.full(frequency.shape, 2.0)
    twice[:, 0] = 1.0
    if size % 2 == 0:
        twice[:, -1] = 1.0
    return np.outer(hann, hann), band, twice


def band_powers(z: Floats) -> Floats:
    """Power of heights in the bands of `BANDS`, over all directions, metres squared.

    A least-squares plane is subtracted and a Hann window applied; the powers are those of the windowed field,
    divided by the window's mean square.

    Parameters
    ----------
    z : (P, P), metres.

    Returns
    -------
    (bands,): sums over the coefficients of a band; 0 where a patch is too small to have any.
    """
    z = np.asarray(z, float)
    size = len(z)
    window, band, twice = _window_and_bands(size)
    ramp = np.arange(size) - (size - 1) / 2
    flat = z - z.mean()
    norm = (ramp**2).sum() * size
    across, down = (flat.sum(axis=0) * ramp).sum() / norm, (flat.sum(axis=1) * ramp).sum() / norm
    flat -= across * ramp + (down * ramp)[:, None]
    power = np.abs(fft.rfft2(flat * window, workers=1)) ** 2 * twice
    sums = np.bincount(band.ravel(), power.ravel(), len(BANDS) + 1)[: len(BANDS)]
    return sums / (size**4 * np.mean(window**2))
