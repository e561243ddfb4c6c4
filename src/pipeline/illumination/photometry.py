"""Radiance of a DEM under a set of Suns: cheap, batched, and computed whenever an image is read.

Every law looks straight down (emission angle e = the surface's slope) and gives the radiance factor
``pi * albedo * f``; f is the law's function of the incidence angle i, of e and of the phase angle g, the
Sun's distance from the zenith.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.config.light import PhotometrySection


def surface_gradients(dem: Tensor, pixel_m: float | Tensor) -> tuple[Tensor, Tensor]:
    """Slopes dz/dx (to map-right) and dz/dy (to map-up): central differences, one-sided at the edges.

    Parameters
    ----------
    dem : ``(..., Y, X)`` elevations, m; at least 2 x 2 pixels.
    pixel_m : pixel size, m; a number, or a tensor ``(...)`` with one a DEM.

    Returns
    -------
    Two tensors ``(..., Y, X)``, m per m.
    """
    if isinstance(pixel_m, Tensor):
        pixel_m = pixel_m.to(dem)[..., None, None]
    down, right = torch.gradient(dem, dim=(-2, -1))
    return right / pixel_m, -down / pixel_m


def radiance(
    dem: Tensor,
    pixel_m: float | Tensor,
    sun: Tensor,
    lit: Tensor | None,
    section: PhotometrySection,
) -> Tensor:
    """Radiance of every pixel under every Sun.

    Laws: ``exponential``, the published one, f = mu0 exp(-0.013 g + 0.965 (mu0 - mu)) with g in the unit of
    `section.phase_unit` (Repasky et al. 2026); ``lambert``, f = mu0; ``lunar_lambert``,
    f = 2 L mu0 / (mu0 + mu) + (1 - L) mu0 with L = 1 - 0.019 g + 0.000242 g^2 - 0.00000146 g^3, g in degrees
    (McEwen 1996). mu0 = max(0, cos i), mu = cos e.

    Parameters
    ----------
    dem : ``(..., Y, X)`` elevations, m, floating point, without NaN. Where a halo is at hand, pass it too and
        crop the result: the gradients of the patch's border are then central.
    pixel_m : pixel size, m; a number, or a tensor ``(...)``.
    sun : ``(..., N, 3)`` unit vectors towards the Sun in the map frame.
    lit : ``(..., N, Y, X)`` bool, or the visible share of the Sun; None where nothing casts a shadow.
    section : law and albedo.

    Returns
    -------
    ``(..., N, Y, X)`` in the type of `dem`. At most three such tensors are alive at a time.
    """
    slope_x, slope_y = surface_gradients(dem, pixel_m)
    # The unit normal is (-dz/dx, -dz/dy, 1) / length; its last part is the cosine of the emission angle.
    emission = torch.rsqrt(1 + slope_x**2 + slope_y**2)
    sun = sun.to(dem)
    east, north, up = (part[..., None, None] for part in sun.unbind(-1))
    mu = emission[..., None, :, :]
    # Products and sums of elements: exact in single precision whatever a GPU does inside matrix products.
    incidence = torch.addcmul(up * mu, east, (-slope_x * emission)[..., None, :, :])
    incidence = torch.addcmul(incidence, north, (-slope_y * emission)[..., None, :, :]).clamp(min=0)
    phase = torch.acos(sun[..., 2].clamp(-1, 1))[..., None, None]

    if section.law == "exponential":
        unit = 1.0 if section.phase_unit == "radians" else 180.0 / math.pi
        value = incidence * torch.exp(0.965 * incidence)
        value = value * torch.exp(-0.965 * mu) * torch.exp(-0.013 * unit * phase)
    elif section.law == "lambert":
        value = incidence
    else:
        g = torch.rad2deg(phase)
        limb = 1 - 0.019 * g + 0.000242 * g**2 - 0.00000146 * g**3
        value = incidence * (2 * limb / (incidence + mu) + (1 - limb))
    value = value * (math.pi * section.albedo)
    return value if lit is None else value * lit
