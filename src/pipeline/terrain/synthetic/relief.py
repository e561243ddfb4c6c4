"""Self-affine relief by spectral synthesis, with a known structure function.

Lunar highlands are self-affine over many octaves (Rosenburg et al. 2011, JGR 116, E02001: Hurst exponent
about 0.95 in the highlands). Their power spectrum is ``P(k) ~ k^-(2H+2)``; here it may be damped at short
wavelengths, like old relief that was smoothed by 3.9 Gyr of small impacts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.special
from numpy.typing import NDArray

# Wavelength above which the spectrum is constant: the polar highlands are stationary beyond it.
OUTER_SCALE_M = 60_000.0


@dataclass(frozen=True)
class SelfAffine:
    """Isotropic Gaussian relief.

    Attributes
    ----------
    hurst : Hurst exponent, in (0, 1).
    rms_m : RMS height difference over `lag_m`, metres.
    lag_m : distance at which `rms_m` holds, metres.
    smoothing_m : the power at a wavelength w is multiplied by exp(-smoothing_m / w).
    """

    hurst: float
    rms_m: float
    lag_m: float
    smoothing_m: float = 0.0

    def density(self, wavenumber: NDArray[np.float64]) -> NDArray[np.float64]:
        """Two-dimensional power spectral density at a wavenumber in cycles per metre, m^4.

        The amplitude solves ``rms_m^2 = int 2 (1 - J0(2 pi k lag)) P(k) 2 pi k dk`` (the structure function
        of an isotropic field), integrated in log k from the outer scale to far below a pixel.
        """
        return self._amplitude() * self._shape(wavenumber)

    def _amplitude(self) -> float:
        grid = np.geomspace(1.0 / OUTER_SCALE_M, 1.0 / (0.02 * self.lag_m), 20_000)
        integrand = 2.0 * (1.0 - scipy.special.j0(2 * np.pi * grid * self.lag_m)) * self._shape(grid)
        return self.rms_m**2 / float(np.trapezoid(integrand * 2 * np.pi * grid**2, np.log(grid)))

    def _shape(self, wavenumber: NDArray[np.float64]) -> NDArray[np.float64]:
        k = np.maximum(wavenumber, 1.0 / OUTER_SCALE_M)
        return (k * self.lag_m) ** (-2.0 * self.hurst - 2.0) * np.exp(-k * self.smoothing_m)

    def draw(self, size_px: int, pixel_m: float, generator: np.random.Generator) -> NDArray[np.float64]:
        """Draw a square realisation.

        It is cut from a grid 1.5 times as wide, so that it is not periodic, and a plane is added with the
        mean square tilt of the waves that are too long for that grid.

        Parameters
        ----------
        size_px : int
            Side, pixels.
        pixel_m : float
            Pixel size, metres.
        generator : numpy.random.Generator
            Source of all randomness.

        Returns
        -------
        array (size_px, size_px)
            Heights, metres.
        """
        grid = scipy.fft.next_fast_len(int(np.ceil(1.5 * size_px)), real=True)
        side = grid * pixel_m
        frequency_y = scipy.fft.fftfreq(grid, pixel_m)
        frequency_x = scipy.fft.rfftfreq(grid, pixel_m)
        spectrum = scipy.fft.rfft2(generator.standard_normal((grid, grid)), workers=1, overwrite_x=True)
        # Row by row: the filter would otherwise need two more arrays as large as the spectrum.
        for row, ky in enumerate(frequency_y):
            spectrum[row] *= np.sqrt(self._shape(np.hypot(ky, frequency_x)))
        spectrum[0, 0] = 0.0
        relief = scipy.fft.irfft2(spectrum, s=(grid, grid), workers=1, overwrite_x=True)
        # White noise of unit variance has the density pixel_m^2.
        relief = relief[:size_px, :size_px] * (np.sqrt(self._amplitude()) / pixel_m)
        tilt = generator.standard_normal(2) * np.sqrt(self._tilt_variance(side))
        offset = (np.arange(size_px) - (size_px - 1) / 2) * pixel_m
        relief += tilt[0] * offset[:, None] + tilt[1] * offset[None, :]
        return relief

    def _tilt_variance(self, side_m: float) -> float:
        """Variance of the slope along one axis due to waves longer than `side_m`."""
        if side_m >= OUTER_SCALE_M:
            return 0.0
        grid = np.geomspace(1.0 / OUTER_SCALE_M, 1.0 / side_m, 2_000)
        integrand = 0.5 * (2 * np.pi * grid) ** 2 * self.density(grid) * 2 * np.pi * grid**2
        return float(np.trapezoid(integrand, np.log(grid)))
