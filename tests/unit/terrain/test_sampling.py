"""Resampling from cylindrical files of the whole Moon: no hole at the seam of longitudes or at the pole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from raster_files import write_tif

from pipeline.terrain.map_grid import MapGrid, local_projection, lunar_projection
from pipeline.terrain.sampling import resampled
from pipeline.terrain.site_raster import open_site_raster

DEGREE_M = math.radians(1737400)
DEGREES = "+proj=longlat +R=1737400 +no_defs"
EQC = "+proj=eqc +lat_ts={} +lon_0={} +R=1737400 +units={} +no_defs"
# CRS, its units per degree of longitude and of latitude, and the file's western end east of the CRS's middle.
WORLDS = {
    "degrees to 180": (DEGREES, 1.0, 1.0, -180),
    "degrees to 360": (DEGREES, 1.0, 1.0, 0),
    "metres": (EQC.format(0, 0, "m"), DEGREE_M, DEGREE_M, -180),
    "metres about 180": (EQC.format(0, 180, "m"), DEGREE_M, DEGREE_M, -180),
    "metres to 360": (EQC.format(0, 0, "m"), DEGREE_M, DEGREE_M, 0),
    "kilometres, true at 60": (EQC.format(60, 0, "km"), DEGREE_M / 2000, DEGREE_M / 1000, -180),
}


def heights(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Smooth over the sphere, metres."""
    lon, lat = np.radians(lon), np.radians(lat)
    return 1000 * np.cos(lat) * np.cos(lon - 0.4) + 500 * np.sin(lat)


def world(folder: Path, name: str, per_degree: int, highest: int = 90) -> Path:
    """A file of all longitudes."""
    crs, east, north, west = WORLDS[name]
    centre = 180.0 if "lon_0=180" in crs else 0.0
    lon = centre + west + (np.arange(360 * per_degree) + 0.5) / per_degree
    lat = highest - (np.arange(2 * highest * per_degree) + 0.5) / per_degree
    transform = Affine(east / per_degree, 0, west * east, 0, -north / per_degree, highest * north)
    data = heights(*np.meshgrid(lon, lat)).astype(np.float32)
    return write_tif(folder / "world.tif", data, crs=crs, transform=transform)


def map_about(lon: float, lat: float, pixel_m: float, size: int) -> MapGrid:
    projection = local_projection(lon, lat)
    half = size * pixel_m / 2
    return MapGrid(projection.wkt_text, Affine(pixel_m, 0, -half, 0, -pixel_m, half), size, size)


@pytest.mark.parametrize("name", WORLDS)
def test_a_map_over_the_seam_has_no_hole(name: str, tmp_path: Path) -> None:
    # Two of the 33 samples along a side are 13 columns of the file apart, with the seam between.
    wide = map_about(0.4 if "to 360" in name or "about" in name else -179.6, 0, 2_500, 320)
    found = resampled(open_site_raster(world(tmp_path, name, 16, highest=15)), wide)
    expected = heights(*wide.lonlat(*np.mgrid[:320, :320].astype(float)))
    np.testing.assert_allclose(found, expected, atol=1.0)


@pytest.mark.parametrize("pole", [90.0, -90.0])
@pytest.mark.parametrize("name", WORLDS)
def test_a_map_with_a_pole_has_no_hole(name: str, pole: float, tmp_path: Path) -> None:
    wide = map_about(0, pole, 5_000, 65)
    found = resampled(open_site_raster(world(tmp_path, name, 2)), wide)
    expected = heights(*wide.lonlat(*np.mgrid[:65, :65].astype(float)))
    np.testing.assert_allclose(found, expected, atol=8.0)


def test_a_part_of_a_circle_has_no_neighbour_beyond_its_ends(tmp_path: Path) -> None:
    """Columns of 10 to 350 deg: a map about longitude 0 has a gap of 20 deg, and heights on both sides."""
    lon, lat = np.arange(10, 350) + 0.5, 89.5 - np.arange(180)
    transform = Affine(1, 0, 10, 0, -1, 90)
    data = heights(*np.meshgrid(lon, lat)).astype(np.float32)
    path = write_tif(tmp_path / "part.tif", data, crs=DEGREES, transform=transform)
    wide = map_about(0, 0, 20_000, 64)
    found = resampled(open_site_raster(path), wide)
    # Heights reach to a quarter of a pixel beyond the file.
    lon, _ = wide.lonlat(*np.mgrid[:64, :64].astype(float))
    np.testing.assert_array_equal(np.isnan(found), np.abs(lon) < 9.75)


@pytest.mark.parametrize(
    ("crs", "circle"),
    [
        (DEGREES, 360.0),
        (WORLDS["metres"][0], 360 * DEGREE_M),
        (WORLDS["metres about 180"][0], 360 * DEGREE_M),
        (EQC.format(60, 12, "km"), 0.18 * DEGREE_M),
        ("+proj=merc +lon_0=20 +R=1737400 +units=m", 360 * DEGREE_M),
        ("+proj=stere +lat_0=-90 +lon_0=0 +k=1 +R=1737400 +units=m", None),
        ("+proj=stere +lat_0=20 +lon_0=5 +k=1 +R=1737400 +units=m", None),
        ("+proj=tmerc +lat_0=10 +lon_0=25 +R=1737400 +units=m", None),
        ("+proj=sinu +lon_0=0 +R=1737400 +units=m", None),
        ("+proj=ortho +lat_0=-20 +lon_0=15 +R=1737400 +units=m", None),
    ],
)
def test_only_cylindrical_projections_have_a_circle(crs: str, circle: float | None) -> None:
    found = lunar_projection(crs).circle
    assert found is None if circle is None else found == pytest.approx(circle, rel=1e-9)
