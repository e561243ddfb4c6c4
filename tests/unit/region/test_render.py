"""Rendered images of a region: windows are cuts of whole images, strips, shadows and memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from region_terrain import FACTOR, hills, make_terrain

from pipeline.config.illumination import IlluminationSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.region import RegionSection
from pipeline.illumination.directions import fixed_directions, near_suns, sun_arc
from pipeline.illumination.photometry import radiance
from pipeline.illumination.trace import make_engine
from pipeline.region import shadows as shading
from pipeline.region.ground import read_ground
from pipeline.region.place import Place
from pipeline.region.render import render
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean

PHOTOMETRY = PhotometrySection()


@pytest.fixture(scope="module")
def terrain(tmp_path_factory):
    return make_terrain(tmp_path_factory.mktemp("terrain"), a=hills(176, 176, metres=300))


def images_of(terrain, illumination=None, place=None, **keys):
    section = RegionSection(**{"size_px": 96, "images": 12, "half_width_px": 30.0, "seed": 3, **keys})
    illumination = illumination or IlluminationSection()
    place = place or Place(0, 40, 32, 96)
    _, ground = read_ground(terrain, place, FACTOR, 1, illumination.halo_px)
    return ground, render(ground, section, illumination, 0.1, PHOTOMETRY)


def test_ground_is_the_bicubic_of_endless_terrain(terrain):
    apriori, ground = read_ground(terrain, Place(0, 40, 32, 96), FACTOR, 1)
    whole = torch.from_numpy(terrain.read(0, 0, 176, 0, 176)).double()
    expected = prior_from_lr(block_mean(whole, FACTOR), 0, FACTOR)[40:136, 32:128]
    np.testing.assert_allclose(apriori.prior, expected, atol=1e-9)
    np.testing.assert_array_equal(ground.truth, whole[40:136, 32:128])
    cells = apriori.window_cells(32, 16, 32, 1)
    np.testing.assert_allclose(cells, block_mean(whole, FACTOR)[8:14, 5:11], atol=1e-9)


def test_ground_holds_the_nearest_cell_where_data_end(terrain):
    apriori, _ = read_ground(terrain, Place(0, 0, 80, 96), FACTOR, 4)
    assert np.isfinite(apriori.cells).all()
    np.testing.assert_array_equal(apriori.cells[0, 4:-4], apriori.cells[4, 4:-4])
    with pytest.raises(ValueError, match=r"region\.size_px: expected a multiple of patches\.factor = 8"):
        read_ground(terrain, Place(0, 0, 0, 60), FACTOR, 4)


@pytest.mark.parametrize("sun", ["point", "disc"])
def test_windows_are_cuts_of_the_whole_images(terrain, sun):
    _, images = images_of(
        terrain, IlluminationSection(sun=sun, engine="horizon" if sun == "disc" else "embree")
    )
    whole = images.read(0, 96, 0, 96, only=range(12))
    assert whole.images.shape == (12, 96, 96)
    for row, col in ((0, 0), (13, 27), (64, 64)):
        part = images.read(row, row + 32, col, col + 32, only=range(12))
        here = np.s_[:, row : row + 32, col : col + 32]
        torch.testing.assert_close(part.images, whole.images[here], rtol=1e-6, atol=1e-8)
        assert torch.equal(part.valid, whole.valid[here])
        assert torch.equal(part.sun, whole.sun)
        assert (part.images[~part.valid] == 0).all()


def test_images_without_light_or_data_in_a_window_are_left_out(terrain):
    _, images = images_of(terrain, images=40, half_width_px=10.0)
    for row, col in ((0, 0), (40, 40), (64, 0)):
        every = images.read(row, row + 32, col, col + 32, only=range(40))
        seen = images.read(row, row + 32, col, col + 32)
        shadows = images._shadows.read(images.directions, row, row + 32, col, col + 32)
        keep = every.valid.numpy().any((1, 2)) & shadows.any((1, 2))
        assert 0 < keep.sum() < 40
        assert torch.equal(seen.images, every.images[keep])
        assert torch.equal(seen.sun, every.sun[keep])


def test_shadows_are_those_of_the_whole_region_and_its_halo(terrain):
    light = IlluminationSection(halo_px=40)
    ground, images = images_of(terrain, light, half_width_px=None)
    dem = terrain.read(0, 0, 176, -8, 168)
    engine = make_engine("embree")(dem, 20.0, (40, 40, 96, 96), False)
    lit = engine.lit(images.suns)[images.directions]
    whole = images.read(0, 96, 0, 96, only=range(12))
    surface = torch.from_numpy(terrain.read(0, 39, 137, 31, 129))
    light_there = radiance(surface, 20.0, whole.sun, None, PHOTOMETRY)[:, 1:-1, 1:-1]
    torch.testing.assert_close(whole.images, light_there * torch.from_numpy(lit), rtol=1e-3, atol=1e-5)
    assert (whole.images == 0).any()
    assert whole.valid.all()
    assert ground.margin_px == 40


def test_suns_lie_on_the_arc_and_strips_are_bands(terrain):
    _, images = images_of(terrain, images=300, half_width_px=20.0, light={"latitude": 80, "longitude": 40})
    usable = fixed_directions()[near_suns(sun_arc(40.0, -80.0), 0.1, fixed_directions())].astype(np.float32)
    for sun in images.suns:
        assert (np.abs(usable - sun).max(axis=1) < 1e-6).any()
    assert len(np.unique(images.directions)) <= len(usable) < 300
    valid = images.read(0, 96, 0, 96, only=range(300)).valid.numpy()
    x0, y0, q, w = images.strips.T
    assert (np.abs(images.strips[:, :2] - 47.5) <= 48).all()
    assert (w == 20).all()
    for i in range(0, 300, 37):
        rows, cols = np.nonzero(valid[i])
        across = (rows - y0[i]) * np.cos(np.radians(q[i])) - (cols - x0[i]) * np.sin(np.radians(q[i]))
        assert np.abs(across).max() < 20
        # Every pixel that close is kept.
        r, c = np.indices((96, 96))
        close = np.abs((r - y0[i]) * np.cos(np.radians(q[i])) - (c - x0[i]) * np.sin(np.radians(q[i]))) < 20
        assert close.sum() == len(rows)
    share = valid.mean(axis=0)
    assert share.min() > 0.05  # every part of the region is seen


def test_tracing_in_parts_changes_nothing(terrain, monkeypatch):
    _, images = images_of(terrain)
    monkeypatch.setattr(shading, "_TRACE_BYTES", 3 * 96 * 96)
    _, parts = images_of(terrain)
    np.testing.assert_array_equal(images._shadows.values, parts._shadows.values)


def test_the_seed_draws_suns_and_strips(terrain):
    _, a = images_of(terrain)
    _, b = images_of(terrain, seed=4)
    assert not np.array_equal(a.strips, b.strips)
    # The width of the strips does not move the Suns.
    _, c = images_of(terrain, half_width_px=None)
    np.testing.assert_array_equal(a.suns[a.directions], c.suns[c.directions])


def test_no_sun_is_a_clear_error(terrain):
    with pytest.raises(
        ValueError, match=r"region\.light: no usable fixed direction in 1000 places .* latitude \[-90"
    ):
        images_of(terrain, light={"latitude": 90})


def test_strips_may_have_drawn_widths(terrain):
    one = images_of(terrain, images=200, half_width_px=20)[1].strips
    _, images = images_of(terrain, images=200, half_width_px=[25, 50])
    # Where they lie and how they turn stays.
    np.testing.assert_array_equal(images.strips[:, :3], one[:, :3])
    width = images.strips[:, 3]
    assert 25 <= width.min() < 27 and 48 < width.max() <= 50
    assert abs(width.mean() - 37.5) < 4 * 25 / np.sqrt(12 * 200)
    valid = images.read(0, 96, 0, 96, only=[3]).valid[0].numpy()
    x0, y0, q, w = images.strips[3]
    rows, cols = np.indices((96, 96))
    across = (rows - y0) * np.cos(np.radians(q)) - (cols - x0) * np.sin(np.radians(q))
    np.testing.assert_array_equal(valid, np.abs(across) < w)
    with pytest.raises(ValueError, match="half_width_px: expected > 0, found 0"):
        RegionSection(half_width_px=[0, 5])


def test_suns_count_azimuths_as_the_section_says(terrain):
    light = {"latitude": 12, "longitude": 40}
    for azimuth in ("right", "up"):
        _, images = images_of(terrain, IlluminationSection(azimuth=azimuth), images=200, light=light)
        usable = near_suns(sun_arc(40.0, -12.0), 0.1, fixed_directions(azimuth))
        known = {tuple(sun) for sun in fixed_directions(azimuth)[usable].astype(np.float32)}
        assert {tuple(sun) for sun in images.suns} <= known
        assert images.suns[:, 2].max() > 0.8  # the rings that differ are among them
