"""Rasters of a user's site: any lunar projection, any unit, one clear line where they cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import Proj
from raster_files import SOUTH, relief, write_tif

from pipeline.terrain.grid import GridError, RasterError
from pipeline.terrain.site_raster import SiteRaster, heights_in_metres, open_site_raster

LONLAT = "+proj=longlat +R=1737400 +no_defs"
LOCAL = "+proj=stere +lat_0=-26 +lon_0=3.5 +k=1 +R=1737400 +units=m +no_defs"
KM = LOCAL.replace("units=m", "units=km")


def opened(path: Path) -> SiteRaster:
    raster = open_site_raster(path)
    assert isinstance(raster, SiteRaster)
    return raster


def test_a_square_raster_keeps_its_grid(tmp_path: Path) -> None:
    data = relief(12, 20)
    raster = opened(write_tif(tmp_path / "dem.tif", data, crs=LOCAL, pixel=10.0, origin=(-500.0, 800.0)))
    assert raster.square
    assert (raster.grid.height, raster.grid.width, raster.grid.pixel_m) == (12, 20, 10)
    assert raster.grid.bounds == (-500, 680, -300, 800)
    np.testing.assert_array_equal(raster.read(0, 12, 0, 20), data)
    lon, lat = Proj(LOCAL)(-495, 795, inverse=True)
    np.testing.assert_allclose(raster.grid.lonlat(0, 0), (lon, lat), atol=1e-9)
    assert raster.ground_pixel_m == pytest.approx(10, rel=1e-5)


def test_what_lies_beyond_the_file_has_no_data(tmp_path: Path) -> None:
    data = relief(6, 6)
    wide = opened(write_tif(tmp_path / "dem.tif", data, crs=LOCAL)).read(-2, 8, -1, 7)
    assert wide.shape == (10, 8)
    np.testing.assert_array_equal(wide[2:8, 1:7], data)
    assert np.isnan(wide).sum() == 10 * 8 - 36


def test_coordinates_in_kilometres_become_metres(tmp_path: Path) -> None:
    data = relief(5, 7)
    km = opened(write_tif(tmp_path / "km.tif", data, crs=KM, pixel=0.02, origin=(-3.0, 4.0)))
    metres = opened(write_tif(tmp_path / "m.tif", data, crs=LOCAL, pixel=20.0, origin=(-3000.0, 4000.0)))
    assert km.square and km.grid.pixel_m == pytest.approx(20)
    np.testing.assert_allclose(km.grid.lonlat(2, 3), metres.grid.lonlat(2, 3), rtol=0, atol=1e-9)
    np.testing.assert_allclose(km.lonlat_box(), metres.lonlat_box(), rtol=0, atol=1e-9)


def test_kilometres_that_are_called_metres_are_refused(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "dem.tif", relief(5, 5), crs=LOCAL, pixel=0.02)
    with pytest.raises(
        GridError, match=r"dem\.tif: expected pixels of at least 0.5 m, found 0.02 m .*kilomet"
    ):
        open_site_raster(path)


def test_pixels_of_degrees_have_a_size_on_the_ground(tmp_path: Path) -> None:
    """A degree of latitude is R pi / 180, one of longitude cos lat as much; longitudes may run to 360."""
    step = 0.01
    path = write_tif(tmp_path / "dem.tif", relief(40, 20), crs=LONLAT, pixel=step, origin=(310.0, 60.2))
    raster = opened(path)
    assert not raster.square and raster.projection.geographic
    size = np.radians(step) * 1737400
    assert raster.ground_pixel_m == pytest.approx(size * (1 + np.cos(np.radians(60))) / 2, rel=1e-5)
    lon, lat = raster.lonlat_box()
    assert (lon.min(), lon.max()) == pytest.approx((-50, -49.8))
    assert (lat.min(), lat.max()) == pytest.approx((59.8, 60.2))


def test_pixels_that_are_not_square_have_no_grid(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "dem.tif", relief(8, 8), crs=LOCAL, transform=Affine(10, 0, 0, 0, -12, 0))
    raster = opened(path)
    assert not raster.square
    assert raster.ground_pixel_m == pytest.approx(11, rel=1e-4)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Affine(10, 1, 0, 1, -10, 0), "expected a north-up grid"),
        (Affine(10, 0, 0, 0, 10, 0), "expected a north-up grid"),
        (Affine(-10, 0, 0, 0, -10, 0), "expected a north-up grid"),
    ],
)
def test_turned_grids_are_refused(tmp_path: Path, transform: Affine, message: str) -> None:
    path = write_tif(tmp_path / "dem.tif", relief(8, 8), crs=LOCAL, transform=transform)
    with pytest.raises(GridError, match=rf"dem\.tif: {message}"):
        open_site_raster(path)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"crs": None}, "expected a CRS of the Moon, found none"),
        ({"crs": "EPSG:4326"}, "expected a CRS of the Moon .*found radii 6378.14"),
        ({"crs": LOCAL.replace("1737400", "3396190")}, "expected a CRS of the Moon .*found radii 3396.19"),
    ],
)
def test_no_crs_or_another_bodys_is_refused(tmp_path: Path, profile: dict[str, Any], message: str) -> None:
    path = write_tif(tmp_path / "dem.tif", relief(8, 8), **profile)
    with pytest.raises(GridError, match=rf"dem\.tif: {message}") as refused:
        open_site_raster(path)
    assert "\n" not in str(refused.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"none\.tif: expected a raster file, found none"):
        open_site_raster(tmp_path / "none.tif")
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"no raster")
    with pytest.raises(RasterError, match=r"broken\.tif"):
        open_site_raster(broken)


def test_a_published_file_in_kilometres_of_radius_is_refused_in_one_line(shared_data: Path) -> None:
    path = shared_data / "lola_1600m" / "LDEM_NP_300M_small.tif"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the project")
    with pytest.raises(
        GridError, match=rf"{path.name}: expected a CRS of the Moon .*found radii 1\.7374"
    ) as no:
        open_site_raster(path)
    assert "\n" not in str(no.value)


# --- heights ----------------------------------------------------------------------------------------------


def metres(values: Any, pixel_m: float = 20.0, unit: str | None = None) -> tuple[np.ndarray, list[str]]:
    return heights_in_metres("dem.tif", np.asarray(values, np.float64), pixel_m, unit)


def test_heights_in_metres_stay_as_they_are() -> None:
    values = [[-4000.0, np.nan], [12.5, 3000.0]]
    found, notes = metres(values)
    np.testing.assert_array_equal(found, values)
    assert notes == []


@pytest.mark.parametrize("unit", [None, "m"])
def test_radii_become_heights(unit: str | None) -> None:
    found, notes = metres([[1735400.0, np.nan, 1738400.25]], unit=unit)
    np.testing.assert_array_equal(found, [[-2000, np.nan, 1000.25]])
    assert len(notes) == 1 and "distances from the Moon's centre" in notes[0]


@pytest.mark.parametrize("offset", [0.0, 1737.4])
def test_kilometres_become_metres_where_that_is_said(offset: float) -> None:
    found, notes = metres(np.array([[-2.0, 1.5]]) + offset, unit="km")
    np.testing.assert_allclose(found, [[-2000, 1500]], atol=1e-6)
    assert "kilometres" in notes[0]


def test_radii_in_kilometres_are_refused_unless_said() -> None:
    with pytest.raises(RasterError, match=r"dem\.tif: expected heights in metres.*site.height_unit: km"):
        metres([[1735.0, 1738.0]])


def test_heights_that_look_like_kilometres_are_refused_unless_said() -> None:
    """A coarse DEM whose heights all lie within 12 units; a fine flat one may."""
    values = np.linspace(-3, 3, 100).reshape(10, 10)
    with pytest.raises(RasterError, match="found -3 to 3 on pixels of 200 m: kilometres"):
        metres(values, pixel_m=200)
    np.testing.assert_array_equal(metres(values, pixel_m=200, unit="m")[0], values)
    np.testing.assert_array_equal(metres(values, pixel_m=2)[0], values)


@pytest.mark.parametrize("bad", [-32768.0, 1e20, 20000.0])
def test_heights_of_no_moon_are_refused(bad: float) -> None:
    with pytest.raises(RasterError, match=r"dem\.tif: expected heights of the Moon, within -11 and 12 km"):
        metres([[0.0, 100.0, bad]])


def test_no_heights_at_all_are_refused() -> None:
    with pytest.raises(RasterError, match=r"dem\.tif: expected heights, found none but missing pixels"):
        metres(np.full((3, 3), np.nan))


def test_nodata_is_missing(tmp_path: Path) -> None:
    data = np.where(np.eye(5) > 0, -9999, relief(5, 5)).astype(np.float32)
    raster = opened(write_tif(tmp_path / "dem.tif", data, crs=SOUTH, nodata=-9999))
    np.testing.assert_array_equal(np.isnan(raster.read(0, 5, 0, 5)), np.eye(5) > 0)
