"""Hapke's law; its single-scattering albedo replaces `albedo`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.config.photometry import HapkeSection, PhotometrySection
from pipeline.illumination.roughness import effective


def radiance_factor(mu0: Tensor, mu: Tensor, phase: Tensor, section: PhotometrySection) -> Tensor:
    """Radiance factor pi r, with the parameters of `section.hapke`.

    Parameters
    ----------
    mu0, mu : cosines of incidence, >= 0, and emission, > 0. phase : phase angle, radians. All broadcast.
    section : only its section `hapke` is used.

    Returns
    -------
    Tensor of the broadcast shape.
    """
    scale, lit = section.hapke.w / 4, mu0
    if section.hapke.theta_deg > 0:
        mu0, mu, shadowing = effective(mu0, mu, phase, section.hapke.theta_deg)
        # Facets may face a Sun below the pixel's own horizon; the pixel counts as unlit then.
        return hapke_reflectance(mu0, mu, phase, section.hapke) * (shadowing * scale) * (lit > 0)
    return hapke_reflectance(mu0, mu, phase, section.hapke) * scale


def hapke_reflectance(mu0: Tensor, mu: Tensor, phase: Tensor, section: HapkeSection) -> Tensor:
    """Hapke's law for a smooth surface, without its factor w / (4 pi).

    r = w / (4 pi) mu0 / (mu0 + mu) [(1 + B(g)) p(g) + H(mu0) H(mu) - 1] (Hapke 1981, 2012) with
    B(g) = B0 / (1 + tan(g / 2) / h), H(x) = (1 + 2 x) / (1 + 2 x sqrt(1 - w)) and the double
    Henyey-Greenstein function p(g) = (1 + c) / 2 l(b) + (1 - c) / 2 l(-b), where
    l(b) = (1 - b^2) / (1 - 2 b cos g + b^2)^1.5. With b > 0, l(b) is the backward lobe, and c = 1 or -1 is
    the single function. The surface is assumed smooth below the DEM's pixels; `roughness.effective` gives the
    cosines of a rough one.

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
