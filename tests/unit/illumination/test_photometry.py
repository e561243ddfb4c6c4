"""Radiance against closed forms and a plain NumPy version."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.directions import vectors
from pipeline.illumination.photometry import radiance, surface_gradients

LAWS = [
    PhotometrySection(),
    PhotometrySection(phase_unit="degrees", albedo=0.2),
    PhotometrySection(law="lambert"),
    PhotometrySection(law="lunar_lambert", albedo=0.16),
    PhotometrySection(law="hapke"),
]
ZENITH = torch.tensor([0.0, 0.0, 1.0])


def name(section: PhotometrySection) -> str:
    return f"{section.law}-{section.phase_unit}"


def law_by_hand(section: PhotometrySection, mu0: float, mu: float, g: float) -> float:
    """The radiance factor at one pair of angles, in plain Python, from the published formulas."""
    if section.law == "hapke":
        p = section.hapke
        henyey = lambda xi: (1 - xi**2) / (1 + 2 * xi * math.cos(g) + xi**2) ** 1.5  # noqa: E731
        phase = (1 + p.c) / 2 * henyey(-p.b) + (1 - p.c) / 2 * henyey(p.b)
        surge = p.b0 / (1 + math.tan(g / 2) / p.h)
        gamma = math.sqrt(1 - p.w)
        h0, h1 = ((1 + 2 * x) / (1 + 2 * x * gamma) for x in (mu0, mu))
        r = p.w / (4 * math.pi) * mu0 / (mu0 + mu) * ((1 + surge) * phase + h0 * h1 - 1)
        return math.pi * r
    if section.law == "exponential":
        phase = g if section.phase_unit == "radians" else math.degrees(g)
        f = mu0 * math.exp(-0.013 * phase + 0.965 * (mu0 - mu))
    elif section.law == "lambert":
        f = mu0
    else:
        a = math.degrees(g)
        limb = 1 - 0.019 * a + 0.000242 * a**2 - 0.00000146 * a**3
        f = 2 * limb * mu0 / (mu0 + mu) + (1 - limb) * mu0
    return math.pi * section.albedo * f


def plane(slope_x: float, slope_y: float, size: int = 8, pixel_m: float = 20.0) -> torch.Tensor:
    """A tilted plane; slopes towards map-right and map-up."""
    rows, columns = np.mgrid[:size, :size]
    return torch.from_numpy(pixel_m * (slope_x * columns - slope_y * rows) + 500.0)


def by_hand(dem, pixel_m, sun, section, viewers=None):
    """The laws pixel by pixel."""
    down, right = np.gradient(dem, pixel_m)
    normal = np.stack([-right, down, np.ones_like(dem)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    images = np.zeros((len(sun), *dem.shape))
    for k, s in enumerate(sun):
        v = np.array([0.0, 0.0, 1.0]) if viewers is None else viewers[k]
        g = math.acos(min(1.0, s @ v))
        for place in np.ndindex(dem.shape):
            mu0, mu = max(normal[place] @ s, 0.0), normal[place] @ v
            images[k][place] = law_by_hand(section, mu0, mu, g) if mu > 0 else 0.0
    return images


@pytest.mark.parametrize("section", LAWS, ids=name)
def test_agrees_with_numpy(section):
    rng = np.random.default_rng(0)
    dem = rng.normal(0, 12, (17, 13)).cumsum(0)
    sun = vectors(rng.uniform(0, 360, 9), rng.uniform(1, 90, 9))
    found = radiance(torch.from_numpy(dem), 20.0, torch.from_numpy(sun), None, section)
    np.testing.assert_allclose(found.numpy(), by_hand(dem, 20.0, sun, section), rtol=1e-12, atol=1e-15)
    single = radiance(torch.from_numpy(dem).float(), 20.0, torch.from_numpy(sun), None, section)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), found.numpy(), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("section", LAWS, ids=name)
@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(0, 360), st.floats(0.5, 90))
@settings(max_examples=25, deadline=None)
def test_tilted_plane_is_uniform_and_right(section, slope_x, slope_y, azimuth, elevation):
    s = vectors(azimuth, elevation)
    image = radiance(plane(slope_x, slope_y), 20.0, torch.from_numpy(s)[None], None, section)[0]
    steepness = math.sqrt(1 + slope_x**2 + slope_y**2)
    cos_i = max(0.0, (-slope_x * s[0] - slope_y * s[1] + s[2]) / steepness)
    g = math.radians(90 - elevation)
    expected = law_by_hand(section, cos_i, 1 / steepness, g)
    torch.testing.assert_close(image, torch.full_like(image, expected), atol=1e-7, rtol=1e-6)


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
    viewers = torch.from_numpy(vectors([200, 300], [60, 20]))
    for section in LAWS:
        assert torch.autograd.gradcheck(lambda z, law=section: radiance(z, 20.0, sun, None, law), (dem,))
        assert torch.autograd.gradcheck(
            lambda z, law=section: radiance(z, 20.0, sun, None, law, viewer=viewers), (dem,)
        )


def test_the_published_law_keeps_its_bits():
    """Its operations, one after the other, as results of earlier versions were computed."""
    generator = torch.Generator().manual_seed(2)
    dem = torch.randn(2, 32, 32, generator=generator) * 10
    sun = torch.from_numpy(vectors(np.arange(14).reshape(2, 7) * 25.0, np.arange(14).reshape(2, 7) * 6.0))
    down, right = torch.gradient(dem, dim=(-2, -1))
    slope_x, slope_y = right / 20.0, -down / 20.0
    upward = torch.rsqrt(1 + slope_x**2 + slope_y**2)
    east, north, up = (part[..., None, None] for part in sun.float().unbind(-1))
    mu = upward[:, None]
    mu0 = torch.addcmul(up * mu, east, (-slope_x * upward)[:, None])
    mu0 = torch.addcmul(mu0, north, (-slope_y * upward)[:, None]).clamp(min=0)
    g = torch.acos(sun.float()[..., 2].clamp(-1, 1))[..., None, None]
    wanted = mu0 * torch.exp(0.965 * mu0)
    wanted = wanted * torch.exp(-0.965 * mu) * torch.exp(-0.013 * 1.0 * g) * (math.pi * 0.1)
    assert torch.equal(radiance(dem, 20.0, sun, None, PhotometrySection()), wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("section", LAWS, ids=name)
def test_numpy_arrays_give_the_numbers_that_tensors_give(section, dtype):
    """All arguments, one DEM and a batch; what torch cannot view (strides, byte order, read-only) too."""
    rng = np.random.default_rng(6)
    dem = rng.normal(0, 10, (2, 14, 11)).astype(dtype)
    sun = vectors(rng.uniform(0, 360, (2, 5)), rng.uniform(2, 90, (2, 5)))
    lit = rng.random((2, 5, 14, 11)) < 0.7
    albedo = rng.uniform(0.5, 1.5, (2, 14, 11)).astype(dtype)
    viewer, pixel = vectors(20.0, 60.0), np.array([20.0, 5.0])
    tensors = [torch.from_numpy(x) for x in (dem, pixel, sun, lit)]
    given = {"albedo": torch.from_numpy(albedo), "viewer": torch.from_numpy(viewer)}
    found = radiance(dem, pixel, sun, lit, section, albedo=albedo, viewer=viewer)
    assert isinstance(found, np.ndarray) and found.dtype == dtype and found.shape == (2, 5, 14, 11)
    np.testing.assert_array_equal(found, radiance(*tensors, section, **given).numpy())
    share = lit * np.float32(0.25)
    np.testing.assert_array_equal(
        radiance(dem[0], 20.0, sun[0], share[0], section),
        radiance(tensors[0][0], 20.0, tensors[2][0], torch.from_numpy(share[0]), section).numpy(),
    )
    assert radiance(dem, pixel, sun, share.astype(np.float64), section).dtype == dtype
    foreign = dem[:, ::-1].astype(dem.dtype.newbyteorder(">"))[:, ::-1]
    foreign.setflags(write=False)
    np.testing.assert_array_equal(
        radiance(foreign, 20, sun.tolist(), None, section), radiance(dem, 20.0, sun, None, section)
    )


@pytest.mark.parametrize("dem", [np.zeros((4, 4), np.int16), torch.zeros(4, 4, dtype=torch.int16)], ids=type)
def test_whole_metres_are_refused(dem):
    """They would make whole numbers of the Sun vectors."""
    sun = vectors([10.0], 20.0)
    with pytest.raises(ValueError, match=r"dem: expected elevations of floating point, found torch\.int16"):
        radiance(dem, 20.0, sun if isinstance(dem, np.ndarray) else torch.from_numpy(sun), None, LAWS[0])


# --- viewer and albedo ----------------------------------------------------------------------------------


@pytest.mark.parametrize("section", LAWS, ids=name)
def test_a_viewer_at_the_zenith_is_the_default(section):
    generator = torch.Generator().manual_seed(3)
    dem = torch.randn(2, 20, 20, generator=generator) * 20
    sun = torch.from_numpy(vectors(np.arange(8).reshape(2, 4) * 40.0, 25.0)).float()
    plain = radiance(dem, 20.0, sun, None, section)
    assert torch.equal(radiance(dem, 20.0, sun, None, section, viewer=ZENITH), plain)
    each = radiance(dem, 20.0, sun, None, section, viewer=ZENITH.expand(2, 4, 3))
    torch.testing.assert_close(each, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("section", LAWS, ids=name)
def test_an_oblique_viewer_agrees_with_the_laws_written_out(section):
    rng = np.random.default_rng(4)
    dem = rng.normal(0, 20, (11, 9)).cumsum(0)
    sun = vectors(rng.uniform(0, 360, 7), rng.uniform(1, 90, 7))
    viewers = vectors(rng.uniform(0, 360, 7), rng.uniform(5, 90, 7))
    found = radiance(
        torch.from_numpy(dem), 20.0, torch.from_numpy(sun), None, section, viewer=torch.from_numpy(viewers)
    )
    wanted = by_hand(dem, 20.0, sun, section, viewers)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-11, atol=1e-15)
    # Something faces away, and something of that is in the light.
    lambert = by_hand(dem, 20.0, sun, PhotometrySection(law="lambert"))
    assert (wanted[lambert > 0] == 0).any() and (wanted > 0).any()


@pytest.mark.parametrize("section", LAWS, ids=name)
@given(*[st.floats(0, 360)] * 3, st.floats(-70, 70), st.floats(20, 90), st.floats(20, 90))
@settings(max_examples=25, deadline=None)
def test_only_the_angles_between_ground_sun_and_viewer_count(section, azimuth, a, b, tilt, up_a, up_b):
    """Ground, Sun and viewer turned together about a level axis leave the radiance as it was."""
    s, v = vectors(a, up_a), vectors(b, up_b)
    axis = vectors(azimuth, 0)
    t = math.radians(tilt)

    def turned(x):
        """Rodrigues' formula."""
        along = axis * (axis @ x) * (1 - math.cos(t))
        return x * math.cos(t) + np.cross(axis, x) * math.sin(t) + along

    level = radiance(
        torch.zeros(4, 4, dtype=torch.float64), 20.0, torch.from_numpy(s)[None], None, section,
        viewer=torch.from_numpy(v),
    )  # fmt: skip
    normal = turned(np.array([0.0, 0.0, 1.0]))
    ground = plane(-normal[0] / normal[2], -normal[1] / normal[2], size=4)
    sun, viewer = torch.from_numpy(turned(s))[None], torch.from_numpy(turned(v))
    tilted = radiance(ground, 20.0, sun, None, section, viewer=viewer)
    torch.testing.assert_close(tilted, level, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("section", LAWS[2:], ids=name)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0, 360), st.floats(40, 90), st.floats(40, 90))
@settings(max_examples=25, deadline=None)
def test_light_may_go_either_way(section, slope_x, slope_y, azimuth, up_a, up_b):
    """Helmholtz: r / mu0 stays when Sun and viewer change places."""
    a, b = (torch.from_numpy(vectors(x, y)) for x, y in ((azimuth, up_a), (azimuth / 3, up_b)))
    ground, lambert = plane(slope_x, slope_y, size=3), PhotometrySection(law="lambert")
    there, back = (
        radiance(ground, 20.0, s[None], None, section, viewer=v)
        / radiance(ground, 20.0, s[None], None, lambert)
        for s, v in ((a, b), (b, a))
    )
    torch.testing.assert_close(there, back, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("section", LAWS, ids=name)
def test_grazing_light_and_view_are_finite(section):
    """Sun on the horizon, viewer on the horizon, both, opposite, and ground edge-on to both."""
    level = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1e-7, 1.0], [0.0, 0.0, 1.0]])
    for dtype in (torch.float32, torch.float64):
        dem = torch.randn(6, 6, dtype=dtype, generator=torch.Generator().manual_seed(1)) * 50
        dem[:3, :3] = 0
        dem.requires_grad_()
        for viewer in (None, *level):
            image = radiance(dem, 20.0, level, None, section, viewer=viewer)
            assert image.isfinite().all() and (image >= 0).all()
            (gradient,) = torch.autograd.grad(image.sum(), dem)
            assert gradient.isfinite().all()
    assert not radiance(torch.zeros(4, 4), 20.0, level, None, section, viewer=level[0]).any()


def test_the_mean_of_a_lambert_sphere_follows_its_phase_curve():
    """Half a sphere from above, Sun at phase g: mean mu0 is 2 (sin g + (pi - g) cos g) / (3 pi)."""
    size = 601
    rows, columns = np.mgrid[:size, :size] - 300.0
    distance = np.hypot(rows, columns) * 10.0
    dem = torch.from_numpy(np.sqrt(np.clip(2950.0**2 - distance**2, 0, None)))
    for g in (0, 30, 60, 90):
        sun = torch.from_numpy(vectors(30.0, 90.0 - g))[None]
        image = radiance(dem, 10.0, sun, None, PhotometrySection(law="lambert"), viewer=ZENITH)[0]
        found = image.numpy()[distance <= 2950.0].mean() / (0.1 * math.pi)
        t = math.radians(g)
        wanted = 2 * (math.sin(t) + (math.pi - t) * math.cos(t)) / (3 * math.pi)
        assert found == pytest.approx(wanted, rel=6e-3)


@pytest.mark.parametrize("section", LAWS, ids=name)
def test_an_albedo_map_scales_all_images_of_its_set(section):
    generator = torch.Generator().manual_seed(5)
    dem = torch.randn(2, 10, 12, generator=generator) * 10
    sun = torch.from_numpy(vectors([[0.0, 90.0, 200.0]] * 2, 40.0)).float()
    albedo = torch.rand(2, 10, 12, generator=generator) + 0.5
    lit = torch.rand(2, 3, 10, 12, generator=generator) > 0.3
    found = radiance(dem, 20.0, sun, lit, section, albedo=albedo)
    torch.testing.assert_close(found, radiance(dem, 20.0, sun, lit, section) * albedo[:, None])
