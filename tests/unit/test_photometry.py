"""Radiance against closed forms and a plain NumPy version."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.light import PhotometrySection
from pipeline.illumination.directions import vectors
from pipeline.illumination.photometry import radiance, surface_gradients

LAWS = [
    PhotometrySection(),
    PhotometrySection(phase_unit="degrees", albedo=0.2),
    PhotometrySection(law="lambert"),
    PhotometrySection(law="lunar_lambert", albedo=0.16),
]


def plane(slope_x: float, slope_y: float, size: int = 8, pixel_m: float = 20.0) -> torch.Tensor:
    """A tilted plane; slopes towards map-right and map-up."""
    rows, columns = np.mgrid[:size, :size]
    return torch.from_numpy(pixel_m * (slope_x * columns - slope_y * rows) + 500.0)


def by_hand(dem, pixel_m, sun, section):
    """The laws written out in NumPy, image by image."""
    down, right = np.gradient(dem, pixel_m)
    normal = np.stack([-right, down, np.ones_like(dem)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    images = []
    for s in sun:
        cos_i, cos_e = np.maximum(normal @ s, 0), normal[..., 2]
        g = math.acos(min(1.0, s[2]))
        if section.law == "exponential":
            phase = g if section.phase_unit == "radians" else math.degrees(g)
            f = cos_i * np.exp(-0.013 * phase + 0.965 * (cos_i - cos_e))
        elif section.law == "lambert":
            f = cos_i
        else:
            a = math.degrees(g)
            limb = 1 - 0.019 * a + 0.000242 * a**2 - 0.00000146 * a**3
            f = 2 * limb * cos_i / (cos_i + cos_e) + (1 - limb) * cos_i
        images.append(math.pi * section.albedo * f)
    return np.stack(images)


@pytest.mark.parametrize("section", LAWS, ids=lambda s: f"{s.law}-{s.phase_unit}")
def test_agrees_with_numpy(section):
    rng = np.random.default_rng(0)
    dem = rng.normal(0, 12, (17, 13)).cumsum(0)
    sun = vectors(rng.uniform(0, 360, 9), rng.uniform(1, 90, 9))
    found = radiance(torch.from_numpy(dem), 20.0, torch.from_numpy(sun), None, section)
    np.testing.assert_allclose(found.numpy(), by_hand(dem, 20.0, sun, section), rtol=1e-12, atol=1e-15)
    single = radiance(torch.from_numpy(dem).float(), 20.0, torch.from_numpy(sun), None, section)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), found.numpy(), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("section", LAWS, ids=lambda s: f"{s.law}-{s.phase_unit}")
@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(0, 360), st.floats(0.5, 90))
@settings(max_examples=25, deadline=None)
def test_tilted_plane_is_uniform_and_right(section, slope_x, slope_y, azimuth, elevation):
    s = vectors(azimuth, elevation)
    image = radiance(plane(slope_x, slope_y), 20.0, torch.from_numpy(s)[None], None, section)[0]
    steepness = math.sqrt(1 + slope_x**2 + slope_y**2)
    cos_i = max(0.0, (-slope_x * s[0] - slope_y * s[1] + s[2]) / steepness)
    g = math.radians(90 - elevation)
    if section.law == "lambert":
        expected = cos_i
    elif section.law == "exponential":
        phase = g if section.phase_unit == "radians" else math.degrees(g)
        expected = cos_i * math.exp(-0.013 * phase) * math.exp(0.965 * (cos_i - 1 / steepness))
    else:
        a = math.degrees(g)
        limb = 1 - a * (0.019 - a * (0.000242 - a * 0.00000146))
        expected = cos_i * (2 * limb / (cos_i + 1 / steepness) + 1 - limb)
    torch.testing.assert_close(
        image, torch.full_like(image, math.pi * section.albedo * expected), atol=1e-7, rtol=1e-6
    )


def test_published_scale_on_level_ground():
    """Overhead Sun: 0.1 pi."""
    image = radiance(torch.zeros(4, 4), 20.0, torch.tensor([[0.0, 0.0, 1.0]]), None, PhotometrySection())
    torch.testing.assert_close(image, torch.full((1, 4, 4), 0.1 * math.pi))


def test_slopes_are_in_the_map_frame():
    """Ground that rises towards map-up is brighter with the Sun at the bottom of the map."""
    slope_x, slope_y = surface_gradients(plane(0.1, 0.3), 20.0)
    torch.testing.assert_close(slope_x, torch.full_like(slope_x, 0.1))
    torch.testing.assert_close(slope_y, torch.full_like(slope_y, 0.3))
    sun = torch.from_numpy(vectors([0, 90, 180, 270], 30))
    means = radiance(plane(0.1, 0.3), 20.0, sun, None, PhotometrySection()).mean(dim=(1, 2))
    assert means.argmax() == 2 and means.argmin() == 0 and means[3] > means[1]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turning_the_map_with_its_sun_turns_the_image(turns):
    rng = np.random.default_rng(1)
    dem = torch.from_numpy(rng.normal(0, 8, (12, 12)))
    azimuth, elevation = rng.uniform(0, 360, 5), rng.uniform(5, 60, 5)
    image = radiance(dem, 20.0, torch.from_numpy(vectors(azimuth, elevation)), None, PhotometrySection())
    turned_sun = torch.from_numpy(vectors(azimuth - 90 * turns, elevation))
    turned = radiance(torch.rot90(dem, turns), 20.0, turned_sun, None, PhotometrySection())
    torch.testing.assert_close(turned, torch.rot90(image, turns, dims=(1, 2)))


def test_mean_over_a_spherical_cap_is_the_closed_form():
    """Lambert, overhead Sun, unit sphere, cap of base b: mean cos i = (2/3) (1 - (1 - b^2)^1.5) / b^2."""
    size, radius = 401, 3000.0
    rows, columns = np.mgrid[:size, :size] - 200.0
    distance = np.hypot(rows, columns) * 10.0
    dem = torch.from_numpy(np.sqrt(np.clip(radius**2 - distance**2, 1e4, None)))
    image = radiance(dem, 10.0, torch.tensor([[0.0, 0.0, 1.0]]), None, PhotometrySection(law="lambert"))[0]
    base = 0.6
    found = image.numpy()[distance <= base * radius].mean() / (0.1 * math.pi)
    assert found == pytest.approx(2 / 3 * (1 - (1 - base**2) ** 1.5) / base**2, rel=2e-3)


def test_shadow_and_share_scale_the_image():
    dem = plane(0.1, 0.0).float()
    sun = torch.from_numpy(vectors([0, 90], [20, 40])).float()
    full = radiance(dem, 20.0, sun, None, PhotometrySection())
    lit = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    torch.testing.assert_close(radiance(dem, 20.0, sun, lit, PhotometrySection()), full * lit)
    share = torch.full((2, 8, 8), 0.25)
    torch.testing.assert_close(radiance(dem, 20.0, sun, share, PhotometrySection()), full / 4)


def test_batches_equal_single_patches_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    dem = torch.randn(3, 16, 16, generator=generator) * 10
    sun = torch.from_numpy(vectors(np.arange(15).reshape(3, 5) * 24.0, 25.0)).float()
    lit = torch.rand(3, 5, 16, 16, generator=generator) > 0.3
    pixel = torch.tensor([20.0, 40.0, 5.0])
    together = radiance(dem, pixel, sun, lit, PhotometrySection())
    assert together.shape == (3, 5, 16, 16)
    for k in range(3):
        alone = radiance(dem[k], float(pixel[k]), sun[k], lit[k], PhotometrySection())
        assert torch.equal(alone, together[k])


def test_gradients_flow_to_the_terrain():
    dem = (
        torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    ).requires_grad_()
    sun = torch.from_numpy(vectors([10, 130], [50, 60]))
    for section in LAWS:
        assert torch.autograd.gradcheck(lambda z, law=section: radiance(z, 20.0, sun, None, law), (dem,))
