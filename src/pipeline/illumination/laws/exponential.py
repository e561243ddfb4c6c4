"""The published law: r = a mu0 exp(-0.013 g + 0.965 (mu0 - mu)), g in `phase_unit` (Repasky et al. 2026)."""

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
    section : albedo a and unit of the phase angle.

    Returns
    -------
    Tensor of the broadcast shape.
    """
    unit = 1.0 if section.phase_unit == "radians" else 180.0 / math.pi
    value = mu0 * torch.exp(0.965 * mu0)
    value = value * torch.exp(-0.965 * mu) * torch.exp(-0.013 * unit * phase)
    return value * (math.pi * section.albedo)
