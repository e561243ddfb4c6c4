"""Local means over the valid pixels, and pictures freed of what varies slowly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Shares of a smoothing kernel below this hold no neighbour that counts.
_NEGLIGIBLE = 1e-3


def smooth(values: Floats, weight: Floats, sigma_px: float) -> Floats:
    """Gaussian mean of weighted pixels: normalised convolution (Knutsson & Westin 1993).

    Parameters
    ----------
    values : ``(H, W)``, finite where `weight` is positive.
    weight : ``(H, W)``, not negative. sigma_px : of the Gaussian, pixels.

    Returns
    -------
    ``(H, W)``, 0 where no weighted pixel is near.
    """
    total = ndimage.gaussian_filter(weight, sigma_px, mode="constant")
    held = np.where(weight > 0, values, 0.0) * weight
    mean = ndimage.gaussian_filter(held, sigma_px, mode="constant")
    return np.divide(mean, total, out=np.zeros_like(mean), where=total > _NEGLIGIBLE)


def normalised(values: Floats, weight: Floats, fine_px: float, coarse_px: float) -> Floats:
    """A picture without its local mean, over its local standard deviation.

    What is left does not depend on exposure, dark level, long-scale albedo, or how a law of reflectance
    bends brightness. The local deviation counts with the picture's typical one added in squares, so what is
    flat, as the inside of shadows, stays flat instead of becoming noise of full strength.

    Parameters
    ----------
    values, weight : as for `smooth`.
    fine_px : sigma of the Gaussian that takes pixel noise out, pixels; 0 for none.
    coarse_px : sigma of the Gaussian of the local mean and deviation, pixels.

    Returns
    -------
    ``(H, W)``, 0 where `weight` is.
    """
    fine = smooth(values, weight, fine_px) if fine_px > 0 else np.where(weight > 0, values, 0.0)
    rough = (fine - smooth(fine, weight, coarse_px)) * (weight > 0)
    variance = smooth(rough**2, weight, coarse_px)
    typical = float(variance[weight > 0].mean()) if np.any(weight > 0) else 0.0
    if not typical > 0:
        return np.zeros_like(rough)
    return np.asarray(rough / np.sqrt(variance + typical), dtype=np.float64)


def weighted_median(values: Floats, weight: Floats) -> float:
    """The value up to which half the weight lies; `values` and `weight` ``(n,)``, weights not negative."""
    order = np.argsort(values, kind="stable")
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
    """A second picture of the same pixels, float64.

    Raises
    ------
    ValueError
        If its shape is another.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, found {found.shape}")
    return found
