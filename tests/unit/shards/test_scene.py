"""Image sets: drawn from their own random numbers alone, never a dark image, and read back as stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shard_files import FACTOR, SIZE, write_draws, write_split, write_tile

from pipeline.config.arcs import ArcDraw
from pipeline.config.base import Range
from pipeline.config.masks import StripDraw
from pipeline.illumination.directions import (
    NoUsableDirectionError,
    fixed_directions,
    near_suns,
    sun_arc,
    vectors,
)
from pipeline.illumination.ephemeris import SunTrack, sun_vector
from pipeline.illumination.missing import WHOLE_HALF_WIDTH_PX
from pipeline.shards.reader import Shard
from pipeline.shards.scene import AllFibonacciScene, ArcScene, FibonacciScene, ImageSet, Scene, StoredScene
from pipeline.shards.write import write_shard
from pipeline.terrain.grid import Projection

DARK = 200  # the first directions of the dark shard light nothing
ARC = ArcDraw(latitude=Range(low=70, high=85), images=Range(low=5, high=40))
STRIPS = StripDraw(half_width_px=Range(low=3, high=6), share=0.5)
DRAWN = [FibonacciScene((5, 40)), ArcScene(ARC, 0.1), ArcScene(ARC, 0.1, STRIPS)]


def shard(folder: Path, dark: int = 0) -> Shard:
    tile = write_tile(folder, dark=dark)
    split = write_split(folder, {int(i): "test" for i in tile.ids})
    arcs, masks = write_draws(folder, [int(i) for i in tile.ids])
    path = folder / "shard.zarr.zip"
    write_shard("test", tile.patches, tile.visibility, split, FACTOR, path, arcs, masks)
    return Shard(path)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return shard(tmp_path_factory.mktemp("bright"))


@pytest.fixture(scope="module")
def dim(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    """Fixed directions below `DARK` are dark; so are Fibonacci directions, all of 100..129."""
    return shard(tmp_path_factory.mktemp("dim"), DARK)


def draw(scene: Scene, shard: Shard, seed: int, patch: int = 2) -> ImageSet:
    return scene.image_set(shard, patch, np.random.default_rng(seed))


def same(a: ImageSet, b: ImageSet) -> bool:
    strips = (a.strips is None and b.strips is None) or np.array_equal(a.strips, b.strips)
    return (
        a.group == b.group
        and np.array_equal(a.images, b.images)
        and np.array_equal(a.suns, b.suns)
        and strips
    )


@pytest.mark.parametrize("scene", DRAWN)
def test_a_set_depends_on_its_random_numbers_alone(scene: Scene, bright: Shard) -> None:
    assert same(draw(scene, bright, 7), draw(scene, bright, 7))
    assert not same(draw(scene, bright, 7), draw(scene, bright, 8))


@pytest.mark.parametrize("scene", DRAWN)
def test_suns_are_those_of_the_images(scene: Scene, bright: Shard) -> None:
    drawn = draw(scene, bright, 3)
    table = bright.fixed_suns if drawn.group == "fixed" else bright.fibonacci_suns(2)[0]
    np.testing.assert_array_equal(drawn.suns, table[drawn.images])
    np.testing.assert_allclose(np.linalg.norm(drawn.suns, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("scene", DRAWN)
def test_counts_are_uniform_in_their_range_and_images_repeat(scene: Scene, bright: Shard) -> None:
    sets = [draw(scene, bright, seed) for seed in range(400)]
    counts = np.array([len(s.images) for s in sets])
    assert (counts.min(), counts.max()) == (5, 40)
    assert abs(counts.mean() - 22.5) < 4 * 10.4 / 20
    assert any(len(set(s.images.tolist())) < len(s.images) for s in sets)


def test_dark_images_are_left_out(dim: Shard) -> None:
    arc = ArcScene(ArcDraw(latitude=Range(low=20, high=60)), 0.1)
    drawn = np.concatenate([draw(arc, dim, seed).images for seed in range(50)])
    assert drawn.min() >= DARK
    with pytest.raises(
        ValueError, match=r"shard\.zarr\.zip: patch 2: expected a lit Fibonacci image, found none"
    ):
        draw(FibonacciScene(), dim, 0)
    assert len(AllFibonacciScene().image_set(dim, 2, np.random.default_rng(0)).images) == 0


def test_an_arc_over_dark_directions_alone_is_an_error(dim: Shard) -> None:
    low = ArcScene(ArcDraw(latitude=85), 0.1)  # elevations of at most 5 degrees: directions 0 to 71
    with pytest.raises(NoUsableDirectionError, match=r"160 of 360 directions light the patch"):
        draw(low, dim, 0)


def test_an_arc_holds_usable_directions_of_one_place(bright: Shard) -> None:
    scene = ArcScene(ArcDraw(latitude=80, longitude=30), 0.1)
    usable = near_suns(sun_arc(30, 80), 0.1, fixed_directions())
    drawn = np.concatenate([draw(scene, bright, seed).images for seed in range(40)])
    assert set(drawn) == set(usable)


def test_fibonacci_sets_leave_out_directions_below_the_horizon(bright: Shard) -> None:
    absent = [(p, i) for p in range(6) for i in np.flatnonzero(~bright.fibonacci_suns(p)[1])]
    assert absent  # 26 % of the patches have image 29 below the horizon
    for patch, image in absent:
        sets = [draw(FibonacciScene(), bright, seed, patch) for seed in range(20)]
        assert all(image not in s.images for s in sets)
        assert image not in draw(AllFibonacciScene(), bright, 0, patch).images


def test_strips_fall_on_the_given_share_of_images(bright: Shard) -> None:
    sets = [draw(ArcScene(ARC, 0.1, STRIPS), bright, seed) for seed in range(60)]
    widths = np.concatenate([s.strips[:, 3] for s in sets])
    cut = widths < WHOLE_HALF_WIDTH_PX
    assert abs(cut.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(widths))
    assert ((widths[cut] >= 3) & (widths[cut] <= 6)).all()
    centres = np.concatenate([s.strips[:, :2] for s in sets])
    assert ((centres >= 0) & (centres <= SIZE - 1)).all()
    assert [s.strips.shape for s in sets] == [(len(s.images), 4) for s in sets]


@pytest.fixture(scope="module")
def polar(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    """Six patches of a southern map whose central meridian is 40 E, the last one at the pole."""
    folder = tmp_path_factory.mktemp("polar")
    lon, lat = np.array([-150.0, -40, 0, 90, 130, 40]), np.array([-85.0, -80, -70, -88, -89.9, -90])
    x, y = Projection(-1, 40.0, 1737400.0, 1.0).xy(lon, lat)
    tile = write_tile(folder, places={"lon": lon, "lat": lat, "x0": x, "y0": y, "pole": np.full(6, -1)})
    split = write_split(folder, {int(i): "train" for i in tile.ids})
    path = folder / "shard.zarr.zip"
    write_shard("train", tile.patches, tile.visibility, split, FACTOR, path)
    return Shard(path)


@pytest.mark.parametrize("patch", range(5))
def test_at_a_true_place_images_follow_the_patchs_own_arc(polar: Shard, patch: int) -> None:
    place = polar.places[patch]
    assert place.map_lon == pytest.approx((place.lon - 40) % 360, abs=1e-9)
    scene = ArcScene(ArcDraw.model_validate({"place": True}), 0.1)
    drawn = np.concatenate([draw(scene, polar, seed, patch).images for seed in range(40)])
    assert set(drawn) == set(near_suns(sun_arc(place.lon - 40, place.lat), 0.1, fixed_directions()))


def test_a_true_place_without_a_sun_is_named(polar: Shard) -> None:
    message = r"shard\.zarr\.zip: patch 5: no usable .* own place, lon 40\.0000, lat -90\.0000"
    with pytest.raises(NoUsableDirectionError, match=message):
        draw(ArcScene(ArcDraw.model_validate({"place": True}), 0.1), polar, 0, 5)
    seasons = ArcScene(ArcDraw.model_validate({"place": True, "declination": [-1.5, 1.5]}), 0.1)
    assert set(draw(seasons, polar, 0, 5).images) <= set(range(72))


def test_an_ephemeris_gives_the_suns_of_the_track(polar: Shard) -> None:
    """The Sun over 10 E and 1.5 S: at 90 E, 80 degrees from it and near the pole, it stands in the west."""
    track = SunTrack("MOON_ME", ("2010",), np.array([10.0]), np.array([-1.5]), np.array([1.5e8]))
    scene = ArcScene(ArcDraw(place="ephemeris"), 0.1, None, track)
    drawn = draw(scene, polar, 0, 3)
    azimuth, elevation = sun_vector(90.0, -88.0, 10.0, -1.5, 1.5e8)
    assert (azimuth, elevation) == (pytest.approx(280.0, abs=0.1), pytest.approx(1.85, abs=0.01))
    expected = vectors(azimuth + 90 - 40, elevation)
    near = np.linalg.norm(fixed_directions() - expected, axis=1) < 0.1
    assert set(drawn.images) == set(np.flatnonzero(near))
    with pytest.raises(NoUsableDirectionError, match=r"patch 0: .* the ephemeris's 0 Suns above the horizon"):
        draw(scene, polar, 0, 0)
    with pytest.raises(
        ValueError, match=r"place: ephemeris: expected a track \(schema suntrack/1\), found none"
    ):
        draw(ArcScene(ArcDraw(place="ephemeris"), 0.1), polar, 0, 3)


@pytest.mark.parametrize("missing", [True, False])
def test_stored_sets_are_read_back(bright: Shard, missing: bool) -> None:
    stored = bright.draws("main")
    for patch in range(6):
        first, second = (draw(StoredScene("main", missing), bright, seed, patch) for seed in (0, 1))
        assert same(first, second)
        count = 5 - patch % 2
        np.testing.assert_array_equal(first.images, stored["images"][patch][:count])
        np.testing.assert_array_equal(first.suns, bright.fixed_suns[first.images])
        if missing:
            np.testing.assert_array_equal(first.strips, stored["strips"][patch][:count])
        else:
            assert first.strips is None
