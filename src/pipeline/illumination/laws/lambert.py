"""Lambert's law: r = a mu0, the same in every viewing direction."""

from __future__ import annotations

import math

from torch import Tensor

from pipeline.config.photometry import PhotometrySection


def radiance_factor(mu0: Tensor, mu: Tensor, phase: Tensor, section: PhotometrySection) -> Tensor:
    """Radiance factor pi r, with a the section's albedo."""
    return mu0 * (math.pi * section.albedo)
