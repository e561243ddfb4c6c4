"""What a sample set's images say about the slopes of a DEM: normal equations of one Gauss-Newton step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models import refinement_kernels as kernels
from pipeline.models.batch import Batch
from pipeline.models.refinement_slopes import slopes_of

#: Error of an image whatever its brightness, over its mean lit radiance.
FLOOR = 0.02
#: Residuals of so many errors have a quarter of their weight; those of dark pixels count `DARKER` times.
ROBUST, DARKER = 3.0, 3.0
#: Standard deviations of what is fitted to each image: exposure, haze over the mean lit radiance, shift (px).
EXPOSURE, HAZE, SHIFT = 0.5, 0.02, 0.4
#: Standard deviation of a pixel's albedo.
ALBEDO = 0.4
#: Pixels whose residuals are alike: a fit to n pixels knows as much as n over this.
ALIKE_PX = 20.0
#: What is darker than this share of an image's mean lit radiance is not lit, neither what is beside it.
LIT = 0.25
#: The same of the set's mean lit radiance.
LIT_OVERALL = 0.05


@dataclass(frozen=True)
class Light:
    """Images on the host, as the compiled loops take them.

    (B, N, P, P) radiance, where it is seen and where well lit; (B, N) mean lit radiance; (B, N, 3) Suns.
    """

    images: NDArray[np.float32]
    seen: NDArray[np.bool_]
    lit: NDArray[np.bool_]
    level: NDArray[np.float64]
    suns: NDArray[np.float32]


def light_of(inputs: Batch) -> Light:
    """Which pixels an image lights: by itself, and by what is expected."""
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
    xx, yy, xy : (B, P, P) information on the slopes. x, y : (B, P, P) its product with the slopes that fit.
    albedo, misfit : (B, P, P).
    """

    xx: Tensor
    yy: Tensor
    xy: Tensor
    x: Tensor
    y: Tensor
    albedo: Tensor
    misfit: Tensor


def linearised(height: Tensor, light: Light, error: float) -> tuple[Normal, NDArray[np.float64], Tensor]:
    """Fit the cameras and linearise the radiance about a DEM.

    Parameters
    ----------
    height : (B, P, P) pixels. light : of the images. error : of the images, relative.

    Returns
    -------
    The normal equations; (B, N, 4) the cameras; and (B, N) the correlation of each image with its rendering.
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
