"""Where the region lies."""

from __future__ import annotations

import numpy as np
import pytest
from raster_files import write_tif
from region_terrain import SIZE, hills, label_patches, make_terrain

from pipeline.config.region import RegionSection
from pipeline.config.stages.terrain import TerrainStage
from pipeline.region.place import PlaceError, SplitMap, find_place, split_map
from pipeline.terrain.index import index_terrain, load_terrain


def place_of(terrain, test, **keys):
    splits = split_map(terrain, label_patches(terrain, test), SIZE, SIZE)
    return find_place(terrain, RegionSection(**keys), splits), splits


def test_automatic_place_holds_most_test_patches(tmp_path):
    terrain = make_terrain(tmp_path, a=hills(200, 264), b=hills(200, 200, seed=1))
    test = [(0, 0, 0), (1, 2, 3), (1, 3, 3), (1, 3, 2), (1, 0, 0)]
    place, splits = place_of(terrain, test, size_px=64)
    first = splits.patches.anchors[1]
    assert (place.site, place.row, place.col) == (1, first[0] + 2 * SIZE, first[1] + 2 * SIZE)
    corners = splits.inside(place, "test").tolist()
    assert sorted(corners) == [[0, 32], [32, 0], [32, 32]]
    assert splits.inside(place, "train").tolist() == [[0, 0]]


def test_rescaled_sites_hold_no_region(tmp_path):
    """Neither a file with other pixels, the first by name, nor block means."""
    fine = write_tif(tmp_path / "a.tif", hills(160, 160), pixel=5.0, nodata=np.nan)
    own = write_tif(tmp_path / "b.tif", hills(160, 160), origin=(1e5, 0.0), nodata=np.nan)
    stage = TerrainStage(pixel_m=20.0, rescale=True, blocks=[2])
    index_terrain([fine, own], None, stage, tmp_path / "terrain.json")
    terrain = load_terrain(tmp_path / "terrain.json")
    assert [terrain.rescaled(site) for site in terrain.sites] == [True, False, True, True]
    place, _ = place_of(terrain, [(1, 1, 1), (1, 2, 2)], size_px=64)
    assert (place.site, place.row, place.col) == (1, 32, 32)
    with pytest.raises(PlaceError, match=r"region\.size_px: expected .* the largest there has 160 px"):
        place_of(terrain, [], size_px=192)


def test_ties_go_to_the_first_place(tmp_path):
    terrain = make_terrain(tmp_path, a=hills(192, 192), b=hills(192, 192, seed=1))
    place, _ = place_of(terrain, [(1, 1, 1), (0, 3, 3)], size_px=64)
    assert (place.site, place.row, place.col) == (0, 64, 64)
    place, _ = place_of(terrain, [(1, 0, 0)], size_px=64)
    assert (place.site, place.row, place.col) == (1, 0, 0)


def test_count_agrees_with_brute_force(tmp_path):
    terrain = make_terrain(tmp_path, a=hills(330, 300))
    rng = np.random.default_rng(4)
    test = [(0, i, j) for i in range(10) for j in range(9) if rng.random() < 0.3]
    place, splits = place_of(terrain, test, size_px=80)
    first = splits.patches.anchors[0]
    best, spot = -1, None
    for i in range(10):
        for j in range(9):
            row, col = first[0] + SIZE * i, first[1] + SIZE * j
            if row + 80 > 330 or col + 80 > 300:
                continue
            n = sum((0, a, b) in test for a in (i, i + 1) for b in (j, j + 1))
            if n > best:
                best, spot = n, (row, col)
    assert (place.row, place.col) == spot
    assert len(splits.inside(place, "test")) == best


def test_missing_pixels_move_the_place(tmp_path):
    dem = hills(160, 160)
    dem[40, 40] = np.nan
    terrain = make_terrain(tmp_path, a=dem)
    test = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 4, 4)]
    place, _ = place_of(terrain, test, size_px=64)
    assert np.isfinite(terrain.read(place.site, *place.box)).all()
    assert (place.row, place.col) == (96, 96)


def test_a_missing_pixel_beside_the_whole_patches_counts_too(tmp_path):
    dem = hills(80, 160)
    dem[70, 10] = np.nan  # below the cells that a region of 72 px at the corner is made of
    place, _ = place_of(make_terrain(tmp_path, a=dem), [(0, 0, 0)], size_px=72)
    assert place.col > 10


def test_no_place_says_what_there_is(tmp_path):
    dem = hills(160, 160)
    dem[80, 80] = np.nan
    terrain = make_terrain(tmp_path, a=dem)
    with pytest.raises(
        PlaceError, match=r"region\.size_px: expected a square of 96 px.*largest there has 64 px"
    ):
        place_of(terrain, [(0, 0, 0)], size_px=96)
    with pytest.raises(PlaceError, match=r"region\.size_px: expected a square of 640 px"):
        place_of(terrain, [(0, 0, 0)], size_px=640)


def test_given_centre(tmp_path):
    terrain = make_terrain(tmp_path, a=hills(160, 160), b=hills(160, 160, seed=1))
    x, y = 1e5 + 1000 + 80 * 20, 2000 - 70 * 20  # an edge between pixels of site b
    place, _ = place_of(terrain, [], size_px=64, center_m=(x, y))
    assert (place.site, place.row, place.col) == (1, 70 - 32, 80 - 32)
    left, bottom, right, top = place.grid(terrain).bounds
    assert ((left + right) / 2, (bottom + top) / 2) == (x, y)


def test_given_centre_without_data(tmp_path):
    dem = hills(160, 160)
    dem[80, 80] = np.nan
    terrain = make_terrain(tmp_path, a=dem)
    with pytest.raises(PlaceError, match=r"region\.center_m: .* found 1 of them without data on a"):
        place_of(terrain, [], size_px=64, center_m=(1000 + 1600, 2000 - 1600))
    with pytest.raises(PlaceError, match=r"region\.center_m: .* no terrain there"):
        place_of(terrain, [], size_px=64, center_m=(-5e5, 0))


def test_a_split_of_another_terrain_is_refused(tmp_path):
    terrain = make_terrain(tmp_path, a=hills(160, 160))
    labels = {**label_patches(terrain, []), "987654": "test"}
    with pytest.raises(PlaceError, match="found 1 others"):
        split_map(terrain, labels, SIZE, SIZE)


def test_strided_ids_are_put_on_the_map(tmp_path):
    terrain = make_terrain(tmp_path, a=hills(128, 128))
    splits = split_map(terrain, {}, SIZE, 16)
    labels = {str(i): "test" if on else "train" for i, on in zip(splits.patches.id, splits.patches.on_grid)}
    splits = split_map(terrain, labels, SIZE, 16)
    assert isinstance(splits, SplitMap)
    place = find_place(terrain, RegionSection(size_px=64), splits)
    assert (place.row, place.col) == (0, 0)
    assert len(splits.inside(place, "test")) == 4
    assert len(splits.inside(place, "train")) == 5
