"""Fine renderings: the mesh keeps block means, shading is the law's, shadows fall, shifts move content."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shard_files import terrain

from pipeline.config.photometry import HapkeSection, PhotometrySection
from pipeline.illumination import fine
from pipeline.illumination.directions import vectors
from pipeline.illumination.far import FarTerrain
from pipeline.illumination.fine import FineGround, SlopeTables, continued, fine_heights
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.photometry import radiance_factor
from pipeline.terrain.blocks import block_mean

PIXEL, SIZE, HALO, MESH, DISC = 40.0, 24, 16, 4, 0.533
SIDE = SIZE + 2 * HALO
INNER = (HALO, HALO, SIZE, SIZE)
LAMBERT = [(1.0, PhotometrySection(law="lambert", albedo=0.1))]
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] * PIXEL


def rough(seed: int = 3, side: int = SIDE) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 6, (side, side))
    return 0.5 * noise.cumsum(0) + 0.5 * noise.cumsum(1)


def render(dem, azimuth, elevation, laws=LAMBERT, shift=(0.0, 0.0), **options):
    suns = vectors(np.atleast_1d(azimuth), elevation)
    ground = FineGround(dem, PIXEL, INNER, MESH, **options)
    tables = SlopeTables(suns, ground.steepest, laws)
    shifts = np.broadcast_to(shift, (len(suns), 2))
    return ground.render(suns, ground.horizons(suns, DISC), tables, shifts, DISC)


@pytest.mark.parametrize("mesh", [1, 3, 4])
def test_block_means_of_the_mesh_are_the_dem(mesh):
    dem = rough() - 2500
    found = fine_heights(dem, mesh)
    assert found.shape == (SIDE * mesh, SIDE * mesh)
    np.testing.assert_allclose(block_mean(found, mesh), dem, atol=1e-9)


def test_a_plane_stays_a_plane_and_a_sine_a_sine():
    cells = (np.arange(SIDE * MESH) + 0.5) / MESH - 0.5
    plane = fine_heights(0.3 * COLUMNS - 0.1 * ROWS + 7, MESH)
    expected = PIXEL * (0.3 * cells[None, :] - 0.1 * cells[:, None]) + 7
    np.testing.assert_allclose(plane, expected, atol=1e-8)

    def mean_of_sine(centres, width, wavelength=8.0):
        k = 2 * np.pi / wavelength
        return np.sin(k * centres) * np.sinc(width / wavelength)

    sine = np.tile(mean_of_sine(np.arange(SIDE), 1.0), (SIDE, 1))
    error = fine_heights(sine, MESH) - mean_of_sine(cells, 1 / MESH)
    assert np.abs(error[:, 4 * MESH : -4 * MESH]).max() < 0.004
    # Slopes are continuous: second differences shrink with the square of the cell, third with the cube.
    bends = [np.abs(np.diff(fine_heights(rough(), m), n=3, axis=1)).max() for m in (4, 8)]
    assert bends[1] < bends[0] / 3


def test_missing_ground_goes_on_from_the_patch():
    field = np.full((8, 9), np.nan)
    field[2:6, 3:7] = 2.0 * np.arange(4)[:, None] + np.arange(4)
    linear = continued(field, (2, 3, 4, 4), linear=True)
    np.testing.assert_allclose(linear, 2.0 * (np.arange(8)[:, None] - 2) + np.arange(9) - 3)
    level = continued(field, (2, 3, 4, 4), linear=False)
    assert level[0, 0] == field[2, 3] and level[7, 8] == field[5, 6]


@pytest.mark.parametrize("law", ["lambert", "lunar_lambert", "exponential", "hapke"])
@pytest.mark.parametrize("elevation", [1.0, 6.0, 50.0, 80.0])
def test_tables_are_the_law(law, elevation):
    section = PhotometrySection(law=law, hapke=HapkeSection(theta_deg=23))
    rng = np.random.default_rng(0)
    slopes = rng.normal(0, 0.17, (2, 1, 40, 40)).astype(np.float32).clip(-0.6, 0.6)
    sun = vectors([0.0], elevation)
    tables = SlopeTables(sun, float(np.hypot(*slopes).max()), [(1.0, section)])
    across, along = slopes[:, 0].astype(float)  # the Sun is up on the map
    length = np.sqrt(1 + along**2 + across**2)
    up = np.radians(elevation)
    mu0 = np.maximum((np.sin(up) - np.cos(up) * along) / length, 0)
    angles = (torch.from_numpy(part) for part in (mu0, 1 / length, np.array(np.pi / 2 - up)))
    exact = radiance_factor(*angles, section).numpy()
    found = np.empty((40, 40), np.float32)
    # Each pixel shades one patch of ground: cells as large as pixels, without shadows.
    padded = np.pad(slopes[:, 0], ((0, 0), (0, 1), (0, 1)))
    about = np.array([0, 1, np.tan(up), 0, 1], np.float32)
    horizon, start, rest = np.full((41, 41), -9, np.float32), np.zeros(2, int), np.zeros(2, np.float32)
    shares = np.ones(2, np.float32)
    table = tables.values[0], tables.axes[0]
    fine.render_kernel(padded, horizon, *table, about, shares, 1, start, rest, found)
    assert np.abs(found - exact).max() < 0.002 * np.median(exact[exact > 0])


def test_laws_are_added_by_their_weights():
    sun, rng = vectors([20.0, 100.0], 10.0), (0.5, 0.25)
    laws = [PhotometrySection(law="lambert"), PhotometrySection(law="lunar_lambert")]
    both = SlopeTables(sun, 0.4, list(zip(rng, laws))).values
    each = [SlopeTables(sun, 0.4, [(1.0, law)]).values for law in laws]
    np.testing.assert_allclose(both, 0.5 * each[0] + 0.25 * each[1], rtol=1e-6)


def test_a_plane_is_lit_by_the_cosine():
    azimuth, elevation = np.array([0.0, 90.0, 217.0]), 30.0
    found = render(0.2 * COLUMNS, azimuth, elevation)  # rises to the right
    east, _, up = vectors(azimuth, elevation).T
    expected = np.pi * 0.1 * (up - 0.2 * east) / np.sqrt(1.04)
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], found.shape), rtol=2e-4)
    assert render(0.2 * COLUMNS, 90.0, 8.0).max() == 0  # faces away: the slope is 11.3 degrees


def test_a_disc_behind_a_ridge_is_seen_from_none_to_whole():
    """Half of it is seen where the ridge's line of sight has the elevation of its centre."""
    away = ROWS[:, 0] - 6 * PIXEL

    def ridge(distance):
        return 60 * np.exp(-((distance / (4 * PIXEL)) ** 2))

    dem = np.repeat(ridge(away)[:, None], SIDE, axis=1)
    row = 20
    ways = np.linspace(5 * PIXEL, (HALO + row) * PIXEL, 4000)  # to points towards the Sun
    tangent = ((ridge((HALO + row - 6) * PIXEL - ways) - ridge((HALO + row - 6) * PIXEL)) / ways).max()
    middle, radius = np.degrees(np.arctan(tangent)), DISC / 2
    elevations = middle + radius * np.array([-1.1, -0.5, 0.0, 0.5, 1.1])
    bright = np.array([render(dem, 0.0, e)[0, row, 12] / np.sin(np.radians(e)) for e in elevations])
    np.testing.assert_allclose(bright / (np.pi * 0.1), [0, 0.1955, 0.5, 0.8045, 1], atol=0.03)


def test_a_deep_crater_is_dark_inside_and_lit_beside():
    radius = np.hypot(ROWS - ROWS.mean(), COLUMNS - COLUMNS.mean()) / PIXEL
    dem = np.where(radius < 8, -300 * (1 - (radius / 8) ** 2), 0.0)
    found = render(dem, np.arange(0.0, 360.0, 45.0), 5.0)
    assert found[:, 11:13, 11:13].max() == 0
    assert found[:, :2, :2].min() > 0.9 * np.pi * 0.1 * np.sin(np.radians(5))


def test_shifts_move_content_down_and_right():
    dem = rough()
    still, moved = render(dem, 40.0, 25.0)[0], render(dem, 40.0, 25.0, shift=(2.0, -1.0))[0]
    np.testing.assert_allclose(moved[2:, :-1], still[:-2, 1:], atol=2e-6)
    # Half a pixel: of the cells, not of the pixels. Two halves of neighbouring pixels make the whole.
    half = render(dem, 40.0, 25.0, shift=(0.0, 0.5))[0]
    assert not np.allclose(half[:, 1:], (still[:, 1:] + still[:, :-1]) / 2, atol=1e-4)
    rng = np.random.default_rng(1)
    fractions = [render(dem, 40.0, 25.0, shift=s)[0].mean() for s in rng.uniform(-0.5, 0.5, (3, 2))]
    np.testing.assert_allclose(fractions, still.mean(), rtol=0.02)
    with pytest.raises(ValueError, match=r"shifts: expected at most 4 pixels, found 4\.5"):
        render(dem, 40.0, 25.0, shift=(4.5, 0.0))


def test_images_are_close_to_those_traced_on_the_fine_mesh():
    dem, rng = 0.4 * terrain(SIDE), np.random.default_rng(2)
    suns = vectors(rng.uniform(0, 360, 8), rng.uniform(2, 15, 8))
    ground = FineGround(dem, PIXEL, INNER, MESH)
    tables, still = SlopeTables(suns, ground.steepest, LAMBERT), np.zeros((8, 2))
    wide = tuple(MESH * n for n in (HALO - 5, HALO - 5, SIZE + 10, SIZE + 10))
    direct = HorizonVisibility(fine_heights(dem, MESH), PIXEL / MESH, wide)
    azimuth = np.degrees(np.arctan2(suns[:, 0], suns[:, 1]))
    traced = ground.render(suns, direct.horizon(azimuth), tables, still, DISC)
    assert 0.1 < (traced == 0).mean() < 0.9

    def error(horizons):
        found = ground.render(suns, horizons, tables, still, DISC)
        return np.sqrt(((found - traced) ** 2).mean()) / np.median(traced[traced > 0])

    horizons = ground.horizons(suns, DISC)
    assert error(horizons) < 0.025
    assert error(np.roll(horizons, 1, axis=1)) > 0.05  # half a pixel beside


def test_without_a_halo_and_with_holes_beside_the_patch():
    dem = np.full((SIDE, SIDE), np.nan)
    dem[HALO : HALO + SIZE, HALO:] = rough()[HALO : HALO + SIZE, HALO:]
    found = render(dem, [10.0, 200.0], 20.0)
    assert np.isfinite(found).all() and found.max() > 0
    cut = dem[HALO : HALO + SIZE, HALO : HALO + SIZE]
    alone = FineGround(cut, PIXEL, (0, 0, SIZE, SIZE), MESH)
    suns = vectors([10.0], 20.0)
    tables = SlopeTables(suns, alone.steepest, LAMBERT)
    bare = alone.render(suns, alone.horizons(suns, DISC), tables, np.zeros((1, 2)), DISC)
    np.testing.assert_allclose(bare[0, 8:-8, 8:-8], found[0, 8:-8, 8:-8], atol=0.01)


def test_far_terrain_hides_the_sun():
    z = np.zeros((31, 31))
    z[:3] = 600.0  # 12 coarse cells above the patch on the map: 3.7 degrees high
    corner = (SIDE - 1) / 2 - 15 * 8
    far = FarTerrain(z, 8, corner, corner)
    dem = np.zeros((SIDE, SIDE))
    found = render(dem, [0.0, 0.0, 180.0], [1.5, 20.0, 1.5], far=far)
    assert found[0].max() == 0 and found[1].min() > 0 and found[2].min() > 0
