"""Ray-traced visibility against closed forms and other engines."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import trimesh
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trimesh.ray.ray_pyembree import RayMeshIntersector

from pipeline.illumination.directions import fixed_directions, vectors
from pipeline.illumination.embree import EmbreeVisibility, _mesh
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.surface import disc_directions, disc_radii, window
from pipeline.illumination.sweep import SweepVisibility

PIXEL = 20.0


def whole(dem: np.ndarray, pixel_m: float = PIXEL, **options: bool) -> EmbreeVisibility:
    return EmbreeVisibility(dem, pixel_m, (0, 0, *dem.shape), **options)


def rough(rng: np.random.Generator, rows: int, columns: int, relief: float = 15.0) -> np.ndarray:
    """Terrain with slopes up to some tens of degrees."""
    noise = rng.normal(0, relief, (rows, columns))
    return (noise + 0.3 * np.cumsum(noise, axis=0) + 0.3 * np.cumsum(noise, axis=1)).astype(np.float32)


def test_flat_plane_is_lit_whenever_the_sun_is_up():
    visibility = whole(np.full((9, 12), 1234.5, np.float32))
    up = visibility.lit(vectors([0, 33, 90, 200, 315, 10], [1e-3, 0.01, 1, 20, 60, 90]))
    assert up.shape == (6, 9, 12) and up.all()
    assert not visibility.lit(vectors([0, 120, 240], [0, -1e-3, -30])).any()
    assert visibility.lit(np.zeros((0, 3))).shape == (0, 9, 12)


def test_ramp_is_lit_above_its_own_slope():
    """Rising to the east by 20 degrees: a Sun in the east must stand above that; one in the west need not."""
    dem = np.tile(np.arange(16) * PIXEL * np.tan(np.radians(20)), (11, 1))
    lit = whole(dem).lit(vectors([90, 90, 270, 0, 180], [19.9, 20.1, 0.5, 0.5, 0.5]))
    assert not lit[0, :, :-1].any()  # the last column has nothing to its east
    assert lit[0, :, -1].all() and lit[1:].all()


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("elevation", [5.0, 12.0, 30.0])
def test_step_casts_a_shadow_of_height_over_tangent(turns, elevation):
    """A wall to the east, and the same scene turned by multiples of 90 degrees with its Sun."""
    height, edge = 100.0, 30
    dem = np.where(np.arange(40)[None, :] >= edge, height, 0.0).repeat(40, axis=0)
    distance = (edge - np.arange(40)) * PIXEL  # to the wall's top edge
    expected = ~((distance > 0) & (distance * np.tan(np.radians(elevation)) < height))
    # rot90 turns the map counter-clockwise, which lowers azimuths by 90.
    lit = whole(np.rot90(dem, turns)).lit(vectors([90.0 - 90 * turns], elevation))[0]
    np.testing.assert_array_equal(np.rot90(lit, -turns), np.tile(expected, (40, 1)))


def test_cone_shadow_has_the_closed_form_area():
    """Outside its base: the tangents' kite less a sector, R sqrt(L^2 - R^2) - R^2 acos(R / L)."""
    size, radius, height, elevation = 160, 20.0, 12.0, 12.0  # pixels
    rows, columns = np.mgrid[:size, :size] - 80.0
    distance = np.hypot(rows, columns)
    dem = PIXEL * height * np.clip(1 - distance / radius, 0, None)
    length = height / np.tan(np.radians(elevation))
    area = radius * np.sqrt(length**2 - radius**2) - radius**2 * np.arccos(radius / length)
    for azimuth in (0.0, 45.0, 130.0, 260.0):
        dark = ~whole(dem).lit(vectors([azimuth], elevation))[0]
        outside = dark & (distance > radius)
        assert outside.sum() == pytest.approx(area, rel=0.06)
        # It points away from the Sun: the tip lies at the azimuth's opposite.
        tip = np.argmax(np.where(outside, distance, 0))
        east, north = columns.flat[tip], -rows.flat[tip]
        assert np.degrees(np.arctan2(east, north)) % 360 == pytest.approx((azimuth + 180) % 360, abs=3)
        assert np.hypot(east, north) == pytest.approx(length, abs=2)


def test_symmetries_of_the_mesh():
    """The mesh maps to itself under half a turn and reflection in the diagonal; offsets change nothing."""
    rng = np.random.default_rng(5)
    dem = np.round(rough(rng, 32, 32))  # whole metres: shifting them rounds nothing
    azimuth, elevation = rng.uniform(0, 360, 24), rng.uniform(2, 40, 24)
    lit = whole(dem).lit(vectors(azimuth, elevation))
    assert 0.1 < lit.mean() < 0.95
    turned = whole(dem[::-1, ::-1]).lit(vectors(azimuth + 180, elevation))[:, ::-1, ::-1]
    # Transposing swaps right with down: azimuth A becomes 270 - A.
    flipped = whole(dem.T).lit(vectors(270 - azimuth, elevation)).transpose(0, 2, 1)
    raised = whole(dem - 4096).lit(vectors(azimuth, elevation))
    for other in (turned, flipped, raised):
        assert (other != lit).mean() < 1e-4
    doubled = whole(2 * dem, 2 * PIXEL).lit(vectors(azimuth, elevation))
    np.testing.assert_array_equal(doubled, lit)


def _hits(origins: np.ndarray, direction: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Moeller and Trumbore's test of every ray against every triangle, in double precision."""
    a, ab, ac = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    p = np.cross(direction, ac)
    inverse = 1 / np.einsum("ti,ti->t", ab, p)
    s = origins[:, None, :] - a
    u = np.einsum("rti,ti->rt", s, p) * inverse
    q = np.cross(s, ab)
    v = (q @ direction) * inverse
    t = np.einsum("rti,ti->rt", q, ac) * inverse
    return ((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)).any(axis=1)


# Azimuths along mesh edges, where a ray borders on two triangles, and across the cells.
azimuths = st.one_of(st.floats(0, 360), st.sampled_from(np.arange(0.0, 360.0, 45.0).tolist()))


@settings(max_examples=90, deadline=None)
@given(st.integers(0, 2**32 - 1), azimuths, st.floats(0.5, 80), st.booleans())
@example(seed=25465443, azimuth=0.0, elevation=1.0, holes=True)  # an edge that no triangle contains
def test_agrees_with_brute_force(seed, azimuth, elevation, holes):
    rng = np.random.default_rng(seed)
    dem = rough(rng, 14, 11, relief=rng.uniform(1, 20))
    if holes:
        dem[rng.random(dem.shape) < 0.05] = np.nan
    top, left, height, width = inner = (3, 2, 7, 6)
    if np.isnan(dem[top : top + height, left : left + width]).all():
        return
    lit = EmbreeVisibility(dem, PIXEL, inner).lit(vectors([azimuth], elevation))[0]
    z = dem.astype(float) / PIXEL
    rows, columns = np.indices(z.shape)
    points = np.stack([columns, -rows, z], -1)
    top_left, top_right, low_left, low_right = (
        points[:-1, :-1],
        points[:-1, 1:],
        points[1:, :-1],
        points[1:, 1:],
    )
    triangles = np.concatenate(
        [
            np.stack(t, -2).reshape(-1, 3, 3)
            for t in ((top_left, low_left, low_right), (top_left, low_right, top_right))
        ]
    )
    triangles = triangles[np.isfinite(triangles).all(axis=(1, 2))]
    origins = points[top : top + height, left : left + width].reshape(-1, 3)
    solid = np.isfinite(origins[:, 2])
    # Where moving the ray a little changes the answer, the case is a tie and either answer is right.
    steps = [(0, 0, 1e-7), (0, 0, 1e-3), *((x, y, 1e-3) for x in (-1e-4, 1e-4) for y in (-1e-4, 1e-4))]
    results = np.array([~_hits(origins + step, vectors(azimuth, elevation), triangles) for step in steps])
    clear = (results == results[0]).all(axis=0)
    np.testing.assert_array_equal(lit.ravel()[clear], (results[0] & solid)[clear])
    assert clear.mean() > 0.5


def test_terrain_of_the_halo_casts_shadows_and_gaps_do_not():
    dem = np.zeros((30, 60), np.float32)
    dem[:, 45:] = 200.0
    sun = vectors([90.0], 10.0)
    inner = (10, 10, 10, 10)
    assert not EmbreeVisibility(dem, PIXEL, inner).lit(sun).any()
    alone = dem[10:20, 10:20]
    assert whole(alone).lit(sun).all()
    dem[:, 30:] = np.nan
    assert EmbreeVisibility(dem, PIXEL, inner).lit(sun).all()
    dem[15, 15] = np.nan
    lit = EmbreeVisibility(dem, PIXEL, inner).lit(sun)[0]
    assert not lit[5, 5] and lit.sum() == 99


# Neighbours of a vertex in the order in which its six triangles follow each other: (right, down).
RING = ((1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1))


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("sides", [(), (-1,), (1,), (-1, 1)])
def test_an_edge_hides_the_sun_where_a_triangle_holds_it(place, sides):
    """A high neighbour on the ray along an edge, with triangles on neither, either and both of its sides."""
    dem = np.full((7, 7), np.nan, np.float32)
    dem[3, 3] = 0.0
    right, down = RING[place]
    dem[3 + down, 3 + right] = 100.0
    for side in sides:
        dem[3 + RING[(place + side) % 6][1], 3 + RING[(place + side) % 6][0]] = 0.0
    lit = whole(dem).lit([[right, -down, 0.01]])[0]
    assert lit[3, 3] == (not sides)


def test_a_zenith_sun_lights_terrain_with_holes():
    """All of it, whether it is the first Sun asked for or not."""
    dem = rough(np.random.default_rng(3), 12, 12)
    dem[4:6, 7] = np.nan
    alone = whole(dem).lit([[0, 0, 1]])[0]
    np.testing.assert_array_equal(alone, np.isfinite(dem))
    np.testing.assert_array_equal(whole(dem).lit([[0, 0.3, 0.2], [0, 0, 1]])[1], alone)
    assert (whole(dem).share([[0, 0, 1]], 0.5)[0] == np.isfinite(dem)).all()


def test_curvature_hides_a_distant_ridge():
    """A 400 m ridge 30 km away stands 141 m above the tangent plane once the Moon curves by 259 m."""
    dem = np.zeros((5, 80), np.float32)
    dem[:, 32] = 400.0
    inner = (0, 0, 5, 5)
    sun = vectors([90, 90, 90], np.degrees(np.arctan([0.20 / 30, 0.30 / 30, 0.45 / 30])))
    straight = EmbreeVisibility(dem, 1000.0, inner).lit(sun)[:, 2, 2]
    bent = EmbreeVisibility(dem, 1000.0, inner, curvature=True).lit(sun)[:, 2, 2]
    assert straight.tolist() == [False, False, True]
    assert bent.tolist() == [True, True, True]
    low = vectors([90], np.degrees(np.arctan(0.13 / 30)))
    assert not EmbreeVisibility(dem, 1000.0, inner, curvature=True).lit(low)[0, 2, 2]


def _real_patch(shared_data, halo: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    with rasterio.open(shared_data / "lola_40m" / "shackleton_rim_40m.tif") as source:
        dem = source.read(1)
    return dem[200 - halo : 296 + halo, 200 - halo : 296 + halo], (halo, halo, 96, 96)


def test_real_patch_agrees_with_trimeshs_embree(shared_data):
    """Every fixed direction of the lowest ring and some of the others, with 32 px of halo."""
    dem, inner = _real_patch(shared_data, 32)
    visibility = EmbreeVisibility(dem, 40.0, inner)
    sun = np.concatenate([fixed_directions()[:72:2], fixed_directions()[72::40]])
    lit = visibility.lit(sun)
    vertices, faces = _mesh(visibility._z, inner, -1e9)
    # Unscaled: by default trimesh rescales the mesh, which rounds its coordinates to other numbers.
    engine = RayMeshIntersector(trimesh.Trimesh(vertices, faces, process=False), scale_to_box=False)
    origins = visibility.origins
    for direction, found in zip(sun, lit):
        hit = engine.intersects_any(origins, np.broadcast_to(direction, origins.shape))
        np.testing.assert_array_equal(found.ravel(), ~hit)


@pytest.mark.parametrize("halo", [16, 96])
def test_shortcuts_change_no_answer(shared_data, halo):
    """Leaving out rays and triangles gives what plain Embree gives over the whole mesh."""
    dem, inner = _real_patch(shared_data, halo)
    visibility = EmbreeVisibility(dem, 40.0, inner)
    sun = np.concatenate([fixed_directions()[::9], vectors([10, 77, 301], [0.3, 1.0, 2.0])]).astype(
        np.float32
    )
    scene = EmbreeScene()
    TriangleMesh(scene, *_mesh(visibility._z, inner, -1e9))
    for some in (sun[:40], sun):  # the second call needs lower triangles than the first
        plain = [scene.run(visibility.origins, s[None], query="OCCLUDED") == -1 for s in some]
        np.testing.assert_array_equal(visibility.lit(some).reshape(len(some), -1), plain)


def test_shortcuts_change_no_answer_beside_holes(shared_data):
    """Suns along and across the mesh's edges, over real terrain with holes of one pixel and of many.

    Rays along the very border of the mesh may be decided either way: where those beside a ray disagree.
    """
    dem, inner = _real_patch(shared_data, 16)
    rng = np.random.default_rng(8)
    dem = np.where(rng.random(dem.shape) < 0.04, np.nan, dem)
    dem[40:60, 30:35] = np.nan
    visibility = EmbreeVisibility(dem, 40.0, inner)
    scene = EmbreeScene()
    TriangleMesh(scene, *_mesh(visibility._z, inner, -1e9))
    solid = np.isfinite(visibility._patch).ravel()

    def plain(sun):
        clear = np.zeros(len(solid), bool)
        clear[solid] = scene.run(visibility.origins[solid], sun[None], query="OCCLUDED") == -1
        return clear

    level = np.array([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]], np.float32)
    exact = [np.append(way, np.float32(up * np.hypot(*way))) for way in level for up in (0.03, 0.12, 0.3)]
    sun = np.concatenate([exact, vectors(np.arange(0, 360, 15), 6.0)]).astype(np.float32)
    away = 0
    for direction, lit in zip(sun, visibility.lit(sun).reshape(len(sun), -1), strict=True):
        aside = np.array([-direction[1], direction[0], 0], np.float32) * np.float32(2e-5)
        found = [plain(direction + shift) for shift in (0 * aside, aside, -aside)]
        sure = np.all(found == found[0], axis=0)
        assert sure.mean() > 0.98
        np.testing.assert_array_equal(lit[sure], found[0][sure])
        away += (solid & visibility._facing_away(direction).ravel()).sum()
    assert away > 0.1 * solid.sum() * len(sun)  # the shortcut is taken


def test_share_of_a_disc_behind_a_straight_horizon():
    """Flat ground: the visible part of a disc centred h radii above the horizon is a circular segment."""
    visibility = whole(np.zeros((4, 4), np.float32))
    heights = np.array([-1.2, -0.5, 0.0, 0.3, 0.8, 1.2])
    share = visibility.share(vectors(np.full(6, 50.0), heights * 2.0), disc_deg=4.0)
    h = np.clip(heights, -1, 1)
    segment = (np.arccos(-h) + h * np.sqrt(1 - h**2)) / np.pi
    np.testing.assert_allclose(share[:, 1, 1], segment, atol=1.5 / 32)
    assert (share == share[:, :1, :1]).all()


def test_share_of_a_small_disc_is_what_a_point_gives():
    dem = rough(np.random.default_rng(2), 24, 24)
    sun = vectors([20, 140, 250], [8, 15, 30])
    assert (whole(dem).share(sun, 1e-4) != whole(dem).lit(sun)).mean() < 0.01


def test_disc_points_cover_the_disc_evenly():
    sun = vectors([0, 123, 10], [0, 40, 90])
    points = disc_directions(sun, 0.533, 32)
    assert points.shape == (3, 32, 3)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1)
    angle = np.degrees(np.arccos(np.clip(np.einsum("dni,di->dn", points, sun), -1, 1)))
    assert (angle < 0.2665).all()
    np.testing.assert_allclose((angle**2).mean(axis=1), 0.2665**2 / 2, rtol=1e-3)
    np.testing.assert_allclose(points.mean(axis=1), sun, atol=2e-4)


@pytest.mark.parametrize("u", [0.0, 0.3, 0.6, 1.0])
def test_disc_points_stand_for_equal_parts_of_the_light(u):
    """The light within the k-th radius, by quadrature over rings, is the share (k + 1/2) / n."""
    r = (np.arange(400_000) + 0.5) / 400_000
    within = np.cumsum((1 - u * (1 - np.sqrt(1 - r**2))) * r)
    share = np.interp(disc_radii(32, u), r, within / within[-1])
    np.testing.assert_allclose(share, (np.arange(32) + 0.5) / 32, atol=1e-5)
    # A darker limb draws the points inwards.
    assert (disc_radii(32, u) <= disc_radii(32)).all()
    np.testing.assert_array_equal(disc_radii(32), np.sqrt((np.arange(32) + 0.5) / 32))
    with pytest.raises(ValueError, match=r"limb_darkening: expected a share within \[0, 1\], found 1\.5"):
        disc_radii(32, 1.5)


def test_limb_darkening_changes_shares_by_what_the_limb_loses():
    visibility = whole(np.zeros((4, 4), np.float32))
    heights = np.linspace(-0.9, 0.9, 19)  # of the disc's centre, in its radii
    suns = vectors(50.0, 2.0 * heights)
    plain = visibility.share(suns, 4.0)[:, 1, 1]
    np.testing.assert_array_equal(visibility.share(suns, 4.0, 0.0)[:, 1, 1], plain)
    dark = visibility.share(suns, 4.0, 1.0)[:, 1, 1]
    y, x = (np.mgrid[:600, :600] + 0.5) / 300 - 1
    light = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    expected = [(light * (y > -h)).sum() / light.sum() for h in heights]
    np.testing.assert_allclose(dark, expected, atol=2.5 / 32)
    assert abs(dark - expected).mean() < 0.75 / 32 < abs(plain - expected).mean()


def test_windows_and_their_errors():
    assert window(slice(2, -2), (10, 12)) == (2, 2, 6, 8)
    with pytest.raises(ValueError, match=r"inner: expected a window inside \(5, 5\)"):
        window((2, 2, 4, 4), (5, 5))
    with pytest.raises(ValueError, match="expected elevations"):
        whole(np.full((4, 4), np.nan))


@pytest.mark.parametrize("engine", [EmbreeVisibility, HorizonVisibility, SweepVisibility])
def test_engines_refuse_the_same(engine):
    for pixel_m in (0, -20.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"^pixel_m: expected a positive number, found {pixel_m}$"):
            engine(np.zeros((4, 4)), pixel_m, slice(0, 4))
    good = engine(np.zeros((4, 4)), PIXEL, slice(0, 4))
    for run in (good.lit, lambda sun: good.share(sun, 0.5)):
        with pytest.raises(
            ValueError, match=r"^sun: expected vectors of shape \(D, 3\), found shape \(2, 2\)$"
        ):
            run(np.ones((2, 2)))
        for vector, found in (([0, 0, 0], r"\[0.0, 0.0, 0.0\]"), ([np.nan, 0, 1], r"\[nan, 0.0, 1.0\]")):
            with pytest.raises(
                ValueError, match=f"^sun: expected finite vectors other than zero, found {found}$"
            ):
                run([[0, 1, 1], vector])
    with pytest.raises(
        ValueError, match=r"^disc_deg: expected a diameter within \(0, 90\) degrees, found 0$"
    ):
        good.share([[0, 0, 1]], 0)
    with pytest.raises(ValueError, match=r"^limb_darkening: expected a share within \[0, 1\], found 2$"):
        good.share([[0, 0, 1]], 0.5, 2)
