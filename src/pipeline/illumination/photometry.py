"""Radiance of a DEM under a set of Suns, in batches; fast enough to be computed whenever an image is read.

Every law gives the radiance factor pi r, with r the bidirectional reflectance (radiance over the irradiance
of a surface that faces the Sun). r is a function of the incidence angle i, the emission angle e and the phase
angle g between Sun and viewer. Unless a viewer is given, it is overhead: e is the surface's slope and g the
Sun's distance from the zenith.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pipeline.config.photometry import PhotometrySection, law_module

Map = TypeVar("Map", NDArray[Any], Tensor)


def surface_gradients(dem: Tensor, pixel_m: float | Tensor) -> tuple[Tensor, Tensor]:
    """Slopes dz/dx (to map-right) and dz/dy (to map-up): central differences, one-sided at the edges.

    Parameters
    ----------
    dem : ``(..., Y, X)`` elevations, m; at least 2 x 2 pixels.
    pixel_m : pixel size, m; a number, or a tensor ``(...)`` with one per DEM.

    Returns
    -------
    Two tensors ``(..., Y, X)``, m per m.
    """
    if isinstance(pixel_m, Tensor):
        pixel_m = pixel_m.to(dem)[..., None, None]
    down, right = torch.gradient(dem, dim=(-2, -1))
    return right / pixel_m, -down / pixel_m


def radiance(
    dem: Map,
    pixel_m: Any,
    sun: Any,
    lit: Any,
    section: PhotometrySection,
    albedo: Any = None,
    viewer: Any = None,
) -> Map:
    """Radiance factor pi r of every pixel under every Sun.

    Torch tensors give a tensor on their device; a NumPy DEM, with array-like values for the other arguments,
    gives an array. The reflectance laws are in `pipeline.illumination.laws`, each with formula and source.

    Parameters
    ----------
    dem : ``(..., Y, X)`` elevations, m, floating point, without NaN. Where there is a halo, pass it too and
        crop the result: the gradients at the patch's border are then central differences.
    pixel_m : pixel size, m; a number, or a tensor ``(...)``.
    sun : ``(..., N, 3)`` unit vectors towards the Sun in the map frame.
    lit : ``(..., N, Y, X)`` bool, or the visible share of the Sun; None for no cast shadows.
    section : law and its parameters.
    albedo : ``(..., Y, X)`` factor on the radiance of all images of a set, relative to the section's albedo.
    viewer : unit vectors towards the camera in the map frame, ``(..., N, 3)``, or ``(3,)`` for all images;
        None for one at the zenith. Pixels that face away from it have radiance 0; terrain between pixel and
        camera is not considered.

    Returns
    -------
    ``(..., N, Y, X)`` in the type of `dem`. With the zenith viewer at most three such tensors are in memory
    at a time, with ``hapke`` five.

    Raises
    ------
    ValueError
        If `dem` is not of floating point, or there is no such law.
    """
    if isinstance(dem, np.ndarray):
        lit, albedo, viewer = (None if part is None else _tensor(part) for part in (lit, albedo, viewer))
        size = float(pixel_m) if np.ndim(pixel_m) == 0 else _tensor(pixel_m)
        return radiance(_tensor(dem), size, _tensor(sun), lit, section, albedo, viewer).numpy()
    if not dem.is_floating_point():
        raise ValueError(f"dem: expected elevations of floating point, found {dem.dtype}")
    slope_x, slope_y = surface_gradients(dem, pixel_m)
    # The unit normal is (-dz/dx, -dz/dy, 1) / length; its last component is the cosine of the slope.
    upward = torch.rsqrt(1 + slope_x**2 + slope_y**2)
    sun = sun.to(dem)

    def cosine(direction: Tensor) -> Tensor:
        """Cosine of the angle between normal and direction, (..., N or 1, Y, X)."""
        # Elementwise products and sums: a GPU may compute matrix products in less than single precision.
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
        mu = torch.where(seen, mu, 1.0)  # avoids division by 0; masked below
    phase = torch.acos(cos_phase.clamp(-1, 1))[..., None, None]
    value = radiance_factor(incidence, mu, phase, section)
    if seen is not None:
        value = value * seen
    if albedo is not None:
        value = value * albedo.to(dem)[..., None, :, :]
    return value if lit is None else (value * lit).to(dem.dtype)


def radiance_factor(mu0: Tensor, mu: Tensor, phase: Tensor, section: PhotometrySection) -> Tensor:
    """Radiance factor pi r of the section's law.

    Parameters
    ----------
    mu0, mu : cosines of incidence (0 for ground that faces away from the Sun) and emission, mu > 0.
    phase : phase angle, radians. All broadcast.
    section : law and its parameters.

    Returns
    -------
    Tensor of the broadcast shape; Lambert's law, into which only `mu0` enters, keeps the shape of `mu0`.

    Raises
    ------
    ValueError
        If there is no such law.
    """
    return _law(section.law)(mu0, mu, phase, section)


def _law(name: str) -> Callable[[Tensor, Tensor, Tensor, PhotometrySection], Tensor]:
    """The function of a law, from its module."""
    module = law_module(name)
    try:
        law: Callable[[Tensor, Tensor, Tensor, PhotometrySection], Tensor]
        law = import_module(module).radiance_factor
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"photometry.law: expected {module}.radiance_factor for the law {name!r}, found none ({error})"
        ) from error
    return law


def _tensor(array: ArrayLike) -> Tensor:
    """A tensor with a copy of an array's values: torch supports no negative strides or foreign byte order."""
    values = np.asarray(array)
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))
