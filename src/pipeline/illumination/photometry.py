"""Radiance of a DEM under a set of Suns: cheap, batched, and computed whenever an image is read.

Every law gives the radiance factor pi r, with r the bidirectional reflectance (radiance over the irradiance
of a surface that faces the Sun). r is a function of the incidence angle i, the emission angle e and the phase
angle g between Sun and viewer. Unless a viewer is given, it is overhead: e is the surface's slope and g the
Sun's distance from the zenith.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.config.photometry import HapkeSection, PhotometrySection


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


def hapke_reflectance(mu0: Tensor, mu: Tensor, phase: Tensor, section: HapkeSection) -> Tensor:
    """Hapke's law of a smooth surface, without its factor w / (4 pi).

    r = w / (4 pi) mu0 / (mu0 + mu) [(1 + B(g)) p(g) + H(mu0) H(mu) - 1] (Hapke 1981, 2012) with
    B(g) = B0 / (1 + tan(g / 2) / h), H(x) = (1 + 2 x) / (1 + 2 x sqrt(1 - w)) and the double
    Henyey-Greenstein function p(g) = (1 + c) / 2 l(b) + (1 - c) / 2 l(-b), where
    l(b) = (1 - b^2) / (1 - 2 b cos g + b^2)^1.5. With b > 0, l(b) is the backward lobe, and c = 1 or -1 is
    the single function. Hapke's macroscopic roughness (1984) is left out: the surface is as smooth as the
    DEM.

    Parameters
    ----------
    mu0, mu : cosines of incidence and emission, mu0 >= 0, mu > 0. phase : g, radians. section : parameters.

    Returns
    -------
    mu0 / (mu0 + mu) [(1 + B) p + H H - 1], without w / (4 pi).
    """
    b, c = section.b, section.c
    cosine, root = torch.cos(phase), math.sqrt(1 - section.w)
    backward = (1 - b * b) * (1 - 2 * b * cosine + b * b) ** -1.5
    forward = (1 - b * b) * (1 + 2 * b * cosine + b * b) ** -1.5
    particle = 0.5 * (1 + c) * backward + 0.5 * (1 - c) * forward
    surge = section.b0 / (1 + torch.tan(phase / 2) / section.h)
    single = (1 + surge) * particle - 1
    multiple = ((1 + 2 * mu0) / (1 + 2 * root * mu0)) * ((1 + 2 * mu) / (1 + 2 * root * mu))
    return mu0 / (mu0 + mu) * (multiple + single)


@overload
def radiance(
    dem: Tensor,
    pixel_m: float | Tensor,
    sun: Tensor,
    lit: Tensor | None,
    section: PhotometrySection,
    albedo: Tensor | None = None,
    viewer: Tensor | None = None,
) -> Tensor: ...


@overload
def radiance(
    dem: NDArray[np.floating],
    pixel_m: ArrayLike,
    sun: ArrayLike,
    lit: ArrayLike | None,
    section: PhotometrySection,
    albedo: ArrayLike | None = None,
    viewer: ArrayLike | None = None,
) -> NDArray[np.floating]: ...


def radiance(
    dem: Any,
    pixel_m: Any,
    sun: Any,
    lit: Any,
    section: PhotometrySection,
    albedo: Any = None,
    viewer: Any = None,
) -> Any:
    """Radiance factor pi r of every pixel under every Sun.

    Takes torch tensors and gives one, on their device; or takes a NumPy DEM, with anything that NumPy makes
    an array of for the rest, and gives an array.

    Laws: ``exponential``, the published one, r = a mu0 exp(-0.013 g + 0.965 (mu0 - mu)) with g in the unit of
    `section.phase_unit` (Repasky et al. 2026); ``lambert``, r = a mu0; ``lunar_lambert``,
    r = a [2 L mu0 / (mu0 + mu) + (1 - L) mu0] with L = 1 - 0.019 g + 0.000242 g^2 - 0.00000146 g^3, g in
    degrees (McEwen 1996); ``hapke``, see `hapke_reflectance`. mu0 = max(0, cos i), mu = cos e; a is
    `section.albedo`, which Hapke's w replaces.

    Parameters
    ----------
    dem : ``(..., Y, X)`` elevations, m, floating point, without NaN. Where a halo is at hand, pass it too and
        crop the result: the gradients of the patch's border are then central.
    pixel_m : pixel size, m; a number, or a tensor ``(...)``.
    sun : ``(..., N, 3)`` unit vectors towards the Sun in the map frame.
    lit : ``(..., N, Y, X)`` bool, or the visible share of the Sun; None where nothing casts a shadow.
    section : law and its parameters.
    albedo : ``(..., Y, X)`` factor on the radiance of all images of a set, relative to the section's albedo.
    viewer : unit vectors towards the camera in the map frame, ``(..., N, 3)``, or ``(3,)`` for all images;
        None for one at the zenith. Pixels that face away from it have radiance 0; terrain that stands between
        pixel and camera is not looked for.

    Returns
    -------
    ``(..., N, Y, X)`` in the type of `dem`. With the zenith viewer at most three such tensors are alive at a
    time, with ``hapke`` five.

    Raises
    ------
    ValueError
        If `dem` is not of floating point.
    """
    if isinstance(dem, np.ndarray):
        lit, albedo, viewer = (None if part is None else _tensor(part) for part in (lit, albedo, viewer))
        size = float(pixel_m) if np.ndim(pixel_m) == 0 else _tensor(pixel_m)
        return radiance(_tensor(dem), size, _tensor(sun), lit, section, albedo, viewer).numpy()
    if not dem.is_floating_point():
        raise ValueError(f"dem: expected elevations of floating point, found {dem.dtype}")
    slope_x, slope_y = surface_gradients(dem, pixel_m)
    # The unit normal is (-dz/dx, -dz/dy, 1) / length; its last part is the cosine of the slope.
    upward = torch.rsqrt(1 + slope_x**2 + slope_y**2)
    sun = sun.to(dem)

    def cosine(direction: Tensor) -> Tensor:
        """Cosine of the angle between normal and direction, (..., N or 1, Y, X)."""
        # Products and sums of elements: exact in single precision whatever a GPU does inside matrix products.
        east, north, up = (part[..., None, None] for part in direction.unbind(-1))
        value = torch.addcmul(up * upward[..., None, :, :], east, (-slope_x * upward)[..., None, :, :])
        return torch.addcmul(value, north, (-slope_y * upward)[..., None, :, :])

    incidence = cosine(sun).clamp(min=0)
    if viewer is None:
        mu, seen, cos_phase = upward[..., None, :, :], None, sun[..., 2]
    else:
        viewer = torch.atleast_2d(viewer.to(dem))
        mu = cosine(viewer)
        seen, cos_phase = mu > 0, (sun * viewer).sum(dim=-1)
        mu = torch.where(seen, mu, 1.0)  # any emission that no law divides by
    phase = torch.acos(cos_phase.clamp(-1, 1))[..., None, None]

    scale = section.albedo
    if section.law == "exponential":
        unit = 1.0 if section.phase_unit == "radians" else 180.0 / math.pi
        value = incidence * torch.exp(0.965 * incidence)
        value = value * torch.exp(-0.965 * mu) * torch.exp(-0.013 * unit * phase)
    elif section.law == "lambert":
        value = incidence
    elif section.law == "lunar_lambert":
        g = torch.rad2deg(phase)
        limb = 1 - 0.019 * g + 0.000242 * g**2 - 0.00000146 * g**3
        value = incidence * (2 * limb / (incidence + mu) + (1 - limb))
    else:
        value = hapke_reflectance(incidence, mu, phase, section.hapke)
        scale = section.hapke.w / (4 * math.pi)
    value = value * (math.pi * scale)
    if seen is not None:
        value = value * seen
    if albedo is not None:
        value = value * albedo.to(dem)[..., None, :, :]
    return value if lit is None else (value * lit).to(dem.dtype)


def _tensor(array: ArrayLike) -> Tensor:
    """A tensor of an array's values. A copy: torch knows no negative strides and no foreign byte order."""
    values = np.asarray(array)
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))
