"""What light does whatever computes it: shadows in closed form, symmetries, order, energy; all engines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from trimesh.ray.ray_triangle import RayMeshIntersector

from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.directions import vectors
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.photometry import radiance, surface_gradients
from pipeline.illumination.sweep import SweepVisibility
from pipeline.illumination.visibility import Visibility

PIXEL = 10.0
ENGINES = [EmbreeVisibility, HorizonVisibility, SweepVisibility]
EXACT = ENGINES[:2]
Engine = Callable[..., Visibility]
every = pytest.mark.parametrize("engine", ENGINES)


def lit(engine: Engine, dem: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """Light on all of `dem`, ``(D, Y, X)``."""
    return engine(dem, PIXEL, (0, 0, *dem.shape)).lit(sun)


def outline(mask: np.ndarray, px: int = 1) -> np.ndarray:
    """Pixels within `px` of a border of the mask."""
    return ndimage.binary_dilation(mask, iterations=px) & ndimage.binary_dilation(~mask, iterations=px)


def gentle(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Hills whose heights are f(x) + g(y), in whole metres: each cell is flat, so its diagonal is nothing."""
    rng = np.random.default_rng(seed)
    f, g = (ndimage.gaussian_filter1d(rng.normal(0, 200, n), 3, mode="reflect") for n in shape)
    return (np.round(f)[:, None] + np.round(g)).astype(np.float32)


@every
def test_nothing_but_the_night_darkens_a_plane(engine: Engine) -> None:
    plane = np.full((40, 50), 812.5, np.float32)
    azimuth = np.arange(0, 360, 10.0)
    for elevation in (1e-3, 0.1, 5.0, 45.0, 89.9):
        assert lit(engine, plane, vectors(azimuth, elevation)).all()
    for elevation in (0.0, -1.0, -60.0):
        assert not lit(engine, plane, vectors(azimuth, elevation)).any()


@every
@pytest.mark.parametrize("azimuth", [90.0, 128.0, 45.0, 310.0])
def test_a_straight_step_casts_a_shadow_of_its_height(engine: Engine, azimuth: float) -> None:
    """The cliff's line lies across the light, at any angle to the grid: the shadow is height / tan long."""
    rows, cols = np.indices((90, 90)) - 44.5
    towards = np.sin(np.radians(azimuth)) * cols - np.cos(np.radians(azimuth)) * rows
    height, elevation, edge = 60.0, 14.0, 10.0
    dem = np.where(towards > edge, height, 0.0).astype(np.float32)
    length = height / np.tan(np.radians(elevation)) / PIXEL
    dark = (towards <= edge) & (towards > edge - length)
    found = ~lit(engine, dem, vectors(azimuth, elevation))[0]
    # Away from the borders of the map, from which a ray may not reach the cliff. Askew to the grid the
    # cliff's own outline is a staircase of pixels.
    inner = np.hypot(rows, cols) < 40
    assert dark[inner].sum() > 500
    assert not ((found != dark) & inner & ~outline(dark, 1 if azimuth % 45 == 0 else 2)).any()


@every
@pytest.mark.parametrize("slope_deg", [3.0, 20.0, 40.0])
def test_a_ramp_is_dark_until_the_sun_is_above_it(engine: Engine, slope_deg: float) -> None:
    rows, cols = np.indices((40, 40))
    azimuth = 37.0
    towards = np.sin(np.radians(azimuth)) * cols - np.cos(np.radians(azimuth)) * rows
    dem = (PIXEL * np.tan(np.radians(slope_deg)) * towards).astype(np.float32)
    below, above = lit(engine, dem, vectors(azimuth, [slope_deg - 0.05, slope_deg + 0.05]))
    assert not below[1:, :-1].any()  # the top and right borders see no more terrain
    assert above.all()
    assert lit(engine, dem, vectors(azimuth + 180, 0.05)).all()


@every
@pytest.mark.parametrize("azimuth", [270.0, 33.0])
def test_a_cone_casts_the_shadow_between_its_tangents(engine: Engine, azimuth: float) -> None:
    rows, cols = np.indices((161, 161)) - 80.0
    away, aside = np.radians(azimuth + 180), np.radians(azimuth + 90)
    along = np.sin(away) * cols - np.cos(away) * rows
    across = np.sin(aside) * cols - np.cos(aside) * rows
    height, radius, elevation = 20.0, 20.0, 17.0  # pixels
    dem = (PIXEL * np.clip(height * (1 - np.hypot(rows, cols) / radius), 0, None)).astype(np.float32)
    tip = height / np.tan(np.radians(elevation))
    half = np.arcsin(radius / tip)
    ground = np.hypot(rows, cols) > radius + 1  # the triangles at the base rise already
    dark = ground & (along > radius * np.sin(half)) & (np.abs(across) <= (tip - along) * np.tan(half))
    found = ~lit(engine, dem, vectors(azimuth, elevation))[0] & ground
    assert dark.sum() > 300
    assert not ((found != dark) & ground & ~outline(dark)).any()


@every
@pytest.mark.parametrize("depth", [0.2, 1.0])
@pytest.mark.parametrize("elevation", [10.0, 25.0, 50.0])
def test_a_bowl_is_dark_where_its_sphere_says(engine: Engine, depth: float, elevation: float) -> None:
    """A crater whose inside is part of a sphere; depth 1, in radii of the rim, is a hemisphere."""
    rows, cols = np.indices((141, 141)) - 70.0
    x, y, rim = cols, -rows, 60.0
    sphere = rim * (1 + depth**2) / (2 * depth)
    above = sphere - rim * depth  # the sphere's centre over the plain
    r = np.hypot(x, y)
    z = np.where(r < rim, above - np.sqrt(np.maximum(sphere**2 - r**2, 0)), 0.0)
    sun = vectors(200.0, elevation)
    # From q, seen from the centre, a ray leaves the sphere after -2 q.s: dark if that is below the plain.
    q = np.stack([x, y, z - above], axis=-1)
    dark = (r < rim) & (z - 2 * (q @ sun) * sun[2] < 0)
    found = ~lit(engine, (PIXEL * z).astype(np.float32), sun)[0]
    # A hemisphere's wall is upright at the rim: the mesh sets it back by up to a pixel.
    inside = (r < 0.9 * rim) & ~outline(dark, 2 if depth == 1 else 1)
    assert not ((found != dark) & inside).any()
    assert lit(engine, (PIXEL * z).astype(np.float32), sun)[0][r > rim + 1].all()


@every
def test_turns_and_mirrors_of_the_terrain_turn_and_mirror_the_light(engine: Engine) -> None:
    dem = gentle((60, 47), 2)
    azimuth = np.arange(0, 360, 24.0) + 5.0
    light = lit(engine, dem, vectors(azimuth, 10.0))
    assert 0.2 < light.mean() < 0.9
    cases = {
        "left to right": (dem[:, ::-1], -azimuth, lambda a: a[:, :, ::-1]),
        "top to bottom": (dem[::-1], 180 - azimuth, lambda a: a[:, ::-1]),
        "in the diagonal": (dem.T, 270 - azimuth, lambda a: a.transpose(0, 2, 1)),
        # np.rot90 turns counter-clockwise.
        **{
            f"{90 * k} degrees": (np.rot90(dem, k), azimuth - 90 * k, lambda a, k=k: np.rot90(a, -k, (1, 2)))
            for k in (1, 2, 3)
        },
    }
    for name, (other, turned, back) in cases.items():
        assert (
            back(lit(engine, np.ascontiguousarray(other), vectors(turned, 10.0))) == light
        ).mean() > 0.9995, name


@every
@pytest.mark.parametrize("shift", [(0, 7), (13, 0), (-5, -9), (20, -16)])
def test_moving_the_terrain_moves_the_light(engine: Engine, shift: tuple[int, int]) -> None:
    dem = np.zeros((90, 90), np.float32)
    dem[30:60, 30:60] = np.abs(gentle((30, 30), 7))
    sun = vectors(np.arange(0, 360, 30.0) + 2.0, 25.0)
    light = lit(engine, dem, sun)
    assert 0.02 < (~light).mean() < 0.6
    moved = lit(engine, np.roll(dem, shift, (0, 1)), sun)
    core = np.s_[:, 25:65, 25:65]
    same = (np.roll(moved, (-shift[0], -shift[1]), (1, 2))[core] == light[core]).mean()
    # The sweep's lines lie between other pixels now.
    assert same == 1 or (engine is SweepVisibility and same > 0.998)


@pytest.fixture(scope="module")
def traced_by_trimesh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hills, Suns and light of trimesh's own ray engine: no Embree, in double precision, on its own mesh."""
    rng = np.random.default_rng(11)
    dem = (25 * ndimage.gaussian_filter(rng.normal(0, 8, (40, 44)), 2)).astype(np.float32)
    rows, cols = np.indices(dem.shape)
    vertices = np.stack([cols, -rows, dem / PIXEL], axis=-1).reshape(-1, 3)
    index = np.arange(dem.size).reshape(dem.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, d, b), (a, c, d))])
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    sun = vectors(np.arange(3.0, 360.0, 24.0), 15.0)
    origins = vertices + np.array([0, 0, 1e-4])
    rays = RayMeshIntersector(mesh)
    free = [~rays.intersects_any(origins, np.broadcast_to(s, origins.shape)) for s in sun]
    return dem, sun, np.reshape(free, (len(sun), *dem.shape))


@every
@pytest.mark.xdist_group("trimesh")
def test_trimesh_sees_the_same(engine: Engine, traced_by_trimesh: tuple[np.ndarray, ...]) -> None:
    dem, sun, expected = traced_by_trimesh
    assert 0.2 < expected.mean() < 0.9
    assert (lit(engine, dem, sun) == expected).mean() >= (0.9999 if engine in EXACT else 0.999)


@every
def test_share_of_the_disc_is_the_area_above_a_straight_horizon(engine: Engine) -> None:
    dem = np.zeros((9, 400), np.float32)
    dem[:, 399] = 100.0
    seen = engine(dem, PIXEL, (4, 10, 1, 1))
    horizon = np.degrees(np.arctan(100.0 / (389 * PIXEL)))
    offset = np.linspace(-1.1, 1.1, 23)  # radii of the disc
    share = seen.share(vectors(90.0, horizon + offset * 0.2665), 0.533)[:, 0, 0]
    h = np.clip(offset, -1, 1)
    np.testing.assert_allclose(share, (np.arccos(-h) + h * np.sqrt(1 - h**2)) / np.pi, atol=1.6 / 32)
    assert share[0] == 0 and share[-1] == 1


def test_mean_lambert_radiance_of_a_cap_is_its_closed_form() -> None:
    """Over the disc below a cap of half-angle a, mean n.s = sin(elevation) 2/3 (1 - cos^3 a) / sin^2 a."""
    half, size = np.radians(35.0), 241
    radius = 100.0 / np.sin(half)  # pixels
    rows, cols = np.indices((size, size)) - (size - 1) / 2
    r = np.hypot(rows, cols)
    z = PIXEL * np.sqrt(np.maximum(radius**2 - r**2, 0))
    section = PhotometrySection(law="lambert", albedo=0.25)
    sun = vectors([20.0, 111.0, 250.0], [60.0, 60.0, 85.0])  # above the cap's steepest slope: no shadow
    for engine in ENGINES:
        assert lit(engine, z.astype(np.float32), sun)[:, r < 99].all()
    light = radiance(torch.from_numpy(z), PIXEL, torch.from_numpy(sun), None, section)
    mean = light[:, torch.from_numpy(r <= 100)].mean(1).numpy()
    closed = sun[:, 2] * 2 / 3 * (1 - np.cos(half) ** 3) / np.sin(half) ** 2
    np.testing.assert_allclose(mean, np.pi * 0.25 * closed, rtol=2e-3)


@every
@pytest.mark.parametrize("azimuth", [90.0, 20.0, 225.0])
def test_a_hill_takes_the_light_that_its_shadow_lacks(engine: Engine, azimuth: float) -> None:
    """Energy: what lands on lit ground, n.s a unit of its own area, is what crosses the level plane.

    The facing slopes take more than level ground does by just as much as the shadow takes less.
    """
    rows, cols = np.indices((240, 240)) - 119.5
    dem = PIXEL * 18 * np.exp(-(rows**2 + cols**2) / (2 * 12.0**2))  # slopes up to 42 degrees
    sun = vectors(azimuth, 15.0)
    slope_x, slope_y = (g.numpy() for g in surface_gradients(torch.from_numpy(dem), PIXEL))
    # n.s times the area of ground over a level pixel.
    taken = np.clip(sun[2] - slope_x * sun[0] - slope_y * sun[1], 0, None)
    light = lit(engine, dem.astype(np.float32), sun)[0]
    assert (~light & (taken > 0)).sum() > 500  # a cast shadow, not only slopes that look away
    excess = (taken - sun[2])[light].sum()
    shadow = sun[2] * (~light).sum()
    assert excess == pytest.approx(shadow, rel=0.02)
    # Without its cast shadow the hill would take too much.
    assert (taken - sun[2])[taken > 0].sum() > 1.5 * sun[2] * (taken == 0).sum()


def clear(dem: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """Pixels whose answer is not a matter of rounding: no grazing ray, none that leaves along the border."""
    horizon = HorizonVisibility(dem, PIXEL, (0, 0, *dem.shape)).horizon([azimuth])[0]
    sure = np.abs(horizon - np.tan(np.radians(elevation))) > 2e-4
    sure[[0, -1]] = sure[:, [0, -1]] = False
    return sure


# Slopes of up to some 70 degrees: on needles rays of Embree can meet the triangle that they leave.
terrains = st.builds(
    lambda seed, rows, cols, smooth: ndimage.gaussian_filter(
        np.random.default_rng(seed).normal(0, 40, (rows, cols)), smooth
    ).astype(np.float32),
    st.integers(0, 2**32 - 1),
    st.integers(3, 24),
    st.integers(3, 24),
    st.sampled_from([0.8, 1.5, 3.0]),
)
azimuths = st.floats(0, 360).map(lambda a: round(a, 3))
elevations = st.floats(0.5, 70)


@settings(max_examples=40, deadline=None)
@given(terrains, azimuths, elevations, st.integers(0, 2**32 - 1))
def test_more_terrain_never_lights_a_pixel(dem, azimuth, elevation, seed) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    more = rng.random(dem.shape) < 0.15
    raised = dem + np.where(more, rng.uniform(0, 40, dem.shape), 0).astype(np.float32)
    sure = clear(dem, azimuth, elevation) & clear(raised, azimuth, elevation) & ~more
    for engine in ENGINES:
        before, after = (lit(engine, z, vectors(azimuth, elevation))[0] for z in (dem, raised))
        assert not (after & ~before & sure).any(), engine


@settings(max_examples=40, deadline=None)
@given(terrains, azimuths, elevations, st.floats(0.01, 20))
def test_a_higher_sun_never_darkens_a_pixel(dem, azimuth, elevation, higher) -> None:  # type: ignore[no-untyped-def]
    sure = clear(dem, azimuth, elevation) & clear(dem, azimuth, elevation + higher)
    for engine in ENGINES:
        low, high = lit(engine, dem, vectors(azimuth, [elevation, elevation + higher]))
        assert not (low & ~high & sure).any(), engine


@settings(max_examples=60, deadline=None)
@given(terrains, azimuths, elevations)
def test_the_engines_agree(dem, azimuth, elevation) -> None:  # type: ignore[no-untyped-def]
    sun = vectors(azimuth, elevation)
    embree, exact, sweep = (lit(engine, dem, sun)[0] for engine in ENGINES)
    sure = clear(dem, azimuth, elevation)
    np.testing.assert_array_equal(embree[sure], exact[sure])
    assert (sweep != exact).sum() <= max(4, 0.03 * dem.size)
