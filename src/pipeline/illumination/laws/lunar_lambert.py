"""The Lunar-Lambert law: r = a [2 L mu0 / (mu0 + mu) + (1 - L) mu0] (McEwen 1996).

L = 1 - 0.019 g + 0.000242 g^2 - 0.00000146 g^3, g in degrees.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.config.photometry import PhotometrySection


def radiance_factor(mu0: Tensor, mu: Tensor, phase: Tensor, section: PhotometrySection) -> Tensor:
    """Radiance factor pi r, with a the section's albedo.

    Parameters
    ----------
    mu0, mu : cosines of incidence, >= 0, and emission, > 0. phase : phase angle, radians. All broadcast.
    section : albedo a.

    Returns
    -------
    Tensor of the broadcast shape.
    """
    g = torch.rad2deg(phase)
    limb = 1 - 0.019 * g + 0.000242 * g**2 - 0.00000146 * g**3
    value = mu0 * (2 * limb / (mu0 + mu) + (1 - limb))
    return value * (math.pi * section.albedo)
