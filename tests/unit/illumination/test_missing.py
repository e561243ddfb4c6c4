"""Missing data: published strips, and the swaths of the Narrow Angle Cameras."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shard_files import FACTOR, SIZE, write_split, write_tile

from pipeline.config.arcs import ArcDraw
from pipeline.config.base import Range
from pipeline.config.masks import BlockDraw, StripDraw
from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.missing import FULL, WHOLE_HALF_WIDTH_PX, draw_strip, orbit_azimuth, strip_mask
from pipeline.illumination.place import Place
from pipeline.shards.batches import assemble, read_sample
from pipeline.shards.reader import Shard
from pipeline.shards.scene import ArcScene
from pipeline.shards.write import write_shard
from pipeline.terrain.grid import Projection

NONE = BlockDraw(share=0)


def swath(**keys: object) -> StripDraw:
    """A NAC draw that has a swath alone, but for `keys`."""
    plain = {"kind": "nac", "seam_share": 0, "blocks": NONE, "azimuth_jitter_deg": 0}
    return StripDraw.model_validate({**plain, **keys})


def drawn(
    draw: StripDraw, count: int, size: int = 96, lat: float = -85.0, map_lon: float = 30.0
) -> np.ndarray:
    rng, place = np.random.default_rng(1), Place(map_lon, lat, map_lon, -1)
    return np.array([draw_strip(rng, draw, size, place, 20.0) for _ in range(count)])


def from_meridian(rows: np.ndarray, map_lon: float) -> np.ndarray:
    """Angle of swaths against a southern map's meridian, degrees in [-90, 90)."""
    # A swath at q runs at map azimuth q + 90, and north at a longitude lies at that azimuth.
    return (rows[:, 2] + 90 - map_lon + 90) % 180 - 90


def test_strips_are_the_published_draw_to_the_last_bit():
    """Numbers that the first version of the draw gave; its masks and trainings were made from them."""
    rng = np.random.default_rng(7)
    assert [draw_strip(rng, StripDraw(share=0.5), 96) for _ in range(3)] == [
        (59.38406932744336, 59.38406932744336, -94.62342424413484, 30.630179749764796),
        (82.98757731264487, 12.012422687355127, -102.82111530889793, 44.926735718801154),
        (28.788080547834785, 66.21191945216522, -0.8765257777424296, 1000000.0),
    ]


@given(st.floats(0, 180), st.floats(0, 95), st.floats(25, 50))
def test_is_the_published_strip_wherever_that_one_is_defined(t, centre, half_width):
    tangent = np.tan(np.radians(t))
    if abs(t - 90) < 1e-3 or abs(1 + tangent) < 1e-3:
        return
    m = (1 - tangent) / (1 + tangent)
    y, x = np.mgrid[:96, :96]
    margin = abs(y - (m * x + centre - m * centre)) - half_width * np.sqrt(m**2 + 1)
    mask = strip_mask(np.array([centre, centre, 45 - t, half_width]), 96)
    clear = abs(margin) > 1e-6 * (1 + abs(m))
    np.testing.assert_array_equal(mask[clear], (margin < 0)[clear])


def test_singular_direction_keeps_an_upright_strip():
    mask = strip_mask(np.array([40.0, 40.0, -90.0, 10.5]), 96)
    np.testing.assert_array_equal(mask, np.tile(abs(np.arange(96) - 40) <= 10, (96, 1)))


def test_level_strip_and_batches_in_torch_and_numpy():
    strips = np.array([[[10.0, 50.0, 0.0, 5.0], [0.0, 0.0, 30.0, WHOLE_HALF_WIDTH_PX]]])
    mask = strip_mask(strips, 96)
    assert mask.shape == (1, 2, 96, 96) and mask.dtype == bool
    np.testing.assert_array_equal(mask[0, 0], np.tile((abs(np.arange(96) - 50) < 5)[:, None], (1, 96)))
    assert mask[0, 1].all()
    in_torch = strip_mask(torch.from_numpy(strips), 96)
    assert in_torch.dtype == torch.bool
    np.testing.assert_array_equal(in_torch.numpy(), mask)


def test_draws_lie_on_both_diagonals_and_in_range():
    rng = np.random.default_rng(0)
    strips = np.array([draw_strip(rng, StripDraw(), 96) for _ in range(4000)])
    x0, y0, q, half_width = strips.T
    main, anti = np.isclose(x0, y0), np.isclose(x0 + y0, 95)
    assert (main | anti).all()
    assert main.mean() == pytest.approx(0.5, abs=0.03)
    assert 0 <= x0.min() and x0.max() <= 95 and x0.mean() == pytest.approx(47.5, abs=1.5)
    assert -135 <= q.min() and q.max() <= 45 and q.mean() == pytest.approx(-45, abs=3)
    assert 25 <= half_width.min() and half_width.max() <= 50
    assert half_width.mean() == pytest.approx(37.5, abs=0.4)
    # Every image keeps something: its strip's centre lies on the patch.
    assert strip_mask(strips[:200], 96).any(axis=(1, 2)).all()


def test_share_of_whole_images():
    rng = np.random.default_rng(0)
    draw = StripDraw(share=0.3, half_width_px=Range(low=4, high=8))
    widths = np.array([draw_strip(rng, draw, 32)[3] for _ in range(4000)])
    lost = widths < WHOLE_HALF_WIDTH_PX
    assert lost.mean() == pytest.approx(0.3, abs=0.03)
    assert set(widths[~lost]) == {WHOLE_HALF_WIDTH_PX}
    assert draw_strip(rng, StripDraw(share=0), 32)[3] == WHOLE_HALF_WIDTH_PX
    assert all(draw_strip(rng, StripDraw(share=1), 32)[3] <= 50 for _ in range(100))


def test_draws_survive_json():
    strip = draw_strip(np.random.default_rng(0), StripDraw(share=0.5), 96)
    assert tuple(json.loads(json.dumps(strip, allow_nan=False))) == strip


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize("inclination", [81.0, 88.0, 90.0, 93.5])
def test_a_swath_runs_along_the_orbit_that_passes_over_the_patch(pole, inclination):
    """Against a circular orbit stepped in space and projected onto the map."""
    lat, lon, lon0 = pole * 80.0, 70.0, 25.0
    projection = Projection(pole, lon0, 1737400.0, 1.0)

    def track(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        i = np.radians(inclination)
        x, y, z = np.cos(u), np.sin(u) * np.cos(i), np.sin(u) * np.sin(i)
        return np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(z))

    over = np.arcsin(np.sin(np.radians(lat)) / np.sin(np.radians(inclination)))
    expected = set()
    for u in (over, np.pi - over):  # ascending, descending
        lons, lats = track(u + np.array([-1e-5, 0, 1e-5]))
        x, y = projection.xy(lons - lons[1] + lon, lats)
        expected.add(round(float(np.degrees(np.arctan2(x[2] - x[0], y[2] - y[0])) % 180), 2))
    rng, place = np.random.default_rng(0), Place(lon, lat, lon - lon0, pole)
    draw = swath(inclination_deg=inclination)
    rows = np.array([draw_strip(rng, draw, 96, place, 20.0) for _ in range(400)])
    found, counts = np.unique(((rows[:, 2] + 90) % 180).round(2), return_counts=True)
    assert set(found.tolist()) == expected
    assert len(found) == 1 or abs(counts[0] / 400 - 0.5) < 4 * 0.5 / 20


def test_swaths_of_a_polar_patch_run_along_its_meridian():
    """At 85 S, orbits within 2.5 degrees of polar head within asin(cos 87.5 / cos 85) = 30 degrees of it."""
    for map_lon in (0.0, 30.0, 200.0, 355.0):
        angle = from_meridian(drawn(swath(inclination_deg=[87.5, 92.5]), 500, map_lon=map_lon), map_lon)
        assert np.abs(angle).max() <= 30.04
        assert np.abs(angle).max() > 25 and abs(angle.mean()) < 3
    # Nearer to the pole, orbits that do not reach so far turn there, along the parallel.
    assert np.allclose(orbit_azimuth(-88.0, [85.0, 90.0, 95.0]), [90, 0, -90])
    assert orbit_azimuth(-85.0, 87.5) == pytest.approx(30.03, abs=0.01)


def test_slews_turn_swaths_by_normal_jitter():
    draw = swath(inclination_deg=90, azimuth_jitter_deg=4)
    angle = from_meridian(drawn(draw, 3000), 30.0)
    assert angle.std() == pytest.approx(4, rel=0.06) and abs(angle.mean()) < 0.3


def test_widths_are_uniform_metres():
    width_m = 2 * drawn(swath(), 3000)[:, 3] * 20.0
    assert 2500 <= width_m.min() < 2520 and 4980 < width_m.max() <= 5000
    assert width_m.mean() == pytest.approx(3750, abs=60)
    assert width_m.std() == pytest.approx(2500 / np.sqrt(12), rel=0.05)


def test_every_pixel_is_covered_as_often_as_a_random_swath_would():
    """A middle uniform over all that meet the patch, w + r either side: any pixel keeps w / (w + r)."""
    draw = swath(width_m=600, inclination_deg=[86, 94])
    rows = drawn(draw, 6000, size=24)
    masks = strip_mask(rows, 24)
    assert masks.any(axis=(1, 2)).all()
    q = np.radians(rows[:, 2])
    reach = 23 / 2 * (abs(np.sin(q)) + abs(np.cos(q)))
    expected = (15 / (15 + reach)).mean()
    assert masks.mean() == pytest.approx(expected, abs=0.01)
    often = masks.mean(axis=0)
    assert np.abs(often - expected).max() < 5 * np.sqrt(expected * (1 - expected) / len(rows))


@given(st.integers(0, 2**32 - 1), st.integers(8, 40), st.floats(-89.9, -60), st.floats(0, 359))
def test_a_full_row_keeps_the_swath_less_seam_and_blocks(seed, size, lat, lon):
    draw = StripDraw(kind="nac", seam_share=0.7, blocks=BlockDraw(share=0.7, size_px=Range(low=1, high=9)))
    row = draw_strip(np.random.default_rng(seed), draw, size, Place(lon, lat, lon, -1), 20.0)
    assert len(row) == FULL and json.loads(json.dumps(row, allow_nan=False)) == list(row)
    mask = strip_mask(np.array(row), size)
    assert mask.any()
    x0, y0, q, half_width, middle, seam = row[:6]
    assert middle == 0 and (seam == 0 or 0.5 <= seam <= 1.5)
    azimuth = np.radians(q + 90)
    y, x = np.mgrid[:size, :size]
    # Distance from the swath's middle line, which runs at that map azimuth through (x0, y0).
    off = abs(np.sin(azimuth) * (y - y0) + np.cos(azimuth) * (x - x0))
    blocked = np.zeros((size, size), bool)
    for left, top, width, height in (row[6:10], row[10:14]):
        blocked |= (left <= x) & (x < left + width) & (top <= y) & (y < top + height)
    clear = np.minimum(abs(off - half_width), abs(off - seam)) > 1e-9
    expected = (seam <= off) & (off < half_width) & ~blocked
    np.testing.assert_array_equal(mask[clear], expected[clear])


def test_blocks_and_seam_come_as_often_and_as_large_as_asked():
    draw = swath(seam_share=0.25, seam_px=[2, 6], blocks={"share": 0.4, "size_px": [3, 5]})
    rows = drawn(draw, 4000)
    seams, blocks = rows[:, 5], rows[:, 6:].reshape(-1, 4)
    assert (seams > 0).mean() == pytest.approx(0.25, abs=0.03)
    assert 1 <= seams[seams > 0].min() and seams.max() <= 3
    there = blocks[:, 2] > 0
    assert there.mean() == pytest.approx(0.4, abs=0.03)
    assert set(blocks[there, 2]) == {3, 4, 5} == set(blocks[there, 3])
    assert not blocks[~there].any()
    corner, size = blocks[there, :2], blocks[there, 2:]
    assert (corner >= 0).all() and (corner + size <= 96).all()
    assert corner.min() == 0 and (corner + size).max() == 96
    mask = strip_mask(rows[:200], 96)
    for row, kept in zip(rows[:200], mask, strict=True):
        for left, top, width, height in row[6:].reshape(2, 4).astype(int):
            assert not kept[top : top + height, left : left + width].any()


def test_torch_and_numpy_agree_on_full_rows():
    rows = drawn(StripDraw(kind="nac", blocks=BlockDraw(share=0.8)), 60)
    mask = strip_mask(rows, 96)
    np.testing.assert_array_equal(strip_mask(torch.from_numpy(rows), 96).numpy(), mask)
    batch = strip_mask(torch.from_numpy(rows).float().reshape(3, 20, FULL), 96)
    assert (batch.reshape(60, 96, 96).numpy() == mask).mean() > 0.999
    # A row of four numbers is one with zeros behind it.
    short = rows.copy()
    short[:, 4:] = 0
    np.testing.assert_array_equal(strip_mask(short, 96), strip_mask(rows[:, :4], 96))


def test_an_image_never_loses_everything():
    """Blocks as large as the patch, and a seam wider than the swath: both are left out again."""
    blocked = swath(blocks={"share": 1, "size_px": 32})
    split = swath(width_m=100, seam_share=1, seam_px=20)
    for draw in (blocked, split):
        rows = drawn(draw, 50, size=32)
        assert strip_mask(rows, 32).any(axis=(1, 2)).all()
    assert not drawn(blocked, 50, size=32)[:, 4:].any()


def test_whole_nac_images_keep_everything_and_cost_the_same_numbers():
    draw = StripDraw(kind="nac", share=0.3, blocks=BlockDraw(share=1))
    rows = drawn(draw, 2000, size=32)
    whole = rows[:, 3] == WHOLE_HALF_WIDTH_PX
    assert whole.mean() == pytest.approx(0.7, abs=0.04)
    assert strip_mask(rows[whole][:50], 32).all()
    every = drawn(draw.model_copy(update={"share": 1.0}), 2000, size=32)
    np.testing.assert_array_equal(every[~whole], rows[~whole])


def test_mistakes_in_missing_data_are_named():
    with pytest.raises(ValueError, match="kind 'nac' needs the patch's place and its pixel size, found none"):
        draw_strip(np.random.default_rng(0), swath(), 96)
    with pytest.raises(ValueError, match="expected rows of 4 or 14 numbers, found 6"):
        strip_mask(np.zeros((2, 6)), 8)
    for keys, message in (
        ({"width_m": [0, 5]}, "width_m: expected > 0"),
        ({"seam_px": [-1, 5]}, "seam_px: expected > 0"),
        ({"inclination_deg": [85, 190]}, r"inclination_deg: expected within \[0, 180\]"),
        ({"blocks": {"size_px": [0, 5]}}, "size_px: expected at least 1, found 0"),
    ):
        with pytest.raises(ValueError, match=message):
            swath(**keys)


def test_training_sees_swaths_of_the_patchs_own_place(tmp_path):
    """From the shard to the batch; a set of plain strips in the same batch keeps its masks."""
    lon, lat = np.array([0.0, 60.0, -120.0]), np.full(3, -85.0)
    x, y = Projection(-1, 0.0, 1737400.0, 1.0).xy(lon, lat)
    tile = write_tile(
        tmp_path, count=3, places={"lon": lon, "lat": lat, "x0": x, "y0": y, "pole": np.full(3, -1)}
    )
    split = write_split(tmp_path, {int(i): "train" for i in tile.ids})
    write_shard("train", tile.patches, tile.visibility, split, FACTOR, tmp_path / "shard.zarr.zip")
    shard, arc = Shard(tmp_path / "shard.zarr.zip"), ArcDraw(latitude=80, images=20)
    nac = ArcScene(arc, 0.1, swath(inclination_deg=[89, 91], width_m=150, seam_share=1))
    strips = ArcScene(arc, 0.1, StripDraw(half_width_px=Range(low=2, high=4)))
    sets = [s.image_set(shard, p, np.random.default_rng(p)) for p, s in enumerate((nac, strips, nac))]
    assert [s.strips.shape for s in sets] == [(20, FULL), (20, 4), (20, FULL)]
    for patch in (0, 2):
        assert np.abs(from_meridian(sets[patch].strips, lon[patch])).max() <= 11.6  # asin(cos 89 / cos 85)
    samples = [read_sample(shard, p, s, 1) for p, s in enumerate(sets)]
    batch = assemble(samples, 1, FACTOR, PhotometrySection())
    for valid, images, one in zip(batch.valid.numpy(), batch.images.numpy(), sets, strict=True):
        np.testing.assert_array_equal(valid, strip_mask(one.strips.astype("f4"), SIZE))
        assert not images[~valid].any() and images[valid].any()
