"""Sites and lattices: merging, reads across files, and the index that the other stages start from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_files import NORTH, SOUTH, cut, relief, write_tif

from pipeline.config.stages.terrain import TerrainStage
from pipeline.terrain.grid import GridError, RasterError
from pipeline.terrain.index import index_terrain, load_terrain
from pipeline.terrain.lattice import Terrain
from pipeline.terrain.patch_grid import candidates

ANY = TerrainStage(pixel_m=None)


def build(folder: Path, dems: list[Path], counts: list[Path] | None = None, inputs=ANY) -> Terrain:
    index_terrain(dems, counts, inputs, folder / "terrain.json")
    return load_terrain(folder / "terrain.json")


def test_overlapping_touching_and_lone_files(tmp_path: Path) -> None:
    whole = relief(100, 200)
    windows = {
        "b": (10, 50, 20, 60),
        "a": (30, 70, 50, 90),  # overlaps b
        "c": (70, 90, 80, 100),  # touches a
        "far": (0, 40, 150, 190),
    }
    terrain = build(tmp_path, cut(tmp_path, whole, windows))
    assert [s.name for s in terrain.sites] == ["a+b+c", "far"]
    assert {s.lattice for s in terrain.sites} == {0}
    first = terrain.sites[0].grid
    assert (first.height, first.width, first.origin) == (80, 80, (400.0, -200.0))
    # A read across all three files, and past the bounding box, gives the pixels they were cut from.
    got = terrain.read(0, -5, 85, -5, 85)
    want = np.full((90, 90), np.nan, np.float32)
    for r0, r1, c0, c1 in list(windows.values())[:3]:
        want[r0 - 5 : r1 - 5, c0 - 15 : c1 - 15] = whole[r0:r1, c0:c1]
    np.testing.assert_array_equal(got, want)


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    files = cut(tmp_path, relief(60, 90), {"a": (0, 30, 0, 30), "b": (20, 60, 10, 40), "c": (0, 40, 60, 90)})
    index_terrain(files, None, ANY, tmp_path / "1.json")
    index_terrain(files[::-1], None, ANY, tmp_path / "2.json")
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


@settings(max_examples=15, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 30), st.integers(5, 20), st.integers(0, 30), st.integers(5, 20)),
        min_size=1,
        max_size=5,
    )
)
def test_sites_cover_each_file_once_and_read_its_pixels(tmp_path_factory, boxes) -> None:
    folder = tmp_path_factory.mktemp("lattice")
    whole = relief(50, 50)
    windows = {f"f{i}": (r, r + h, c, c + w) for i, (r, h, c, w) in enumerate(boxes)}
    terrain = build(folder, cut(folder, whole, windows))
    members = [terrain.sources[m.source].stem for s in terrain.sites for m in s.members]
    assert sorted(members) == sorted(windows)
    inside = np.zeros((50, 50), int)
    for r0, r1, c0, c1 in windows.values():
        inside[r0:r1, c0:c1] = 1
    seen = np.zeros((50, 50), int)
    for site in terrain.sites:
        r, c = round(-site.grid.origin[1] / 20), round(site.grid.origin[0] / 20)
        data = terrain.read(site.index, 0, site.grid.height, 0, site.grid.width)
        view = whole[r : r + site.grid.height, c : c + site.grid.width]
        valid = ~np.isnan(data)
        np.testing.assert_array_equal(data[valid], view[valid])
        seen[r : r + site.grid.height, c : c + site.grid.width] += valid
    np.testing.assert_array_equal(seen, inside)  # also: no pixel in two sites


def test_other_lattices_and_poles_are_other_sites(tmp_path: Path) -> None:
    data = relief(10, 10)
    files = [
        write_tif(tmp_path / "half.tif", data, origin=(10.0, 0.0)),
        write_tif(tmp_path / "whole.tif", data, origin=(0.0, 0.0)),
        write_tif(tmp_path / "north.tif", data, NORTH, origin=(0.0, 0.0)),
    ]
    terrain = build(tmp_path, files)
    # South first, as in the published numbering.
    assert [(s.name, s.grid.pole) for s in terrain.sites] == [("half", -1), ("whole", -1), ("north", 1)]
    assert len({s.lattice for s in terrain.sites}) == 3


def test_gaps_of_one_file_are_filled_by_another(tmp_path: Path) -> None:
    whole = relief(30, 30)
    files = cut(tmp_path, whole, {"a": (0, 30, 0, 20), "b": (0, 30, 10, 30)})
    holed = whole[:, :20].copy()
    holed[5:9, 12:16] = np.nan
    write_tif(tmp_path / "a.tif", holed)
    np.testing.assert_array_equal(build(tmp_path, files).read(0, 0, 30, 0, 30), whole)


def test_overlaps_must_agree(tmp_path: Path) -> None:
    whole = relief(40, 40)
    files = cut(tmp_path, whole, {"a": (0, 40, 0, 30), "b": (0, 40, 20, 40)})
    build(tmp_path, files)
    write_tif(tmp_path / "b.tif", whole[:, 20:] + np.float32(0.5), origin=(400.0, 0.0))
    with pytest.raises(RasterError, match=r"a\.tif and .*b\.tif: expected equal heights where they overlap"):
        build(tmp_path, files)


def test_count_maps(tmp_path: Path) -> None:
    whole = relief(20, 40)
    counts = np.arange(800, dtype=np.int16).reshape(20, 40)
    windows = {"a": (0, 20, 0, 25), "b": (0, 20, 20, 40)}
    dems = cut(tmp_path, whole, windows)
    (tmp_path / "count").mkdir()
    maps = cut(tmp_path / "count", counts, windows)
    terrain = build(tmp_path, dems, maps)
    assert terrain.has_count
    np.testing.assert_array_equal(terrain.read_count(0, 2, 18, 1, 39), counts[2:18, 1:39])
    bare = build(tmp_path, dems)
    assert not bare.has_count
    with pytest.raises(RasterError, match=r"inputs\.count: expected a count map"):
        bare.read_count(0, 0, 1, 0, 1)
    with pytest.raises(GridError, match=r"b\.tif: expected the grid of its DEM .*a\.tif"):
        build(tmp_path, dems, maps[::-1])
    with pytest.raises(RasterError, match="expected 2 files, one for each DEM, found 1"):
        build(tmp_path, dems, maps[:1])


def test_refused_inputs(tmp_path: Path) -> None:
    data = relief(10, 10)
    good = write_tif(tmp_path / "good.tif", data)
    coarse = write_tif(tmp_path / "coarse.tif", data, pixel=40.0, origin=(4000.0, 0.0))
    with pytest.raises(GridError, match=r"good\.tif: expected pixels of 5 m \(inputs\.pixel_m\), found 20 m"):
        build(tmp_path, [good], inputs=TerrainStage(pixel_m=5))
    with pytest.raises(GridError, match=r"good\.tif: expected the pixel size of .*coarse\.tif \(40 m\)"):
        build(tmp_path, [good, coarse])
    with pytest.raises(RasterError, match=r"good\.tif: expected each DEM once"):
        build(tmp_path, [good, good])
    radius = write_tif(tmp_path / "radius.tif", data + np.float32(1737400))
    with pytest.raises(RasterError, match=r"radius\.tif: expected heights in metres above R .* found 1\.74"):
        build(tmp_path, [radius])
    with pytest.raises(RasterError, match="at least one DEM file"):
        build(tmp_path, [])
    assert not (tmp_path / "terrain.json").exists()


@pytest.mark.parametrize("pixel", [5.0, 20.0, 100.0])
def test_heights_in_kilometres_are_refused(pixel: float, tmp_path: Path) -> None:
    """Also where the numbers alone could be metres; level terrain, and smooth terrain in metres, pass."""
    row, col = np.mgrid[:80, :90] * pixel
    metres = (3000 + 200 * np.sin(row / 300) + 0.02 * col).astype(np.float32)
    path = write_tif(tmp_path / "km.tif", metres / 1000, pixel=pixel)
    wanted = rf"km\.tif: expected heights in metres .* found \S+ to 3\.\d+ on pixels of {pixel:g} m \(kilom"
    with pytest.raises(RasterError, match=wanted):
        build(tmp_path, [path])
    for number, heights in enumerate((metres, 0 * metres, 0 * metres + 5)):
        build(tmp_path, [write_tif(tmp_path / f"{number}.tif", heights, pixel=pixel)])


def test_a_file_that_changed_since_the_index_is_refused(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", relief(10, 10))
    terrain = build(tmp_path, [path])
    write_tif(path, relief(10, 10), origin=(20.0, 0.0))
    with pytest.raises(RasterError, match=r"a\.tif: expected the file that was indexed"):
        terrain.read(0, 0, 5, 0, 5)


def test_more_files_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.terrain.lattice._OPEN_FILES", 2)
    whole = relief(10, 60)
    terrain = build(tmp_path, cut(tmp_path, whole, {f"f{i}": (0, 10, 10 * i, 10 * i + 10) for i in range(6)}))
    for _ in range(2):
        np.testing.assert_array_equal(terrain.read(0, 0, 10, 0, 60), whole)


def test_index_is_plain_and_exact(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", relief(10, 12), SOUTH.replace("lon_0=0", "lon_0=30"))
    terrain = build(tmp_path, [path])
    index = json.loads((tmp_path / "terrain.json").read_text())
    assert index["schema"] == "terrain/1"
    assert index["files"][0]["dem"] == str(path)
    assert index["sites"][0]["members"] == [[0, 0, 0]]
    assert terrain.sites[0].grid == terrain.sources[0].grid


def test_real_windows(tmp_path: Path, shared_data: Path) -> None:
    """23 real windows on one lattice: three groups overlap, bit for bit, the rest stand alone."""
    files = sorted((shared_data / "lola_40m").glob("*.tif"))
    terrain = build(tmp_path, files, inputs=TerrainStage(pixel_m=40))
    assert sorted(len(s.members) for s in terrain.sites) == [1, 1, 1, 1, 1, 1, 1, 2, 3, 11]
    assert {s.lattice for s in terrain.sites} == {0}
    big = next(s for s in terrain.sites if len(s.members) == 11)
    assert {f.split("_")[0] for f in terrain.files(big.index)} == {
        "connecting", "faustini", "shackleton", "shoemaker",
    }  # fmt: skip


def test_block_means_repeat_the_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = relief(100, 90)
    whole[31, 44] = np.nan
    files = cut(tmp_path, whole, {"a": (0, 62, 0, 70), "b": (50, 99, 0, 70), "small": (0, 3, 80, 90)})
    terrain = build(tmp_path, files, inputs=TerrainStage(pixel_m=20.0, blocks=[2, 4]))
    assert [(s.name, s.block, s.whole) for s in terrain.sites] == [
        ("a+b", 1, 0),
        ("small", 1, 1),
        ("a+b, means of 2 x 2 px", 2, 0),
        ("small, means of 2 x 2 px", 2, 1),
        ("a+b, means of 4 x 4 px", 4, 0),
    ]
    assert [s.index for s in terrain.true_sites] == [0, 1] and len({s.lattice for s in terrain.sites}) == 3
    assert terrain.files(2) == terrain.files(0) and terrain.pixel_m == 20.0
    grid = terrain.sites[4].grid
    assert (grid.pixel_m, grid.height, grid.width, grid.origin) == (80.0, 24, 17, (0.0, 0.0))
    assert terrain.footprints(4) == [(0, 15, 0, 17), (13, 24, 0, 17)]
    # Heights over four: slopes over pixels of 20 m are those over 80 m. The last columns are no whole block.
    monkeypatch.setattr("pipeline.terrain.lattice._WINDOW_PX", 1000)
    got = terrain.read(4, -1, 24, 0, 18)
    means = whole[:96, :68].reshape(24, 4, 17, 4).mean(axis=(1, 3), dtype=np.float64) / 4
    assert np.isnan(got[0]).all() and np.isnan(got[:, 17]).all() and np.isnan(got[1 + 7, 11])
    np.testing.assert_allclose(got[1:, :17], means, rtol=1e-6)
    np.testing.assert_array_equal(terrain.read(0, 0, 62, 0, 70), whole[:62, :70])


def test_blocks_of_sites_apart_by_half_a_block_are_on_two_lattices(tmp_path: Path) -> None:
    files = cut(tmp_path, relief(60, 90), {"a": (0, 30, 0, 30), "b": (20, 60, 41, 80), "c": (0, 10, 50, 60)})
    terrain = build(tmp_path, files, inputs=TerrainStage(pixel_m=None, blocks=[2, 3]))
    assert [s.lattice for s in terrain.sites] == [0, 0, 0, 1, 2, 1, 3, 4, 5]
    for a in terrain.sites:
        for b in terrain.sites:
            assert (a.lattice == b.lattice) == (a.grid.lattice_offset(b.grid) is not None)


def test_spots_of_blocks_are_counted(tmp_path: Path) -> None:
    dems = cut(tmp_path, relief(8, 8), {"a": (0, 8, 0, 8)})
    counts = cut(tmp_path, np.arange(64, dtype=np.float32).reshape(8, 8), {"a_count": (0, 8, 0, 8)})
    terrain = build(tmp_path, dems, counts, TerrainStage(pixel_m=None, blocks=[4]))
    sums = np.arange(64).reshape(2, 4, 2, 4).sum(axis=(1, 3))
    np.testing.assert_array_equal(terrain.read_count(1, 0, 2, 0, 2), sums)


def test_other_pixel_sizes_are_rescaled_if_asked(tmp_path: Path) -> None:
    coarse = write_tif(tmp_path / "coarse.tif", relief(30, 30), pixel=20.0)
    fine = write_tif(tmp_path / "fine.tif", relief(40, 40, 1), pixel=5.0, origin=(5000.0, 0.0))
    terrain = build(tmp_path, [coarse, fine], inputs=TerrainStage(pixel_m=20.0, rescale=True))
    assert [s.name for s in terrain.true_sites] == ["coarse"] and terrain.sites[1].grid.pixel_m == 5.0
    np.testing.assert_array_equal(terrain.read(0, 0, 30, 0, 30), relief(30, 30))
    np.testing.assert_array_equal(terrain.read(1, 0, 40, 0, 40), 4 * relief(40, 40, 1))
    every = candidates(terrain, 10, 5)
    assert every.on_grid[every.site == 0].any() and not every.on_grid[every.site == 1].any()
    for inputs in (TerrainStage(pixel_m=20.0), TerrainStage(pixel_m=None)):
        with pytest.raises(GridError, match=r"fine\.tif: expected .*20 m.*found 5 m"):
            build(tmp_path, [coarse, fine], inputs=inputs)
