"""Shift-and-max horizons: against analytic shadows, a float64 reference, trimesh and Embree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from trimesh.ray.ray_triangle import RayMeshIntersector

from pipeline.illumination.directions import fibonacci_directions, fixed_directions, vectors
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.horizon import HorizonVisibility


def reference(dem: np.ndarray, pixel_m: float, azimuth_deg: float) -> np.ndarray:
    """The horizon's tangent at every vertex, from the definition, in float64: (Y, X), 0 at least."""
    z = dem.astype(np.float64)
    rows, cols = np.indices(z.shape)
    meshed = np.full(z.shape, np.nan)  # only vertices of complete triangles stand in the way
    for r, c in np.ndindex(z.shape[0] - 1, z.shape[1] - 1):
        for third in ((r, c + 1), (r + 1, c)):
            triangle = tuple(np.transpose([(r, c), third, (r + 1, c + 1)]))
            if np.isfinite(z[triangle]).all():
                meshed[triangle] = z[triangle]
    east, south = np.sin(np.radians(azimuth_deg)), -np.cos(np.radians(azimuth_deg))

    def at(r: np.ndarray, c: np.ndarray) -> np.ndarray:
        there = (r >= 0) & (r < z.shape[0]) & (c >= 0) & (c < z.shape[1])
        return np.where(there, meshed[r.clip(0, z.shape[0] - 1), c.clip(0, z.shape[1] - 1)], np.nan)

    best = np.where(np.isfinite(z), 0.0, np.nan)
    for family, rate in (("column", east), ("row", south), ("diagonal", east - south)):
        if abs(rate) < 1e-12:
            continue
        for k in range(1, 2 * sum(z.shape)):
            way = k / abs(rate)
            r, c = way * south, way * east
            # The edge from the vertex before the crossing to the one after it.
            along = c if family == "row" else r
            whole = int(np.floor(along + 1e-9))
            part = along - whole
            step = {"column": (1, 0), "row": (0, 1), "diagonal": (1, 1)}[family]
            if family == "row":
                r0, c0 = round(r), whole
            elif family == "column":
                r0, c0 = whole, round(c)
            else:
                r0, c0 = whole, whole + k * int(np.sign(rate))
            if max(abs(r0), abs(c0)) > max(z.shape):
                break
            height = at(rows + r0, cols + c0)
            if part > 1e-9:
                height = (1 - part) * height + part * at(rows + r0 + step[0], cols + c0 + step[1])
            best = np.fmax(best, np.where(np.isfinite(best), (height - z) / (way * pixel_m), np.nan))
    return best


def hills(shape: tuple[int, int], seed: int, relief: float = 60.0, smooth: float = 2.0) -> np.ndarray:
    """Random terrain, float32 m, with hills at several scales."""
    rng = np.random.default_rng(seed)
    dem = sum(
        scale * ndimage.gaussian_filter(rng.normal(size=shape), scale * smooth, mode="reflect") * scale
        for scale in (1, 2, 4)
    )
    return (relief * dem).astype(np.float32)


def whole(dem: np.ndarray, pixel_m: float = 10.0) -> HorizonVisibility:
    return HorizonVisibility(dem, pixel_m, (0, 0, *dem.shape))


def near_edges(mask: np.ndarray, px: int = 1) -> np.ndarray:
    return ndimage.binary_dilation(mask, iterations=px) & ndimage.binary_dilation(~mask, iterations=px)


def test_flat_plane_is_lit_by_any_risen_sun() -> None:
    plane = whole(np.full((21, 30), -1234.5, np.float32))
    azimuth = np.arange(0, 360, 15.0)
    assert plane.lit(vectors(azimuth, 1e-3)).all()
    assert not plane.lit(vectors(azimuth, 0.0)).any()
    assert not plane.lit(vectors(azimuth, -5.0)).any()
    assert plane.lit([[0, 0, 1]]).all()
    assert (plane.horizon(azimuth) == 0).all()


@pytest.mark.parametrize("azimuth", [0, 90, 180, 270])
@pytest.mark.parametrize("elevation", [3.0, 12.0, 40.0])
def test_step_casts_shadow_of_its_height(azimuth: int, elevation: float) -> None:
    dem = np.zeros((40, 40), np.float32)
    dem[:, 30:] = 50.0
    turned = np.rot90(dem, k=(90 - azimuth) // 90)  # the wall stands towards the Sun
    lit = np.rot90(whole(turned).lit(vectors(azimuth, elevation))[0], k=-((90 - azimuth) // 90))
    dark = 30 - np.arange(40) <= 50.0 / 10.0 / np.tan(np.radians(elevation))
    expected = ~dark | (np.arange(40) >= 30)
    assert (lit == expected).all()


def test_ramp_is_lit_from_above_its_slope_only() -> None:
    rows, cols = np.indices((32, 32))
    azimuth, slope = 37.0, 0.3
    rise = np.sin(np.radians(azimuth)) * cols - np.cos(np.radians(azimuth)) * rows
    ramp = whole((10.0 * slope * rise).astype(np.float32))
    towards, away = ramp.horizon([azimuth, azimuth + 180.0])
    assert np.allclose(towards[1:, :-1], slope, atol=1e-5)  # the top and right borders see no more terrain
    assert (away == 0).all()
    angle = np.degrees(np.arctan(slope))
    assert not ramp.lit(vectors(azimuth, angle - 0.01))[0, 1:, :-1].any()
    assert ramp.lit(vectors(azimuth, angle + 0.01)).all()


def test_cone_casts_shadow_between_its_tangents() -> None:
    rows, cols = np.indices((121, 161))
    x, y = cols - 40.0, 60.0 - rows
    height, radius = 20.0, 20.0  # pixels: slope 1
    dem = np.maximum(height * (1 - np.hypot(x, y) / radius), 0).astype(np.float32)
    elevation = 14.0
    lit = whole(dem, 1.0).lit(vectors(270.0, elevation))[0]
    tip = height / np.tan(np.radians(elevation))
    half = np.arcsin(radius / tip)
    ground = np.hypot(x, y) > radius
    beyond_tangency = x > radius * np.sin(half)
    dark = ground & beyond_tangency & (x <= tip) & (np.abs(y) <= (tip - x) * np.tan(half))
    differ = (lit == dark) & ground & ~near_edges(dark)
    assert not differ.any()
    along = ~lit[60, 40 + 21 :]
    assert along.sum() == pytest.approx(tip - 20, abs=1)


@pytest.mark.parametrize("depth_share", [0.2, 0.5])
@pytest.mark.parametrize("elevation", [10.0, 25.0])
def test_crater_shadow_is_that_of_a_spherical_bowl(depth_share: float, elevation: float) -> None:
    rows, cols = np.indices((141, 141))
    x, y = cols - 70.0, 70.0 - rows
    rim = 60.0
    depth = depth_share * 2 * rim  # 0.5: a hemisphere
    sphere = (rim**2 + depth**2) / (2 * depth)
    r = np.hypot(x, y)
    floor = -np.sqrt(np.maximum(sphere**2 - r**2, 0)) + (sphere - depth)
    dem = np.where(r < rim, floor, 0.0)
    sun = vectors(200.0, elevation)
    # A ray in the bowl leaves the sphere after -2 q.s, q from the centre: it is lit if that is above ground.
    q = np.stack([x, y, dem - (sphere - depth)], axis=-1)
    dark = (r < rim) & (dem - 2 * (q @ sun) * sun[2] < 0)
    lit = whole(dem.astype(np.float32), 1.0).lit(sun)[0]
    inside = (r < 0.9 * rim) & ~near_edges(dark)
    assert not ((lit == dark) & inside).any()
    assert 0.1 < dark[r < rim].mean() < 0.98


def test_transposed_and_turned_terrain_turn_the_light() -> None:
    dem = hills((48, 48), 3)
    azimuth = np.arange(0, 360, 30.0) + 4.0
    lit = whole(dem).lit(vectors(azimuth, 12.0))
    assert 0.2 < lit.mean() < 0.95
    # Both keep the cells' diagonals: the same mesh.
    transposed = whole(dem.T).lit(vectors(270.0 - azimuth, 12.0))
    assert (transposed.transpose(0, 2, 1) == lit).mean() > 0.9999
    turned = whole(dem[::-1, ::-1]).lit(vectors(azimuth + 180.0, 12.0))
    assert (turned[:, ::-1, ::-1] == lit).mean() > 0.9999
    # A quarter turn exchanges the diagonals: nearly the same surface.
    quarter = whole(np.rot90(dem)).lit(vectors(azimuth - 90.0, 12.0))
    assert (np.rot90(quarter, -1, axes=(1, 2)) == lit).mean() > 0.97


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 26),
    cols=st.integers(2, 26),
    seed=st.integers(0, 2**32 - 1),
    azimuth=st.one_of(st.floats(0, 360), st.sampled_from([0.0, 45.0, 90.0, 135.0, 225.0, 315.0])),
    holes=st.booleans(),
    data=st.data(),
)
def test_horizon_equals_float64_reference(rows, cols, seed, azimuth, holes, data) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    dem = rng.normal(0, 20, (rows, cols)).astype(np.float32)
    known = np.ones((rows, cols), bool)
    if holes:
        known[rng.integers(rows) :, rng.integers(cols) :] = False
        known[0, 0] = known[0, 1] = known[1, 1] = True
    dem[~known] = np.nan
    top = data.draw(st.integers(0, rows - 1))
    left = data.draw(st.integers(0, cols - 1))
    inner = (top, left, data.draw(st.integers(1, rows - top)), data.draw(st.integers(1, cols - left)))
    part = np.s_[top : top + inner[2], left : left + inner[3]]
    azimuth = round(azimuth, 4)
    expected = reference(dem, 10.0, azimuth)[part]
    if not np.isfinite(expected).any():
        return
    visibility = HorizonVisibility(dem, 10.0, inner)
    assert np.allclose(visibility.horizon([azimuth])[0], expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    elevations = np.array([2.0, 20.0, 60.0])
    lit = visibility.lit(vectors(azimuth, elevations))
    for tangent, light in zip(np.tan(np.radians(elevations)), lit, strict=True):
        clear = ~(np.abs(expected - tangent) < 1e-4)
        assert (light == (expected < tangent))[clear].all()


@pytest.mark.parametrize("holes", [False, True])
def test_small_mesh_agrees_with_trimesh(holes: bool) -> None:
    dem = hills((40, 44), 11)
    if holes:
        dem[5:9, 20:26] = np.nan
        dem[30:, 40:] = np.nan
    rows, cols = np.indices(dem.shape)
    vertices = np.stack([cols, -rows, np.nan_to_num(dem) / 10.0], axis=-1).reshape(-1, 3).astype(np.float64)
    index = np.arange(dem.size).reshape(dem.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, d, b), (a, c, d))])
    faces = faces[np.isfinite(dem).ravel()[faces].all(axis=1)]
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    sun = vectors(np.arange(3.0, 360.0, 36.0), 9.0)
    lit = whole(dem).lit(sun)
    known = np.isfinite(dem)
    origins = vertices[known.ravel()] + (0, 0, 1e-4)
    rays = RayMeshIntersector(mesh)  # trimesh's own, no Embree
    free = ~np.array([rays.intersects_any(origins, np.broadcast_to(s, origins.shape)) for s in sun])
    if holes:
        # A sheet of triangles lets a ray in under the far rim of a hole; solid ground does not.
        assert free[lit[:, known]].mean() >= 0.9999
        assert (lit[:, known] == free).mean() >= 0.99
    else:
        assert (lit[:, known] == free).mean() >= 0.9999
    assert not lit[:, ~known].any()


@pytest.mark.parametrize("halo", [0, 32, 96])
def test_real_patch_agrees_with_embree(shared_data: Path, halo: int) -> None:
    with rasterio.open(shared_data / "lola_40m" / "amundsen_rim_40m.tif") as source:
        dem = source.read(1)[200 - halo : 296 + halo, 200 - halo : 296 + halo]
    own, present = fibonacci_directions(30, 3.0, np.random.default_rng(5))
    sun = np.concatenate([fixed_directions()[::4], own[present]])
    inner = (halo, halo, 96, 96)
    agree = HorizonVisibility(dem, 40.0, inner).lit(sun) == EmbreeVisibility(dem, 40.0, inner).lit(sun)
    assert agree.mean() >= 0.9999


def test_curvature_agrees_with_embree_and_hides_what_is_far() -> None:
    dem = hills((64, 64), 8, relief=4000.0)
    inner = (24, 24, 16, 16)
    sun = vectors(np.arange(0, 360, 20.0), 6.0)
    bent = HorizonVisibility(dem, 5000.0, inner, curvature=True)
    assert (bent.lit(sun) == EmbreeVisibility(dem, 5000.0, inner, curvature=True).lit(sun)).mean() >= 0.999
    assert (bent.lit(sun) != HorizonVisibility(dem, 5000.0, inner).lit(sun)).any()


def test_light_passes_a_hole_in_a_wall() -> None:
    dem = np.zeros((30, 40), np.float32)
    dem[:, 20:22] = 100.0
    dem[10:16, 18:24] = np.nan
    lit = whole(dem).lit(vectors(90.0, 10.0))[0]
    assert not lit[:10, :20].any()
    assert lit[10:16, :17].all()
    assert not lit[10:16, 18:24].any()  # no data, no light
    assert lit[:, 24:].all()


@pytest.mark.parametrize("disc_deg", [0.533, 5.0])
def test_share_is_the_area_above_a_straight_horizon(disc_deg: float) -> None:
    dem = np.zeros((9, 40), np.float32)
    dem[:, 39] = 100.0
    wall = HorizonVisibility(dem, 10.0, (4, 10, 1, 1))
    angle = np.degrees(np.arctan(100.0 / 290.0))
    radius = disc_deg / 2
    offset = np.linspace(-1.2, 1.2, 25)
    share = wall.share(vectors(90.0, angle + offset * radius), disc_deg)[:, 0, 0]
    y = (np.arange(20000) + 0.5) / 10000 - 1
    chord = np.sqrt(1 - y**2)
    expected = [chord[y > -o].sum() / chord.sum() for o in offset]
    assert np.allclose(share, expected, atol=2e-4)
    assert share[0] == 0 and share[-1] == 1


@pytest.mark.parametrize("u", [0.25, 0.6, 1.0])
def test_share_of_a_darkened_disc_is_its_light_above_a_level_horizon(u: float) -> None:
    """The closed form against quadrature over the disc, at a disc cut anywhere; u = 0 is the uniform disc."""
    plane = whole(np.zeros((8, 8), np.float32))
    heights = np.linspace(-1.1, 1.1, 23)
    suns = vectors(10.0, heights * 0.25)
    share = plane.share(suns, 0.5, u)[:, 0, 0]
    # Chords: over x from -1 to 1, the light of the chord's points by their distance from the centre.
    x = (np.arange(2000) + 0.5) / 1000 - 1
    across = ((np.arange(2000) + 0.5) / 1000 - 1)[:, None] * np.sqrt(1 - x**2)
    light = (1 - u * (1 - np.sqrt(np.clip(1 - x**2 - across**2, 0, 1)))).mean(axis=0) * np.sqrt(1 - x**2)
    expected = [light[x > -h].sum() / light.sum() for h in heights]
    np.testing.assert_allclose(share, expected, atol=1.2e-3)
    np.testing.assert_allclose(share + share[::-1], 1, atol=1e-5)
    np.testing.assert_array_equal(plane.share(suns, 0.5, 0.0), plane.share(suns, 0.5))
    assert (share < plane.share(suns, 0.5)[:, 0, 0])[(heights > -1) & (heights < -0.01)].all()
    assert HorizonVisibility(np.zeros((4, 4)), 10.0, slice(0, 4)).share([[0, 0, 1]], 0.5, u).min() == 1
    with pytest.raises(ValueError, match=r"limb_darkening: expected a share within \[0, 1\], found -1"):
        plane.share(suns, 0.5, -1)


def test_share_on_a_plane_counts_what_has_risen() -> None:
    plane = whole(np.zeros((8, 8), np.float32))
    share = plane.share(vectors(10.0, [-0.3, -0.1, 0.0, 0.1, 0.3]), 0.533)[:, 0, 0]
    assert share[0] == 0 and share[4] == 1
    assert share[2] == pytest.approx(0.5, abs=1e-6)
    assert share[1] + share[3] == pytest.approx(1, abs=1e-6)


def test_share_agrees_with_embree_on_hills() -> None:
    dem = hills((56, 56), 21)
    inner = (8, 8, 40, 40)
    sun = vectors(np.arange(0.0, 360.0, 45.0) + 7.0, 8.0)
    share = HorizonVisibility(dem, 10.0, inner).share(sun, 0.533)
    traced = EmbreeVisibility(dem, 10.0, inner).share(sun, 0.533)
    partial = (traced > 0) & (traced < 1)
    assert partial.sum() > 50
    assert np.abs(share - traced)[partial].mean() < 0.05
    assert np.abs(share - traced).mean() < 0.001


def test_result_does_not_depend_on_company_dtype_or_threads() -> None:
    dem = hills((70, 61), 4)
    inner = (9, 8, 45, 50)
    visibility = HorizonVisibility(dem, 10.0, inner)
    sun = fixed_directions()
    together = visibility.lit(sun)
    assert 0.3 < together.mean() < 0.99
    assert all(
        (visibility.lit(s)[0] == light).all() for s, light in zip(sun[::7], together[::7], strict=True)
    )
    assert (visibility.lit(sun.astype(np.float32)) == together).mean() > 0.99999
    with ThreadPoolExecutor(2) as pool:
        for light in pool.map(lambda _: HorizonVisibility(dem, 10.0, inner).lit(sun), range(4)):
            assert (light == together).all()
    # The horizon itself decides the same.
    tangent = np.tan(np.radians(5.0))
    azimuth = np.arange(0.0, 360.0, 5.0)
    horizon = visibility.horizon(azimuth)
    assert ((horizon < np.float32(tangent)) == visibility.lit(vectors(azimuth, 5.0))).mean() > 0.99999
    assert (visibility.horizon(azimuth, floor=0.2) == np.maximum(horizon, np.float32(0.2))).all()


def test_errors_name_what_was_found() -> None:
    dem = np.zeros((8, 8), np.float32)
    with pytest.raises(ValueError, match=r"inner: expected a window inside \(8, 8\)"):
        HorizonVisibility(dem, 10.0, (0, 0, 9, 8))
    with pytest.raises(ValueError, match="pixel_m: expected a positive number, found 0"):
        HorizonVisibility(dem, 0, (0, 0, 8, 8))
    with pytest.raises(ValueError, match="inner: expected elevations, found none among the 8 x 8 pixels"):
        HorizonVisibility(np.full((8, 8), np.nan), 10.0, (0, 0, 8, 8))
    good = HorizonVisibility(dem, 10.0, slice(0, 8))
    with pytest.raises(ValueError, match=r"sun: expected vectors of shape \(D, 3\)"):
        good.lit(np.ones((2, 2)))
    with pytest.raises(ValueError, match="sun: expected finite vectors other than zero"):
        good.lit([[0, 0, 0]])
    with pytest.raises(ValueError, match="disc_deg: expected a diameter"):
        good.share([[0, 0, 1]], 0)
    with pytest.raises(ValueError, match="floor: expected a tangent of at least 0, found -1"):
        good.horizon([0.0], floor=-1)
