"""Where a map lies: on the DEM's own pixels wherever it can, and what is said where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Proj
from raster_files import SOUTH, relief, write_tif

from pipeline.config.site import SiteSection
from pipeline.maps.layout import Layout, lay_out

LONLAT = "+proj=longlat +R=1737400 +no_defs"
LOCAL = "+proj=stere +lat_0=-26 +lon_0=3.5 +k=1 +R=1737400 +units=m +no_defs"
EQC = "+proj=eqc +lat_ts=0 +lon_0=0 +R=1737400 +units=m +no_defs"
FACTOR, WINDOW = 8, 32


@pytest.fixture(scope="module")
def dem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 x 120 pixels of 20 m with the top-left corner at (1000, 5000)."""
    folder = tmp_path_factory.mktemp("dem")
    return write_tif(folder / "dem.tif", relief(100, 120), crs=LOCAL, origin=(1000.0, 5000.0))


def laid(dem: Path, **site: Any) -> Layout:
    found = lay_out(SiteSection(dem=str(dem), **site), FACTOR, WINDOW)
    # What holds of every layout.
    assert found.grid.height % FACTOR == found.grid.width % FACTOR == 0
    assert min(found.grid.height, found.grid.width) >= WINDOW
    assert found.row + found.height <= found.grid.height and found.col + found.width <= found.grid.width
    assert Layout.from_json(json.loads(json.dumps(found.to_json()))) == found
    return found


# --- the whole DEM ----------------------------------------------------------------------------------------


def test_the_default_is_the_whole_dem(dem: Path) -> None:
    found = laid(dem)
    assert (found.kind, found.row, found.col, found.height, found.width) == ("fine", 0, 0, 100, 120)
    assert (found.grid.height, found.grid.width) == (104, 120)
    assert found.region.bounds == pytest.approx((1000, 3000, 3400, 5000))
    assert (found.dem_row, found.dem_col, found.exact_cells, found.notes) == (0, 0, False, ())


def test_pixels_of_a_factor_finer_make_the_dem_coarse(dem: Path) -> None:
    found = laid(dem, pixel_m=2.5)
    assert (found.kind, found.grid.pixel_m, found.exact_cells) == ("coarse", 2.5, True)
    assert (found.grid.height, found.grid.width) == (800, 960)
    assert not laid(dem, pixel_m=2.5, exact_cells=False).exact_cells
    assert laid(dem, exact_cells=True).exact_cells


def test_other_pixels_are_resampled(dem: Path) -> None:
    found = laid(dem, pixel_m=15)
    assert (found.kind, found.grid.pixel_m, found.exact_cells) == ("resampled", 15, False)
    assert (found.height, found.width) == (134, 160)  # 2000 / 15 rounded up
    assert found.grid.origin == pytest.approx((1000, 5000))
    assert found.notes == ("DEM resampled from 20 to 15 m per pixel",)
    with pytest.raises(ValueError, match=r"site.exact_cells: expected null or false.*resampled, found true"):
        laid(dem, pixel_m=15, exact_cells=True)


# --- a place ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "corner"), [(40, (1000, 4600)), (41, (990, 4610))])
def test_the_centre_is_a_corner_for_an_even_size(dem: Path, size: int, corner: tuple[int, int]) -> None:
    """Of an odd size it is the middle of a pixel."""
    centre = (2000.0, 4000.0) if size % 2 == 0 else (2010.0, 3990.0)
    found = laid(dem, center_m=centre, size_px=size)
    left, bottom, right, top = found.region.bounds
    assert ((left + right) / 2, (bottom + top) / 2) == pytest.approx(centre)
    assert (found.height, found.width) == (size, size)
    assert found.notes == ()


def test_a_centre_between_pixels_moves_by_half_a_pixel_at_most(dem: Path) -> None:
    found = laid(dem, center_m=(2007.0, 4001.0), size_px=40)
    left, bottom, right, top = found.region.bounds
    assert ((left + right) / 2, (bottom + top) / 2) == pytest.approx((2000, 4000))
    assert len(found.notes) == 1 and "moved" in found.notes[0]


@settings(deadline=None, max_examples=40)
@given(
    left=st.integers(0, 110), top=st.integers(0, 90), width=st.integers(1, 60), height=st.integers(1, 60),
    coarse=st.booleans(),
)  # fmt: skip
def test_bounds_on_the_lattice_are_kept(
    dem: Path, left: int, top: int, width: int, height: int, coarse: bool
) -> None:
    pixel = 2.5 if coarse else 20.0
    x, y = 1000 + left * pixel, 5000 - top * pixel
    box = (x, y - height * pixel, x + width * pixel, y)
    found = laid(dem, bounds=box, pixel_m=pixel)
    assert found.region.bounds == pytest.approx(box)
    assert found.notes == ()
    # The working area begins on a pixel of the DEM, where the layout says that it does.
    assert found.grid.origin == pytest.approx((1000 + found.dem_col * 20, 5000 - found.dem_row * 20))
    assert (found.row, found.col) == ((top % 8, left % 8) if coarse else (0, 0))
    # No more is made than whole cells and one window need.
    assert found.grid.height < max(found.row + height + FACTOR, WINDOW + 1)
    assert found.grid.width < max(found.col + width + FACTOR, WINDOW + 1)


def test_bounds_off_the_lattice_are_moved_onto_it(dem: Path) -> None:
    found = laid(dem, bounds=(1506.0, 3994.0, 2506.0, 4494.0))
    assert found.region.bounds == pytest.approx((1500, 3980, 2500, 4480), abs=21)
    assert abs(found.region.bounds[0] - 1506) <= 10 and abs(found.region.bounds[3] - 4494) <= 10
    assert "moved" in found.notes[0]


def test_a_place_in_another_crs(dem: Path) -> None:
    lon, lat = (float(v) for v in Proj(LOCAL)(2000, 4000, inverse=True))
    found = laid(dem, crs=LONLAT, center_m=(lon, lat), size_px=40)
    assert found.region.bounds == pytest.approx((1600, 3600, 2400, 4400))
    assert found.notes == ()
    step = 0.005
    box = laid(dem, crs=LONLAT, bounds=(lon - step, lat - step, lon + step, lat + step)).region.bounds
    size = np.radians(2 * step) * 1737400
    assert box[3] - box[1] == pytest.approx(size, abs=21)
    assert box[2] - box[0] == pytest.approx(size * np.cos(np.radians(lat)), abs=21)


@pytest.mark.parametrize("pixel", [20.0, 15.0])
def test_a_place_in_kilometres(dem: Path, pixel: float) -> None:
    km = LOCAL.replace("units=m", "units=km")
    at = laid(dem, crs=km, center_m=(2.0, 4.0), size_px=40, pixel_m=pixel).region.bounds
    assert at == pytest.approx(laid(dem, center_m=(2000, 4000), size_px=40, pixel_m=pixel).region.bounds)
    box = laid(dem, crs=km, bounds=(1.6, 3.6, 2.2, 4.2), pixel_m=pixel).region.bounds
    assert box == pytest.approx((1600, 3600, 2200, 4200))


def test_bounds_in_kilometres_make_a_map_of_metres(tmp_path: Path) -> None:
    """Also where the DEM has no grid for a map."""
    path = write_tif(tmp_path / "d.tif", relief(90, 90), crs=LOCAL, transform=Affine(20, 0, 0, 0, -25, 0))
    km = LOCAL.replace("units=m", "units=km")
    found = laid(path, crs=km, bounds=(0.4, -1.2, 1.2, -0.4), pixel_m=20)
    assert found.kind == "resampled"
    assert found.region.bounds == pytest.approx((400, -1200, 1200, -400))


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (
            {"center_m": (9000.0, 4000.0), "size_px": 40},
            "site.center_m: expected a place on the DEM, x 1000 to",
        ),
        ({"center_m": (2000.0, -4000.0), "size_px": 40}, "site.center_m: expected a place on the DEM"),
        (
            {"center_m": (3.0, 40.0), "size_px": 9, "crs": LONLAT},
            "site.center_m: expected a place on the DEM",
        ),
        ({"bounds": (4000.0, 3000.0, 5000.0, 4000.0)}, "site.bounds: expected a part of the DEM, x 1000 to"),
        ({"bounds": (10.0, 10.0, 11.0, 11.0), "crs": LONLAT}, "site.bounds: expected a part of the DEM"),
        ({"center_m": (1.0, 2.0), "size_px": 9, "crs": "EPSG:4326"}, "site.crs: expected a CRS of the Moon"),
    ],
)
def test_a_place_outside_is_refused_in_one_line(dem: Path, site: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as refused:
        laid(dem, **site)
    assert "\n" not in str(refused.value)


# --- DEMs without a grid for a map ------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[-50.0, 310.0])
def degrees(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """200 x 200 pixels of 0.005 degrees whose longitudes begin at 310, as such or as -50; and that number."""
    path = tmp_path_factory.mktemp("degrees") / "dem.tif"
    return write_tif(
        path, relief(200, 200), crs=LONLAT, pixel=0.005, origin=(request.param, 20.0)
    ), request.param


def test_a_geographic_dem_is_resampled_about_its_middle(degrees: tuple[Path, float]) -> None:
    found = laid(degrees[0], pixel_m=100)
    assert found.kind == "resampled" and "geographic" in found.notes[0]
    lon, lat = found.region.lonlat((found.height - 1) / 2, (found.width - 1) / 2)
    assert (float(lon), float(lat)) == pytest.approx((-49.5, 19.5), abs=3e-3)
    # A degree is 30.3 km, less along a parallel.
    assert found.height * 100 == pytest.approx(30323, rel=0.01)
    assert found.width * 100 == pytest.approx(30323 * np.cos(np.radians(19)), rel=0.01)
    assert found.grid.projection.conformal(-49.5, 19.5)


def test_a_place_on_a_geographic_dem(degrees: tuple[Path, float]) -> None:
    path, left = degrees
    found = laid(path, center_m=(left + 0.3, 19.6), size_px=64, pixel_m=50)
    lon, lat = found.region.lonlat(31.5, 31.5)
    assert (float(lon), float(lat)) == pytest.approx((-49.7, 19.6), abs=1e-6)
    other = laid(path, crs=LONLAT, bounds=(-49.8, 19.4, -49.6, 19.6), pixel_m=50)
    lon, lat = other.region.lonlat((other.height - 1) / 2, (other.width - 1) / 2)
    assert (float(lon), float(lat)) == pytest.approx((-49.7, 19.5), abs=2e-3)
    with pytest.raises(ValueError, match=r"site.center_m: expected a place on the DEM"):
        laid(path, center_m=(left + 1.5, 19.6), size_px=64)
    with pytest.raises(ValueError, match=r"site.bounds: expected a part of the DEM"):
        laid(path, crs=SOUTH, bounds=(0.0, 0.0, 1e5, 1e5))


def test_a_projection_that_is_not_conformal_is_left(tmp_path: Path) -> None:
    """Equirectangular at 60 degrees: a place keeps its position on a stereographic map about it."""
    y = np.radians(60) * 1737400
    path = write_tif(tmp_path / "dem.tif", relief(64, 64), crs=EQC, pixel=50.0, origin=(0.0, y))
    found = laid(path, center_m=(1600.0, y - 1600), size_px=32, pixel_m=40)
    assert found.kind == "resampled" and "conformal" in found.notes[0]
    lon, lat = found.region.lonlat(15.5, 15.5)
    np.testing.assert_allclose((lon, lat), Proj(EQC)(1600, y - 1600, inverse=True), atol=1e-9)
    assert found.region.true_pixel_m(15.5, 15.5) == pytest.approx(40, rel=1e-6)


def test_a_dem_that_ends_at_the_seam_of_its_map_stays_whole(tmp_path: Path) -> None:
    half = np.pi * 1737400
    path = write_tif(
        tmp_path / "dem.tif", relief(48, 64), crs=EQC, pixel=20.0, origin=(half - 64 * 20, 480.0)
    )
    found = laid(path)
    assert (found.kind, found.height, found.width) == ("fine", 48, 64)


@pytest.mark.parametrize("east", [200.0, -160.0])
def test_an_equirectangular_dem_may_have_either_longitude(tmp_path: Path, east: float) -> None:
    """x of 200 degrees east and of 160 west is one place, with the DEM's own centre and with bounds."""
    x = round(np.radians(east) * 1737400 / 20) * 20.0
    path = write_tif(tmp_path / "dem.tif", relief(100, 120), crs=EQC, origin=(x, 1000.0))
    found = laid(path)
    assert (found.kind, found.height, found.width, found.dem_col) == ("fine", 100, 120, 0)
    lon, lat = found.grid.lonlat(50, 60)
    assert [float(v) for v in found.grid.pixel_at(lon, lat)] == pytest.approx([50, 60], abs=1e-6)
    centred = laid(path, center_m=(x + 1200, 0.0), size_px=40)
    assert (centred.dem_row, centred.dem_col) == (30, 40)
    step = 0.005
    for turn in (0, 360, -360):
        at = float(lon) + turn
        box = laid(path, crs=LONLAT, bounds=(at - step, -step, at + step, step))
        assert box.kind == "fine" and abs(box.dem_col + box.col - 52) <= 2
    circle = 2 * np.pi * 1737400
    other = x - np.sign(east) * circle
    turned = laid(path, bounds=(other + 405, 205.0, other + 1195, 795.0))
    assert (turned.dem_row, turned.dem_col) == (10, 20)


@pytest.mark.parametrize("left", [340.0, -20.0])
@pytest.mark.parametrize("bounds", [(-19.0, -17.0), (341.0, 343.0)])
def test_bounds_of_either_longitude_lie_on_a_geographic_dem(
    tmp_path: Path, left: float, bounds: tuple[float, float]
) -> None:
    path = write_tif(tmp_path / "dem.tif", relief(200, 200), crs=LONLAT, pixel=0.02, origin=(left, 2.0))
    found = laid(path, bounds=(bounds[0], -1.0, bounds[1], 1.0))
    middle = found.region.lonlat((found.height - 1) / 2, (found.width - 1) / 2)
    assert [float(v) for v in middle] == pytest.approx([-18, 0], abs=0.02)
    with pytest.raises(ValueError, match=r"site.bounds: expected a part of the DEM"):
        laid(path, bounds=(bounds[0] + 20, -1.0, bounds[1] + 20, 1.0))


@pytest.mark.parametrize("left", [0.0, -180.0])
def test_a_global_geographic_dem_needs_a_place(tmp_path: Path, left: float) -> None:
    path = write_tif(tmp_path / "dem.tif", relief(180, 360), crs=LONLAT, pixel=1.0, origin=(left, 90.0))
    with pytest.raises(ValueError, match=r"site.bounds: expected .*dem\.tif.* or site.center_m.*found None"):
        laid(path)
    assert laid(path, bounds=(10.0, 0.0, 40.0, 20.0)).kind == "resampled"
