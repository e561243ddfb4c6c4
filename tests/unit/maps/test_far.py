"""Terrain beyond a site's DEM: mountains hide the Sun, in the DEM's datum, and the reach is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from raster_files import SOUTH, write_tif

from pipeline.config.photometry import PhotometrySection
from pipeline.config.site import SiteSection
from pipeline.imagery.suns.sun import Sun
from pipeline.maps.far import reach_m
from pipeline.maps.ground import SiteGround, read_ground
from pipeline.maps.layout import lay_out
from pipeline.maps.make import _shadows_m
from pipeline.maps.render import Scene
from pipeline.terrain.grid import RasterError
from pipeline.terrain.sampling import datum_offset

FACTOR, WINDOW, PIXEL, SIZE, CELL = 8, 32, 40.0, 96, 1600.0
X, Y = 20_000.0, 160_000.0
AWAY, HEIGHT = 30_000.0, 1500.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A level DEM, and around it a coarse one 7 m higher, with a ridge 30 km north on the map."""
    folder = tmp_path_factory.mktemp("far")
    # A few centimetres of relief: heights that are all alike are taken for a missing value.
    level = np.random.default_rng(0).normal(-1000.0, 0.02, (SIZE, SIZE)).astype(np.float32)
    write_tif(folder / "dem.tif", level, crs=SOUTH, transform=Affine(PIXEL, 0, X, 0, -PIXEL, Y))
    side, half = 100, 80_000.0
    far = np.full((side, side), -993.0, np.float32)
    centre = X + SIZE * PIXEL / 2, Y - SIZE * PIXEL / 2
    # Whole rows of cells: the ridge's lines run across all of it.
    row = round((half - AWAY) / CELL)
    far[row - 1 : row + 1] += HEIGHT
    place = Affine(CELL, 0, centre[0] - half, 0, -CELL, centre[1] + half)
    write_tif(folder / "far.tif", far, crs=SOUTH, transform=place)
    return folder


def ground_of(site: Path, far: bool, far_m: float = 60_000.0) -> SiteGround:
    section = SiteSection(dem=str(site / "dem.tif"), far=str(site / "far.tif") if far else None)
    return read_ground(section, lay_out(section, FACTOR, WINDOW), 2, 30_000.0, far_m)


def lit(ground: SiteGround, elevation: float, azimuth_on_map: float = 0.0) -> float:
    """Share of the Sun's disc that is seen from the middle."""
    grid = ground.layout.grid
    lon, lat = (float(v) for v in grid.lonlat(SIZE / 2, SIZE / 2))
    azimuth = azimuth_on_map - grid.north_deg(SIZE / 2, SIZE / 2)
    sun = Sun.from_local(azimuth % 360, elevation, lon, lat, "test")
    scene = Scene(ground.surface, ground.margin_px, grid, PhotometrySection(law="lambert"), ground.far)
    return float(scene.render(sun, (0, SIZE, 0, SIZE)).share[SIZE // 2, SIZE // 2])


def test_a_far_ridge_hides_the_sun_up_to_its_height_over_the_horizon(site: Path) -> None:
    """The ridge stands atan((h - d^2 / 2R) / d) high; its foot is that of the level DEM, 7 m lower."""
    away = AWAY - CELL
    expected = math.degrees(math.atan((HEIGHT - away**2 / (2 * 1_737_400)) / away))
    with_far, without = ground_of(site, True), ground_of(site, False)
    assert lit(with_far, expected - 0.5) == 0 and lit(without, expected - 0.5) == 1
    assert lit(with_far, expected + 0.5) == 1
    assert lit(with_far, expected - 0.5, 180.0) == 1


def test_the_far_terrain_is_moved_to_the_dems_datum(site: Path) -> None:
    ground = ground_of(site, True)
    assert ground.far is not None
    assert float(np.nanmedian(ground.far.z)) == pytest.approx(-1000, abs=0.01)
    assert any("far.tif moved by -7.0 m" in note for note in ground.notes)
    # Where the DEM ends, the far terrain goes on.
    assert np.isfinite(ground.surface).all() and ground.margin_px >= 2 * ground.far.cell_px
    assert datum_offset(np.full((2, 2), np.nan), np.zeros((2, 2))) == 0


def test_the_record_says_how_far_shadows_come_from(site: Path) -> None:
    assert _shadows_m(ground_of(site, False)) == 0
    assert _shadows_m(ground_of(site, True)) == pytest.approx(60_000, abs=1600)
    # Beyond the far DEM there is none: it ends 78 km from the map's border.
    assert _shadows_m(ground_of(site, True, 200_000.0)) == pytest.approx(80_000 - SIZE * PIXEL / 2, abs=3200)
    known = np.ones((5, 5), bool)
    known[0, 0] = False
    rows = cols = np.array([-10.0, -5, 0, 95, 105])
    grid = ground_of(site, False).layout.grid
    assert reach_m(known, rows, cols, grid) == pytest.approx((math.hypot(10, 10) - 5) * PIXEL)
    assert reach_m(np.ones((5, 5), bool), rows, cols, grid) == pytest.approx(10 * PIXEL)


def test_it_is_kept_in_the_store(site: Path, tmp_path: Path) -> None:
    ground = ground_of(site, True)
    ground.save(tmp_path / "ground.zarr.zip")
    again = SiteGround.load(tmp_path / "ground.zarr.zip")
    assert again.far is not None and ground.far is not None
    np.testing.assert_array_equal(again.far.z, ground.far.z)
    assert (again.far.cell_px, again.far.row, again.far.col) == (
        ground.far.cell_px,
        ground.far.row,
        ground.far.col,
    )


def test_a_far_dem_of_another_place_is_refused(site: Path, tmp_path: Path) -> None:
    place = Affine(CELL, 0, -900_000, 0, -CELL, -700_000)
    other = write_tif(tmp_path / "other.tif", np.zeros((20, 20), np.float32), crs=SOUTH, transform=place)
    section = SiteSection(dem=str(site / "dem.tif"), far=str(other))
    with pytest.raises(RasterError, match=r"other.tif: expected heights around .*, found none"):
        read_ground(section, lay_out(section, FACTOR, WINDOW), 2, 30_000.0)
