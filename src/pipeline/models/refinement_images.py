"""Information of a sample set's images on the slopes of a DEM: normal equations of one Gauss-Newton step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models import refinement_kernels as kernels
from pipeline.models.batch import Batch
from pipeline.models.refinement_slopes import slopes_of

#: Error of an image that does not depend on its brightness, over its mean lit radiance.
FLOOR = 0.02
#: Residuals of `ROBUST` errors get a quarter of the weight; negative residuals count `DARKER` times in this.
ROBUST, DARKER = 3.0, 3.0
#: A priori standard deviations per image: exposure (relative), haze over the mean lit radiance, shift (px).
EXPOSURE, HAZE, SHIFT = 0.5, 0.02, 0.4
#: A priori standard deviation of a pixel's relative albedo.
ALBEDO = 0.4
#: Number of pixels with correlated residuals: a fit to n pixels has n / `ALIKE_PX` independent ones.
ALIKE_PX = 20.0
#: Pixels below this fraction of an image's mean lit radiance are unlit, and their neighbours are left out.
LIT = 0.25
#: The same fraction for the set's mean lit radiance.
LIT_OVERALL = 0.05


@dataclass(frozen=True)
class Light:
    """Images on the host, as the compiled loops take them.

    Attributes
    ----------
    images : (B, N, P, P) radiance. seen : (B, N, P, P) valid pixels. lit : (B, N, P, P) well lit pixels.
    level : (B, N) mean lit radiance. suns : (B, N, 3) unit vectors to the Sun.
    """

    images: NDArray[np.float32]
    seen: NDArray[np.bool_]
    lit: NDArray[np.bool_]
    level: NDArray[np.float64]
    suns: NDArray[np.float32]


def light_of(inputs: Batch) -> Light:
    """Images of a batch, with the pixels that are lit both in the image and by expectation."""
    images = inputs.images.detach().float().cpu().contiguous().numpy()
    seen = (inputs.valid & inputs.present[..., None, None]).cpu().contiguous().numpy()
    lit, level = np.zeros(images.shape, np.bool_), np.zeros(images.shape[:2])
    kernels.well_lit(images, seen, LIT, LIT_OVERALL, lit, level)
    if inputs.expected is not None:
        lit &= inputs.expected.cpu().numpy()
    return Light(images, seen, lit, level, inputs.sun.float().cpu().contiguous().numpy())


@dataclass(frozen=True)
class Normal:
    """The images' part of the quadratic problem of one step.

    Attributes
    ----------
    xx, yy, xy : (B, P, P) information on the slopes. x, y : (B, P, P) its product with the best-fit slopes.
    albedo, misfit : (B, P, P) relative deviation of the albedo; relative RMS residual.
    """

    xx: Tensor
    yy: Tensor
    xy: Tensor
    x: Tensor
    y: Tensor
    albedo: Tensor
    misfit: Tensor


def linearised(height: Tensor, light: Light, error: float) -> tuple[Normal, NDArray[np.float64], Tensor]:
    """Fit exposure, haze and shift of each image, and linearise the radiance about a DEM.

    Parameters
    ----------
    height : (B, P, P) pixels. light : of the images. error : of the images, relative.

    Returns
    -------
    The normal equations; (B, N, 4) exposure, haze and shift along columns and rows; and (B, N) the
    correlation of each image with its rendering.
    """
    p, q = slopes_of(height)
    host = [slope.cpu().contiguous().numpy() for slope in (p, q)]
    count, images = light.images.shape[:2]
    sums = np.zeros((count, 11, *height.shape[1:]))
    fits, alike = np.zeros((count, images, kernels.CAMERA)), np.zeros((count, images))
    widths = np.array([EXPOSURE, HAZE, SHIFT])
    kernels.linearise(  # type: ignore[call-arg]
        *host, light.images, light.lit, light.level, light.suns, error, widths, ALIKE_PX, FLOOR, ROBUST,
        DARKER,
        sums, fits, alike,
    )  # fmt: skip
    xx, yy, xy, xr, yr, rr, x, y, r, misfit, _ = torch.from_numpy(sums).to(height).unbind(1)
    # The albedo of a pixel is eliminated.
    free = rr + 1 / ALBEDO**2
    xx, yy, xy = xx - xr * xr / free, yy - yr * yr / free, xy - xr * yr / free
    x, y = x - xr * r / free, y - yr * r / free
    relative = (misfit / rr.clamp_min(1e-6)).sqrt()
    normal = Normal(xx, yy, xy, x + xx * p + xy * q, y + xy * p + yy * q, r / free, relative)
    return normal, fits, torch.from_numpy(alike).to(height)
