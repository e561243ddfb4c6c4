"""The a priori DEM of a map: what is known, what is filled, and how another grid's heights come onto it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from raster_files import NORTH, SOUTH, write_tif

from pipeline.config.site import SiteSection
from pipeline.maps.beside import refuse_another_grid
from pipeline.maps.ground import SiteGround, filled, filled_between, read_ground
from pipeline.maps.layout import lay_out
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.grid import RasterError
from pipeline.terrain.map_grid import lunar_projection
from pipeline.terrain.readers import open_raster
from pipeline.terrain.sampling import block_nanmean
from pipeline.terrain.site_raster import open_site_raster

LONLAT = "+proj=longlat +R=1737400 +no_defs"
LOCAL = "+proj=stere +lat_0=-26 +lon_0=3.5 +k=1 +R=1737400 +units=m +no_defs"
FACTOR, WINDOW, HALO = 8, 32, 2


def hills(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Heights of some hundred metres, of doubles that float32 holds."""
    y, x = np.mgrid[:rows, :cols]
    rough = np.random.default_rng(seed).normal(size=(rows, cols))
    return (300 * np.sin(y / 17) * np.cos(x / 23) + 5 * rough - 1500).astype(np.float32)


def ground_of(dem: Path, light_m: float = 0.0, **site: Any) -> SiteGround:
    section = SiteSection(dem=str(dem), **site)
    return read_ground(section, lay_out(section, FACTOR, WINDOW), HALO, light_m)


# --- a fine DEM -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tif(tmp_path_factory.mktemp("fine") / "dem.tif", hills(120, 136), crs=LOCAL)


def test_a_fine_dem_is_its_own_prior_and_its_cells_are_block_means(fine: Path) -> None:
    data = hills(120, 136).astype(np.float64)
    ground = ground_of(fine, bounds=(40 * 20.0, -72 * 20.0, 88 * 20.0, -24 * 20.0))
    np.testing.assert_array_equal(ground.dem, data[24:72, 40:88])
    assert ground.known.all()
    around = data[24 - 16 : 72 + 16, 40 - 16 : 88 + 16]
    expected = around.reshape(10, 8, 10, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(ground.cells, expected, rtol=0, atol=1e-9)
    margin = ground.margin_px
    assert margin == HALO * FACTOR
    np.testing.assert_array_equal(ground.surface, data[24 - margin : 72 + margin, 40 - margin : 88 + margin])
    assert (ground.count, ground.error, ground.notes) == (None, None, ())


def test_the_surface_reaches_as_far_as_light_and_dem(fine: Path) -> None:
    box = (40 * 20.0, -72 * 20.0, 88 * 20.0, -24 * 20.0)
    assert ground_of(fine, light_m=19 * 20.0, bounds=box).margin_px == 19
    far = ground_of(fine, light_m=1e6, bounds=box)
    assert far.margin_px == 48  # the rows below and the columns to the right
    data = np.pad(hills(120, 136), 100, constant_values=np.nan)
    cut = data[100 + 24 - 48 : 100 + 72 + 48, 100 + 40 - 48 : 100 + 88 + 48]
    np.testing.assert_array_equal(far.surface, cut)


def test_holes_are_filled_inside_and_known_says_where(tmp_path: Path) -> None:
    data = hills(64, 64)
    holed = data.copy()
    holed[20:26, 30:36] = -9999
    holed[:, 60:] = -9999
    ground = ground_of(write_tif(tmp_path / "dem.tif", holed, crs=LOCAL, nodata=-9999))
    np.testing.assert_array_equal(ground.known, holed != -9999)
    assert np.isfinite(ground.dem).all()
    np.testing.assert_array_equal(ground.dem[ground.known], data[ground.known])
    ring = data[18:28, 28:38]
    hole = ground.dem[20:26, 30:36]
    assert ring.min() - 1 <= hole.min() and hole.max() <= ring.max() + 1
    # The edge is held in the DEM, and is no terrain that casts shadows.
    np.testing.assert_array_equal(ground.dem[:, 60:], np.repeat(ground.dem[:, 59:60], 4, axis=1))
    m = ground.margin_px
    surface = ground.surface[m:-m, m:-m]
    assert np.isnan(surface[:, 60:]).all() and np.isfinite(surface[:, :60]).all()
    assert np.isnan(ground.surface[:m]).all()
    # A cell has a mean where a quarter of it is known.
    inner = ground.cells[HALO:-HALO, HALO:-HALO]
    assert np.isfinite(inner).all()
    np.testing.assert_allclose(inner[0, 7], data[:8, 56:60].mean(dtype=np.float64), atol=1e-9)


def test_block_means_need_a_quarter_of_a_block() -> None:
    block = np.full((8, 16), np.nan)
    block[:2, :8], block[:2, 8:15] = 3.0, 5.0  # 16 of 64, 14 of 64
    np.testing.assert_array_equal(block_nanmean(block, 8), [[3, np.nan]])


def test_filling_between_keeps_planes_nearly_and_edges_open() -> None:
    y, x = np.mgrid[:40, :50].astype(np.float64)
    plane = 1e3 + 3 * x - 2 * y
    holed = plane.copy()
    holed[18:22, 20:24] = np.nan
    holed[0, 10] = np.nan
    found = filled_between(holed)
    assert np.isnan(found).sum() == 1 and np.isnan(found[0, 10])
    assert np.abs(found - plane)[18:22, 20:24].max() < 6
    known = np.isfinite(holed)
    np.testing.assert_array_equal(found[known], plane[known])
    assert filled(holed)[0, 10] in (plane[0, 9], plane[0, 11], plane[1, 10])


def test_a_dem_without_heights_on_the_map_is_refused(tmp_path: Path) -> None:
    data = hills(120, 120)
    data[60:] = -9999
    path = write_tif(tmp_path / "dem.tif", data, crs=LOCAL, nodata=-9999)
    with pytest.raises(RasterError, match=r"dem\.tif: expected heights on the map.*found none"):
        ground_of(path, bounds=(0.0, -2400.0, 640.0, -1760.0))
    # With heights around it that only its halo reaches, too.
    with pytest.raises(RasterError, match=r"dem\.tif: expected heights on the map.*found none"):
        ground_of(path, bounds=(0.0, -1840.0, 640.0, -1200.0))


@pytest.mark.parametrize("unit", ["km", None])
def test_units_of_heights(tmp_path: Path, unit: str | None) -> None:
    data = hills(32, 32)
    path = write_tif(tmp_path / "dem.tif", data / np.float32(1000), crs=LOCAL, pixel=200.0)
    if unit is None:
        with pytest.raises(RasterError, match=r"site.height_unit: km"):
            ground_of(path)
        return
    ground = ground_of(path, height_unit=unit)
    np.testing.assert_allclose(ground.dem, data, atol=1e-3)
    assert ground.notes == ("heights taken from kilometres",)


# --- a coarse DEM -----------------------------------------------------------------------------------------


def test_a_coarse_dem_is_its_cells_and_their_bicubic(tmp_path: Path) -> None:
    data = hills(20, 24)
    path = write_tif(tmp_path / "dem.tif", data, crs=LOCAL, pixel=160.0)
    box = (5 * 160.0, -11 * 160.0, 11 * 160.0, -5 * 160.0)
    ground = ground_of(path, pixel_m=20.0, bounds=box)
    cells = data[3:13, 3:13].astype(np.float64)
    np.testing.assert_array_equal(ground.cells, cells)
    expected = prior_from_lr(torch.from_numpy(cells), HALO, FACTOR).numpy()
    m = ground.margin_px
    np.testing.assert_allclose(ground.surface[m:-m, m:-m], expected, rtol=0, atol=1e-3)
    assert ground.known.all() and ground.layout.exact_cells
    bicubic = ground_of(path, pixel_m=20.0, bounds=box, exact_cells=False)
    np.testing.assert_allclose(bicubic.dem, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(20, 24), (7, 9)])
def test_the_dem_has_the_means_of_exact_cells(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The bicubic of cells alone misses them by metres."""
    data = hills(*shape) + 100 * np.random.default_rng(3).normal(size=shape).astype(np.float32)
    ground = ground_of(write_tif(tmp_path / "dem.tif", data, crs=LOCAL, pixel=160.0), pixel_m=20.0)
    np.testing.assert_allclose(block_nanmean(ground.dem, FACTOR), data, rtol=0, atol=1e-6)


def test_missing_cells_are_known_to_be_missing(tmp_path: Path) -> None:
    data = hills(8, 8)
    data[3, 4] = data[0, 7] = -9999
    ground = ground_of(
        write_tif(tmp_path / "dem.tif", data, crs=LOCAL, pixel=160.0, nodata=-9999), pixel_m=20.0
    )
    np.testing.assert_array_equal(ground.known, (data != -9999).repeat(8, axis=0).repeat(8, axis=1))
    inner = ground.cells[HALO:-HALO, HALO:-HALO]
    np.testing.assert_array_equal(np.isnan(inner), data == -9999)
    m = ground.margin_px
    surface = ground.surface[m:-m, m:-m]
    assert np.isfinite(surface[24:32, 32:40]).all() and np.isnan(surface[:8, 56:]).all()
    assert np.isfinite(ground.dem).all()


# --- maps beside it ---------------------------------------------------------------------------------------


def test_count_and_error_lie_on_the_dem(fine: Path, tmp_path: Path) -> None:
    count = np.random.default_rng(1).integers(0, 9, (120, 136)).astype(np.uint8)
    error = np.linspace(0, 3, 120 * 136, dtype=np.float32).reshape(120, 136)
    maps = {
        "count": str(write_tif(tmp_path / "count.tif", count, crs=LOCAL)),
        "error": str(write_tif(tmp_path / "error.tif", error, crs=LOCAL)),
    }
    ground = ground_of(fine, bounds=(800.0, -1440.0, 1760.0, -480.0), **maps)
    assert ground.count is not None and ground.error is not None
    np.testing.assert_array_equal(ground.count, count[24:72, 40:88])
    np.testing.assert_array_equal(ground.error, error[24:72, 40:88])
    path = tmp_path / "ground.zip"
    ground.save(path)
    again = SiteGround.load(path)
    assert again.layout == ground.layout
    for name in vars(ground):
        np.testing.assert_array_equal(getattr(again, name), getattr(ground, name), err_msg=name)


@pytest.mark.parametrize(
    "other",
    [{"crs": NORTH}, {"crs": LOCAL, "pixel": 10.0}, {"crs": LOCAL, "origin": (20.0, 0.0)}],
    ids=["another CRS", "another pixel", "one pixel to the right"],
)
def test_a_count_map_on_another_grid_is_refused(fine: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    path = write_tif(tmp_path / "count.tif", np.ones((120, 136), np.float32), **other)
    with pytest.raises(RasterError, match=r"count\.tif: expected the grid of the DEM .*site.count lies on"):
        ground_of(fine, count=str(path))


def test_a_count_map_of_another_shape_or_below_zero_is_refused(fine: Path, tmp_path: Path) -> None:
    small = write_tif(tmp_path / "small.tif", np.ones((120, 135), np.float32), crs=LOCAL)
    with pytest.raises(RasterError, match=r"120 x 136 pixels\), found another \(120 x 135"):
        ground_of(fine, count=str(small))
    below = write_tif(tmp_path / "below.tif", np.full((120, 136), -1, np.float32), crs=LOCAL)
    with pytest.raises(RasterError, match=r"below\.tif: expected values of at least 0, found -1"):
        ground_of(fine, error=str(below))


@pytest.mark.parametrize("pixel", [20.0, 2.5, 15.0], ids=["fine", "coarse", "resampled"])
def test_holes_of_an_error_map_have_the_largest_error(fine: Path, tmp_path: Path, pixel: float) -> None:
    """One pixel without data made a network's input of a whole window NaN."""
    error = np.full((120, 136), 2.0, np.float32)
    error[3, 4], error[8:12, 8:12] = 5.0, -1
    path = write_tif(tmp_path / "error.tif", error, crs=LOCAL, nodata=-1)
    ground = ground_of(fine, error=str(path), pixel_m=pixel, bounds=(0.0, -640.0, 640.0, 0.0))
    assert ground.error is not None and np.isfinite(ground.error).all()
    x, y = ground.layout.grid.xy(*np.indices(ground.error.shape))
    hole = (x > 180) & (x < 220) & (y < -180) & (y > -220)
    np.testing.assert_array_equal(ground.error[hole], ground.error.max())
    assert np.median(ground.error) == 2 and ground.error.max() > 3


def test_an_error_map_without_errors_on_the_map_is_refused(fine: Path, tmp_path: Path) -> None:
    error = np.full((120, 136), -1, np.float32)
    error[100:] = 2
    path = write_tif(tmp_path / "error.tif", error, crs=LOCAL, nodata=-1)
    with pytest.raises(RasterError, match=r"error\.tif: expected errors on the map .*found none but"):
        ground_of(fine, error=str(path), bounds=(0.0, -640.0, 640.0, 0.0))


def test_a_count_map_in_other_words_is_the_same_grid(fine: Path, tmp_path: Path) -> None:
    """The same projection told as kilometres."""
    km = LOCAL.replace("units=m", "units=km")
    path = write_tif(tmp_path / "count.tif", np.ones((120, 136), np.float32), crs=km, pixel=0.02)
    assert ground_of(fine, count=str(path)).count is not None


# --- a resampled DEM --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel", [12.0, 20.5, 30.0, 65.0])
def test_a_plane_stays_the_plane(tmp_path: Path, pixel: float) -> None:
    y, x = -20.0 * (np.arange(160) + 0.5)[:, None], 20.0 * (np.arange(160) + 0.5)
    plane = (0.1 * x - 0.05 * y).astype(np.float32)
    path = write_tif(tmp_path / "dem.tif", plane, crs=LOCAL)
    ground = ground_of(path, pixel_m=pixel, bounds=(600.0, -2700.0, 2700.0, -600.0))
    assert ground.layout.kind == "resampled"
    u, v = ground.layout.grid.xy(*np.indices(ground.dem.shape))
    inside = ground.known & (u < 3100) & (v > -3100)
    assert inside.sum() >= (2100 / pixel - 1) ** 2
    np.testing.assert_allclose(ground.dem[inside], (0.1 * u - 0.05 * v)[inside], rtol=0, atol=0.01)


@pytest.mark.parametrize("left", [-0.5, 359.5, 179.6])
def test_a_geographic_plane_comes_onto_a_local_map(tmp_path: Path, left: float) -> None:
    """Heights that grow with latitude and longitude, at 0 and 180 degrees too."""
    step = 0.005
    lon, lat = left + step * (np.arange(200) + 0.5), 20 - step * (np.arange(200) + 0.5)
    data = (1000 * (lat[:, None] - 19) + 500 * (lon - left)).astype(np.float32)
    path = write_tif(tmp_path / "dem.tif", data, crs=LONLAT, pixel=step, origin=(left, 20.0))
    ground = ground_of(path, pixel_m=140.0, center_m=(left + 0.5, 19.5), size_px=64)
    lon, lat = ground.layout.grid.lonlat(*np.indices(ground.dem.shape))
    expected = 1000 * (lat - 19) + 500 * ((lon - left) % 360)
    assert ground.known.all()
    np.testing.assert_allclose(ground.dem, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (531.0, -260.0), (0.0, 975.0)])
def test_a_geographic_dem_has_no_hole_at_a_pole(
    tmp_path: Path, pole: int, shift: tuple[float, float]
) -> None:
    """Fine rows, of which few points of the map tell; heights that turn once, over the seam at 180 too."""
    step, count = 0.001, 440
    lat = pole * (90 - step * (np.arange(count) + 0.5))
    rows = lat if pole > 0 else lat[::-1]
    turn = 50 * np.sin(np.radians(-180 + 10 * (np.arange(36) + 0.5)))
    data = (1e3 * (90 - np.abs(rows))[:, None] + turn).astype(np.float32)
    top = 90.0 if pole > 0 else -90 + count * step
    transform = Affine(10.0, 0, -180.0, 0, -step, top)
    path = write_tif(tmp_path / "dem.tif", data, crs=LONLAT, transform=transform)
    polar = lunar_projection(NORTH if pole > 0 else SOUTH)
    site = {"crs": polar.wkt_text, "center_m": shift, "size_px": 48, "pixel_m": 300.0}
    ground = ground_of(path, **site)
    assert ground.known.all()
    lon, at = ground.layout.grid.lonlat(*np.indices(ground.dem.shape))
    expected = 1e3 * (90 - np.abs(at)) + 50 * np.sin(np.radians(lon))
    np.testing.assert_allclose(ground.dem, expected, rtol=0, atol=1.3)


@pytest.mark.parametrize("pixel", [14.0, 20.5, 45.0])
@pytest.mark.parametrize("crs", [LOCAL, LONLAT], ids=["stereographic", "degrees"])
def test_counts_are_summed_not_smeared(tmp_path: Path, crs: str, pixel: float) -> None:
    """Every spot lies in one pixel of the map, that which holds its pixel's centre."""
    count = (np.random.default_rng(2).random((90, 90)) < 0.2) * 3
    step, left, top = (20.0, 0.0, 0.0) if crs is LOCAL else (20 / 30323.35, 340.0, 5.0)
    place = {"crs": crs, "pixel": step, "origin": (left, top)}
    dem = write_tif(tmp_path / "dem.tif", hills(90, 90), **place)
    spots = write_tif(tmp_path / "count.tif", count.astype(np.uint8), **place)
    ground = ground_of(dem, pixel_m=pixel, count=str(spots))
    assert ground.layout.kind == "resampled" and ground.count is not None
    row, col = np.nonzero(count)
    lon, lat = lunar_projection(crs).lonlat(left + step * (col + 0.5), top - step * (row + 0.5))
    at = ground.layout.grid.rowcol(*ground.layout.grid.projection.xy(lon, lat))
    expected = np.zeros(ground.count.shape)
    np.add.at(expected, tuple(np.floor(v + 0.5 + 1e-6).astype(int) for v in at), 3)
    np.testing.assert_array_equal(ground.count, expected)
    assert ground.count.sum() == count.sum()


@pytest.mark.parametrize("dem_is_canonical", [True, False], ids=["PDS3 DEM", "PDS3 count"])
def test_a_pds3_raster_and_a_geotiff_may_have_one_grid(tmp_path: Path, dem_is_canonical: bool) -> None:
    """PDS3 images have the grid of `open_raster`, whose CRS has other words than a GeoTIFF's."""
    path = write_tif(tmp_path / "dem.tif", hills(40, 40), crs=SOUTH)
    moved = write_tif(tmp_path / "moved.tif", hills(40, 40), crs=SOUTH, origin=(20.0, 0.0))
    one, other = open_raster(path), open_site_raster(path)
    assert one.grid.crs_wkt != other.grid.crs_wkt
    refuse_another_grid("count", "c", *((other, one) if dem_is_canonical else (one, other)))
    with pytest.raises(RasterError, match=r"c: expected the grid of the DEM"):
        refuse_another_grid("count", "c", open_site_raster(moved), one)
