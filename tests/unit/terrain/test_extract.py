"""Patches cut from the terrain: pixels, halos, gaps, tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from raster_files import NORTH, cut, relief, write_tif

from pipeline.config.stages.terrain import PatchesStage, TerrainStage
from pipeline.storage.store import open_store
from pipeline.terrain.extract import extract_tile, valid_halo
from pipeline.terrain.grid import RasterError
from pipeline.terrain.index import index_terrain, load_terrain

SMALL = PatchesStage(size_px=16, halo_px=8, stride_px=8, tiles=3)


def section(**changes) -> PatchesStage:
    return PatchesStage(**{**SMALL.model_dump(), **changes})


def index(folder: Path, dems: list[Path], counts: list[Path] | None = None) -> Path:
    index_terrain(dems, counts, TerrainStage(pixel_m=None), folder / "terrain.json")
    return folder / "terrain.json"


def extract(path: Path, patches: PatchesStage, tile: int = 0) -> xr.Dataset:
    out = path.parent / f"patches_{patches.tiles}_{tile}.zarr.zip"
    extract_tile(path, patches, tile, out)
    return open_store(out, schema="patches").load()


def test_patches_hold_the_pixels_around_their_place(tmp_path: Path) -> None:
    whole = relief(60, 90)
    path = index(tmp_path, cut(tmp_path, whole, {"a": (0, 60, 0, 50), "b": (10, 60, 40, 90)}))
    ds = extract(path, section(tiles=1))
    grid = load_terrain(path).sites[0].grid
    padded = np.full((60 + 16, 90 + 16), np.nan, np.float32)
    padded[8:-8, 8:-8] = whole
    padded[8:18, 58:] = np.nan  # above b there is no file
    assert ds.sizes["patch"] > 20
    for i in range(ds.sizes["patch"]):
        r, c = int(ds.row[i]), int(ds.col[i])
        np.testing.assert_array_equal(ds.dem[i], padded[r : r + 32, c : c + 32])
        core = ds.dem[i].values[8:-8, 8:-8]
        np.testing.assert_array_equal(core, whole[r : r + 16, c : c + 16])
    # Centres in metres: the corner shared by the four middle pixels.
    np.testing.assert_allclose(ds.x0, 20.0 * (ds.col + 8))
    np.testing.assert_allclose(ds.y0, -20.0 * (ds.row + 8))
    lon, lat = grid.projection.lonlat(ds.x0, ds.y0)
    np.testing.assert_allclose([ds.lon, ds.lat], [lon, lat])
    assert (ds.pole == -1).all() and (ds.attrs["pixel_m"], ds.attrs["size_px"]) == (20.0, 16)
    assert "count" not in ds


def test_halo_widths() -> None:
    patch = np.zeros((10, 10), np.float32)
    np.testing.assert_array_equal(valid_halo(patch, 3), [3, 3, 3, 3])
    patch[1, 4] = np.nan  # second line out, above
    patch[5, 7] = np.nan  # next to the patch, right
    patch[9, 9] = np.nan  # a corner belongs to no side
    patch[:, 0] = np.nan
    np.testing.assert_array_equal(valid_halo(patch, 3), [1, 0, 3, 2])
    np.testing.assert_array_equal(valid_halo(patch[3:7, 3:7], 0), [0, 0, 0, 0])


def test_halo_at_the_edge_of_the_data(tmp_path: Path) -> None:
    path = index(tmp_path, [write_tif(tmp_path / "a.tif", relief(40, 40))])
    ds = extract(path, section(stride_px=16, tiles=1))
    # 2 x 2 patches with 4 px left over on every side; 8 px of halo were asked for.
    np.testing.assert_array_equal(ds.row, [4, 20, 4, 20])
    np.testing.assert_array_equal(ds.halo, [[4, 8, 8, 4], [8, 8, 4, 4], [4, 4, 8, 8], [8, 4, 4, 8]])
    assert np.isnan(ds.dem[0].values[:4]).all() and not np.isnan(ds.dem[0].values[4:, 4:]).any()


def test_patches_with_a_missing_pixel_are_left_out(tmp_path: Path) -> None:
    data = relief(48, 48)
    data[20, 20] = np.nan
    path = index(tmp_path, [write_tif(tmp_path / "a.tif", data)])
    ds = extract(path, section(stride_px=16, tiles=1))
    assert ds.attrs["candidates"] == 9 and ds.attrs["left_out_missing"] == 1
    assert 4 not in ds.id and list(ds.id.values) == [0, 1, 2, 3, 5, 6, 7, 8]
    # The gap shows in the halo of its neighbours.
    assert int(ds.halo[0, 1]) == 8 and int(ds.halo[1, 1]) == 4


@pytest.mark.parametrize("window", [1 << 10, 1 << 23])
def test_tiles_and_windows_change_nothing(
    tmp_path: Path, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = relief(70, 120)
    windows = {"a": (0, 40, 0, 40), "b": (30, 70, 20, 60), "c": (0, 70, 70, 120)}
    path = index(tmp_path, cut(tmp_path, whole, windows))
    want = extract(path, section(tiles=1, stride_px=16))
    monkeypatch.setattr("pipeline.terrain.extract.WINDOW_PX", window)
    parts = [extract(path, section(tiles=5, stride_px=16), t) for t in range(5)]
    got = xr.concat(parts, "patch", data_vars="all", combine_attrs="drop")
    for name in want.data_vars:
        np.testing.assert_array_equal(got[name], want[name], err_msg=str(name))
    assert (np.diff(want.id) > 0).all()


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    path = index(tmp_path, [write_tif(tmp_path / "a.tif", relief(40, 40))])
    for name in ("1", "2"):
        extract_tile(path, SMALL, 1, tmp_path / name)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_counts_and_both_poles(tmp_path: Path) -> None:
    dems = [
        write_tif(tmp_path / "south.tif", relief(32, 32), origin=(0, 0)),
        write_tif(tmp_path / "north.tif", relief(32, 32, 1), NORTH, origin=(-640, 640)),
    ]
    spots = np.random.default_rng(0).integers(0, 3, (2, 32, 32)).astype(np.uint16)
    counts = [
        write_tif(tmp_path / "cs.tif", spots[0], origin=(0, 0)),
        write_tif(tmp_path / "cn.tif", spots[1], NORTH, origin=(-640, 640)),
    ]
    ds = extract(index(tmp_path, dems, counts), section(stride_px=16, tiles=1))
    np.testing.assert_array_equal(ds.pole, [-1] * 4 + [1] * 4)
    np.testing.assert_array_equal(np.sign(ds.lat), ds.pole)
    assert [s["files"] for s in ds.attrs["sites"]] == [["south"], ["north"]]
    for i in range(8):
        r, c = int(ds.row[i]), int(ds.col[i])
        np.testing.assert_array_equal(ds["count"][i], spots[int(ds.site[i]), r : r + 16, c : c + 16])


def test_empty_tiles_are_valid_stores(tmp_path: Path) -> None:
    path = index(tmp_path, [write_tif(tmp_path / "a.tif", relief(20, 20))])
    sizes = [extract(path, section(tiles=4), t).sizes["patch"] for t in range(4)]
    assert sizes == [0, 0, 0, 1]
    ds = open_store(tmp_path / "patches_4_0.zarr.zip")
    assert ds.dem.shape == (0, 32, 32) and ds.attrs["tile"] == 0


def test_refused(tmp_path: Path) -> None:
    path = index(tmp_path, [write_tif(tmp_path / "a.tif", relief(15, 400))])
    with pytest.raises(ValueError, match=r"tile: expected 0 to 2 \(patches.tiles\), found 3"):
        extract_tile(path, SMALL, 3, tmp_path / "x")
    with pytest.raises(RasterError, match=r"at least 16 px per side .* found 15 x 400"):
        extract_tile(path, SMALL, 0, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_real_patches(tmp_path: Path, shared_data: Path) -> None:
    """Two real overlapping windows: one site, patches equal to the file's own pixels."""
    import rasterio

    files = [shared_data / "lola_40m" / f"de_gerlache_rim{n}_40m.tif" for n in ("", "_2")]
    ds = extract(index(tmp_path, files), PatchesStage(size_px=96, halo_px=32, stride_px=96, tiles=2), 1)
    assert ds.sizes["patch"] == 26 and not np.isnan(ds.dem[:, 32:-32, 32:-32]).any()
    with rasterio.open(files[1]) as d:
        for i in range(26):
            row, col = (int(v) - 48 for v in d.index(float(ds.x0[i]) + 20, float(ds.y0[i]) - 20))
            if 0 <= row <= 625 - 96 and 0 <= col <= 625 - 96:
                want = d.read(1, window=((row, row + 96), (col, col + 96)))
                np.testing.assert_array_equal(ds.dem[i, 32:-32, 32:-32], want)
