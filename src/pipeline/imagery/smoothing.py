"""Local normalisation of images: local means over the valid pixels, and high-pass filtered pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Smoothed weights below this mean that no valid pixel is near.
_NEGLIGIBLE = 1e-3


class Normaliser:
    """Local normalisation of pictures with the same weights, which are smoothed only once.

    A picture minus its local mean, divided by its local standard deviation, does not depend on exposure, dark
    level, large-scale albedo, or the non-linearity of the reflectance law. The picture's mean variance is
    added to the local one, so that flat areas such as the inside of shadows stay flat instead of becoming
    noise of full strength.

    Local means are Gaussian means of weighted pixels: normalised convolution (Knutsson & Westin 1993).

    Parameters
    ----------
    weight : ``(H, W)``, not negative.
    fine_px : sigma of the Gaussian that filters pixel noise, pixels; 0 for none.
    coarse_px : sigma of the Gaussian of the local mean and deviation, pixels.
    """

    def __init__(self, weight: Floats, fine_px: float, coarse_px: float) -> None:
        self._weight, self._inside = weight, weight > 0
        self._fine_px, self._coarse_px = fine_px, coarse_px
        self._fine = _gaussian(weight, fine_px) if fine_px > 0 else weight
        self._coarse = _gaussian(weight, coarse_px)

    def __call__(self, values: Floats) -> Floats:
        """The locally normalised picture, ``(H, W)``; 0 where the weight is 0.

        Parameters
        ----------
        values : ``(H, W)``, finite where the weight is positive.
        """
        fine = np.where(self._inside, values, 0.0)
        if self._fine_px > 0:
            fine = self._mean(fine, self._fine_px, self._fine)
        rough = (fine - self._mean(fine, self._coarse_px, self._coarse)) * self._inside
        variance = self._mean(rough**2, self._coarse_px, self._coarse)
        typical = float(variance[self._inside].mean()) if self._inside.any() else 0.0
        if not typical > 0:
            return np.zeros_like(rough)
        return np.asarray(rough / np.sqrt(variance + typical), dtype=np.float64)

    def _mean(self, values: Floats, sigma_px: float, total: Floats) -> Floats:
        """Weighted local mean, 0 where no weighted pixel is near; `total` is the smoothed weight."""
        mean = _gaussian(values * self._weight, sigma_px)
        return np.divide(mean, total, out=np.zeros_like(mean), where=total > _NEGLIGIBLE)


def normalised(values: Floats, weight: Floats, fine_px: float, coarse_px: float) -> Floats:
    """One locally normalised picture; see `Normaliser`."""
    return Normaliser(weight, fine_px, coarse_px)(values)


def _gaussian(values: Floats, sigma_px: float) -> Floats:
    return np.asarray(ndimage.gaussian_filter(values, sigma_px, mode="constant"))


def weighted_median(values: Floats, weight: Floats) -> float:
    """Weighted median; `values` and `weight` ``(n,)``, weights not negative."""
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][min(int(np.searchsorted(total, total[-1] / 2)), len(values) - 1)])


def picture(values: ArrayLike, valid: ArrayLike, name: str = "values") -> tuple[Floats, Mask]:
    """An image and its mask as float64 and bool; pixels that are not finite are not valid, and are set to 0.

    Raises
    ------
    ValueError
        If the image is not two-dimensional, or the mask is not of its shape.
    """
    found, mask = np.asarray(values, dtype=np.float64), np.asarray(valid, dtype=bool)
    if found.ndim != 2:
        raise ValueError(f"{name}: expected two dimensions, found shape {found.shape}")
    if mask.shape != found.shape:
        raise ValueError(f"valid: expected shape {found.shape}, found {mask.shape}")
    mask = mask & np.isfinite(found)
    return np.where(mask, found, 0.0), mask


def like(values: ArrayLike, shape: tuple[int, ...], name: str) -> Floats:
    """An array as float64, after a check that its shape is `shape`.

    Raises
    ------
    ValueError
        If it has another shape.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, found {found.shape}")
    return found
