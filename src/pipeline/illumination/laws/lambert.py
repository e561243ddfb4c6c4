"""Lambert's law: r = a mu0, the same in every viewing direction."""

from __future__ import annotations

import math

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
    Tensor of the shape of `mu0`, since nothing else enters.
    """
    return mu0 * (math.pi * section.albedo)
