"""Hapke's correction for macroscopic roughness (Hapke 1984, Icarus 59, 41; 2012, chapter 12).

Each pixel consists of facets tilted by a mean angle theta. The pixel as a whole has the effective cosines of
incidence and emission of its lit and visible facets, and a shadowing factor S.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def effective(mu0: Tensor, mu: Tensor, phase: Tensor, theta_deg: float) -> tuple[Tensor, Tensor, Tensor]:
    """Effective cosines of incidence and emission, and the shadowing factor.

    With chi = 1 / sqrt(1 + pi tan^2 theta), E1(x) = exp(-2 / pi cot theta cot x), E2(x) = exp(-1 / pi
    cot^2 theta cot^2 x), eta(x) = chi (cos x + sin x tan theta E2(x) / (2 - E1(x))), f = exp(-2 tan(psi / 2))
    and the azimuth psi between the planes of incidence and emission. Of the two angles the larger one, a, and
    the smaller one, b, have the effective cosines

        chi (cos a + sin a tan theta (E2(a) - sin^2(psi / 2) E2(b)) / (2 - E1(a) - psi / pi E1(b))),
        chi (cos b + sin b tan theta (cos psi E2(a) + sin^2(psi / 2) E2(b)) / (2 - E1(a) - psi / pi E1(b))),

    and S = (mu_e / eta(e)) (mu0 / eta(i)) chi / (1 - f + f chi mu_b / eta(b)).

    Parameters
    ----------
    mu0, mu : cosines of incidence and emission, mu0 >= 0, mu > 0. phase : radians; all broadcast.
    theta_deg : mean slope angle, degrees, above 0.

    Returns
    -------
    mu0_e, mu_e and S, each of the broadcast shape of mu0, mu and phase.
    """
    mu0, mu = (value.clamp(1e-6, 1.0) for value in (mu0, mu))
    tangent = math.tan(math.radians(theta_deg))
    chi = 1 / math.sqrt(1 + math.pi * tangent**2)
    sine0, sine = (torch.sqrt((1 - value**2).clamp(min=1e-12)) for value in (mu0, mu))
    # cos g = mu0 mu + sin i sin e cos psi; at the zenith psi is undefined and has no influence.
    cosine_psi = ((torch.cos(phase) - mu0 * mu) / (sine0 * sine)).clamp(-1, 1)
    psi = torch.acos(cosine_psi)
    half = (1 - cosine_psi) / 2  # sin^2(psi / 2)

    def e1(cot: Tensor) -> Tensor:
        return torch.exp(-2 / math.pi / tangent * cot)

    def e2(cot: Tensor) -> Tensor:
        return torch.exp(-1 / math.pi / tangent**2 * cot**2)

    cot0, cot = mu0 / sine0, mu / sine
    first0, second0, first, second = e1(cot0), e2(cot0), e1(cot), e2(cot)
    lower = mu <= mu0  # the emission angle is the larger one
    large1, small1 = torch.where(lower, first, first0), torch.where(lower, first0, first)
    large2, small2 = torch.where(lower, second, second0), torch.where(lower, second0, second)
    below = 2 - large1 - psi / math.pi * small1
    of_large = (large2 - half * small2) / below
    of_small = (cosine_psi * large2 + half * small2) / below
    mu0_e = chi * (mu0 + sine0 * tangent * torch.where(lower, of_small, of_large))
    mu_e = chi * (mu + sine * tangent * torch.where(lower, of_large, of_small))
    eta0 = chi * (mu0 + sine0 * tangent * second0 / (2 - first0))
    eta = chi * (mu + sine * tangent * second / (2 - first))
    f = torch.exp(-2 * torch.tan((psi / 2).clamp(max=math.pi / 2 - 1e-4)))
    ratio = torch.where(lower, mu0 / eta0, mu / eta)
    shadowing = (mu_e / eta) * (mu0 / eta0) * chi / (1 - f + f * chi * ratio)
    return mu0_e.clamp(min=0), mu_e.clamp(min=1e-6), shadowing
