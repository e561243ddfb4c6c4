"""Statistics of relief: slope, patch relief and radial power spectrum.

The synthetic terrain is tuned with them, and its tests use them for comparison with real windows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

PERCENTILES = (10, 25, 50, 75, 90, 99)


@dataclass(frozen=True)
class ReliefStatistics:
    """Statistics of one DEM.

    Attributes
    ----------
    mean_slope_deg : mean slope, degrees.
    slope_percentiles_deg : slope at the percentiles 10, 25, 50, 75, 90 and 99, degrees.
    patch_std_m : root mean square over patches of the standard deviation inside a patch, metres.
    spectral_slope : exponent of the radial power spectral density, P ~ k^slope.
    spectral_level : log10 of the fitted density (m^4) at a wavelength of 1 km.
    """

    mean_slope_deg: float
    slope_percentiles_deg: tuple[float, ...]
    patch_std_m: float
    spectral_slope: float
    spectral_level: float

    def as_dict(self) -> dict[str, float | tuple[float, ...]]:
        """Return the statistics as a plain dictionary."""
        return asdict(self)


def slope_degrees(dem: NDArray[np.floating], pixel_m: float) -> NDArray[np.float64]:
    """Slope from central differences, one-sided at the edges.

    Parameters
    ----------
    dem : array (y, x)
        Heights, metres.
    pixel_m : float
        Pixel size, metres.

    Returns
    -------
    array (y, x)
        Slope, degrees.
    """
    rise_y, rise_x = np.gradient(np.asarray(dem, dtype=np.float64), pixel_m)
    return np.degrees(np.arctan(np.hypot(rise_x, rise_y)))


def radial_spectrum(
    dem: NDArray[np.floating], pixel_m: float, bins: int = 28
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radially averaged two-dimensional power spectral density.

    A plane is removed and a Hann window applied first, so that a regional tilt and the jump between
    opposite edges do not leak into the short wavelengths.

    Parameters
    ----------
    dem : array (y, x)
        Heights, metres, no gaps.
    pixel_m : float
        Pixel size, metres.
    bins : int
        Logarithmic rings between the longest wavelength and two pixels; empty ones are left out.

    Returns
    -------
    wavenumber : array (ring,)
        Geometric mean of the ring, cycles per metre.
    density : array (ring,)
        Mean power spectral density, m^4 (height squared per squared wavenumber).
    """
    height = np.asarray(dem, dtype=np.float64)
    rows, columns = height.shape
    y, x = np.mgrid[0:rows, 0:columns]
    plane = np.stack([np.ones(height.size), x.ravel(), y.ravel()], axis=1)
    coefficients = np.linalg.lstsq(plane, height.ravel(), rcond=None)[0]
    height = height - (plane @ coefficients).reshape(height.shape)
    window = np.outer(np.hanning(rows), np.hanning(columns))
    power = np.abs(scipy.fft.rfft2(height * window, workers=1)) ** 2
    power *= pixel_m**2 / (window**2).sum()
    frequency = np.hypot(
        scipy.fft.fftfreq(rows, pixel_m)[:, None], scipy.fft.rfftfreq(columns, pixel_m)[None, :]
    )
    lowest = 1.0 / (min(rows, columns) * pixel_m)
    edges = np.geomspace(lowest, 0.5 / pixel_m, bins + 1)
    ring = np.digitize(frequency.ravel(), edges) - 1
    inside = (ring >= 0) & (ring < bins)
    number = np.bincount(ring[inside], minlength=bins)
    total = np.bincount(ring[inside], weights=power.ravel()[inside], minlength=bins)
    filled = number > 0
    return np.sqrt(edges[:-1] * edges[1:])[filled], total[filled] / number[filled]


def fit_power_law(
    wavenumber: NDArray[np.float64],
    density: NDArray[np.float64],
    wavelengths_m: tuple[float, float] = (240.0, 6000.0),
) -> tuple[float, float]:
    """Least-squares line through log density over log wavenumber.

    Parameters
    ----------
    wavenumber, density : array (ring,)
        As `radial_spectrum` returns them.
    wavelengths_m : pair of float
        Shortest and longest wavelength fitted, metres.

    Returns
    -------
    slope : float
        Exponent of the power law.
    level : float
        log10 of the fitted density at a wavelength of 1 km.

    Raises
    ------
    ValueError
        Fewer than three rings lie in the fitted band.
    """
    band = (wavenumber >= 1 / wavelengths_m[1]) & (wavenumber <= 1 / wavelengths_m[0])
    if band.sum() < 3:
        raise ValueError(f"wavelengths_m: expected at least 3 spectral rings inside, found {band.sum()}")
    slope, level = np.polyfit(np.log10(wavenumber[band] * 1000.0), np.log10(density[band]), 1)
    return float(slope), float(level)


def relief_statistics(dem: NDArray[np.floating], pixel_m: float, patch_px: int = 96) -> ReliefStatistics:
    """Slope, patch relief and spectrum of a DEM without gaps.

    Parameters
    ----------
    dem : array (y, x)
        Heights, metres.
    pixel_m : float
        Pixel size, metres.
    patch_px : int
        Side of the patches whose standard deviation is taken, pixels.
    """
    slope = slope_degrees(dem, pixel_m)
    rows, columns = dem.shape[0] // patch_px, dem.shape[1] // patch_px
    patches = np.asarray(dem[: rows * patch_px, : columns * patch_px], dtype=np.float64)
    patches = patches.reshape(rows, patch_px, columns, patch_px)
    exponent, level = fit_power_law(*radial_spectrum(dem, pixel_m))
    return ReliefStatistics(
        mean_slope_deg=float(slope.mean()),
        slope_percentiles_deg=tuple(float(v) for v in np.percentile(slope, PERCENTILES)),
        patch_std_m=float(np.sqrt(patches.var(axis=(1, 3)).mean())),
        spectral_slope=exponent,
        spectral_level=level,
    )
