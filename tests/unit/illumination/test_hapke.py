"""Hapke's law against its limits and what is known of the Moon."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.config.photometry import HapkeSection, PhotometrySection
from pipeline.illumination.laws.hapke import hapke_reflectance, radiance_factor
from pipeline.illumination.photometry import radiance


def test_the_default_moon_is_as_bright_as_the_moon():
    """Normal albedo at opposition between maria (0.07) and highlands (0.2)."""
    section = PhotometrySection(law="hapke")
    overhead = radiance(torch.zeros(3, 3), 20.0, torch.tensor([[0.0, 0.0, 1.0]]), None, section)
    assert 0.07 < overhead[0, 0, 0] < 0.2


def test_the_default_phase_function_has_the_published_moments():
    """Helfenstein & Veverka (1987): 1 + 0.29 P1 + 0.39 P2 in cos g, as Legendre moments."""
    section = HapkeSection(w=1e-12, b0=0)
    x, weight = np.polynomial.legendre.leggauss(80)
    one = torch.ones(80, dtype=torch.float64)
    p = 2 * hapke_reflectance(one, one, torch.from_numpy(np.arccos(x)), section).numpy()
    moments = [(2 * n + 1) / 2 * (weight * p * np.polynomial.Legendre.basis(n)(x)).sum() for n in range(3)]
    np.testing.assert_allclose(moments, [1, 0.29, 0.39], atol=6e-3)


def test_single_lobes_mirror_each_other():
    g = torch.linspace(0, 3, 20, dtype=torch.float64)
    mu = torch.full_like(g, 0.5)
    back, forward = (hapke_reflectance(mu, mu, g, HapkeSection(b0=0, b=0.4, c=c)) for c in (1, -1))
    assert (back.diff() < 0).all() and (forward.diff() > 0).all()
    mixed = hapke_reflectance(mu, mu, g, HapkeSection(b0=0, b=0.4, c=0.2))
    torch.testing.assert_close(mixed, 0.6 * back + 0.4 * forward)


def test_dark_ground_scatters_once():
    """w -> 0: Lommel-Seeliger's law times (1 + B) p."""
    g = torch.linspace(0.0, 2.5, 30, dtype=torch.float64)
    mu0, mu = torch.linspace(0.1, 1, 30, dtype=torch.float64), torch.linspace(1, 0.2, 30, dtype=torch.float64)
    found = hapke_reflectance(mu0, mu, g, HapkeSection(w=1e-9, b=0, b0=1.5, h=0.1))
    torch.testing.assert_close(found, mu0 / (mu0 + mu) * (1 + 1.5 / (1 + torch.tan(g / 2) / 0.1)))


@pytest.mark.parametrize("mu0", [0.1, 0.4, 0.7, 1.0])
def test_white_ground_gives_back_what_it_gets(mu0):
    """w = 1, isotropic: all light comes back; Hapke's approximate H functions keep it within 4 %."""
    x, weight = np.polynomial.legendre.leggauss(60)
    mu = torch.from_numpy((x + 1) / 2)
    value = hapke_reflectance(
        torch.full_like(mu, mu0), mu, torch.full_like(mu, 1.0), HapkeSection(w=1, b=0, b0=0)
    )
    reflectance = value.numpy() / (4 * math.pi)
    total = 2 * math.pi * (weight / 2 * reflectance * mu.numpy()).sum() / mu0
    assert total == pytest.approx(1, abs=0.04)


# --- macroscopic roughness --------------------------------------------------------------------------------


def factor(mu0: torch.Tensor, mu: torch.Tensor, g: torch.Tensor, theta_deg: float) -> torch.Tensor:
    section = PhotometrySection(law="hapke", hapke=HapkeSection(theta_deg=theta_deg))
    return radiance_factor(mu0, mu, g, section)


def angles(count: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Possible incidence and emission cosines and phase angles."""
    draw = np.random.default_rng(0)
    i, e = np.radians(draw.uniform(2, 85, (2, count)))
    psi = np.radians(draw.uniform(1, 179, count))
    g = np.arccos(np.cos(i) * np.cos(e) + np.sin(i) * np.sin(e) * np.cos(psi))
    return torch.from_numpy(np.cos(i)), torch.from_numpy(np.cos(e)), torch.from_numpy(g)


def test_nearly_smooth_ground_is_smooth():
    mu0, mu, g = angles()
    torch.testing.assert_close(factor(mu0, mu, g, 0.05), factor(mu0, mu, g, 0.0), rtol=2e-3, atol=0)


@pytest.mark.parametrize("theta", [5.0, 20.0, 35.0])
def test_rough_ground_is_reciprocal(theta):
    """Sun and viewer may change places: r / mu0 stays (Hapke 2012, section 10.4)."""
    mu0, mu, g = angles()
    torch.testing.assert_close(
        factor(mu0, mu, g, theta) / mu0, factor(mu, mu0, g, theta) / mu, rtol=1e-5, atol=1e-9
    )


def test_roughness_darkens_oblique_views_and_leaves_the_zenith():
    """Facets hide each other where both angles are large; with Sun and viewer overhead nothing is hidden."""
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    # But for the H functions, of cosines that are effective ones.
    torch.testing.assert_close(factor(one, one, zero, 25.0), factor(one, one, zero, 0.0), rtol=5e-3, atol=0)
    mu = torch.full((1,), math.cos(math.radians(75)), dtype=torch.float64)
    wide = torch.full((1,), math.radians(149), dtype=torch.float64)  # Sun and viewer on opposite sides
    values = [float(factor(mu, mu, wide, theta)) for theta in (0, 10, 20, 30)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.5 * values[0]


def test_rough_ground_without_sun_is_dark_and_finite_everywhere():
    mu0 = torch.tensor([0.0, 1e-9, 0.5, 1.0], dtype=torch.float32)
    mu = torch.tensor([1.0, 1e-9, 1.0, 1.0], dtype=torch.float32)
    found = factor(mu0, mu, torch.arccos(mu0 * mu), 23.0)
    assert torch.isfinite(found).all() and found[0] == 0 and (found >= 0).all()
