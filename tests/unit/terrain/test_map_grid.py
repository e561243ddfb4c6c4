"""Map grids in any lunar projection, against PROJ's own factors and the pipeline's polar projection."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyproj import CRS, Proj
from raster_files import NORTH, SOUTH

from pipeline.terrain.grid import Grid, GridError, Projection
from pipeline.terrain.map_grid import LunarProjection, MapGrid, local_projection, lunar_projection

RADIUS = 1737400
EQC = "+proj=eqc +lat_ts={} +lon_0={} +R=1737400 +units=m +no_defs"
CRSS = {
    "north": NORTH,
    "south about 30": SOUTH.replace("lon_0=0", "lon_0=30"),
    "local": "+proj=stere +lat_0=-26 +lon_0=3.5 +R=1737400 +units=m",
    "mercator": "+proj=merc +lon_0=20 +R=1737400 +units=m",
    "transverse mercator": "+proj=tmerc +lat_0=10 +lon_0=25 +k=0.9996 +R=1737400 +units=m",
    "equirectangular": EQC.format(30, 0),
    "sinusoidal": "+proj=sinu +lon_0=0 +R=1737400 +units=m",
    "orthographic": "+proj=ortho +lat_0=-20 +lon_0=15 +R=1737400 +units=m",
}
CONFORMAL = ("north", "south about 30", "local", "mercator", "transverse mercator")


def grid_at(crs: str, lon: float, lat: float, pixel: float = 20.0, size: int = 9) -> MapGrid:
    """A grid whose middle pixel's centre is a place."""
    projection = lunar_projection(crs)
    x, y = (float(v) for v in projection.xy(lon, lat))
    half = size * pixel / 2
    return MapGrid(projection.wkt_text, Affine(pixel, 0, x - half, 0, -pixel, y + half), size, size)


def north_by_steps(grid: MapGrid, row: float, col: float, step: float = 0.02) -> float:
    """Direction in which a place a little further north lies on the map, by PROJ alone."""
    proj = Proj(grid.crs_wkt)
    x, y = grid.xy(row, col)
    lon, lat = proj(x, y, inverse=True)
    (x0, y0), (x1, y1) = proj(lon, lat - step / 2), proj(lon, lat + step / 2)
    return math.degrees(math.atan2(x1 - x0, y1 - y0))


# --- scale and direction ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CRSS)
@settings(deadline=None, max_examples=12)
@given(lon=st.floats(-50, 80), lat=st.floats(-70, 70))
def test_scales_are_projs_factors(name: str, lon: float, lat: float) -> None:
    projection = lunar_projection(CRSS[name])
    along, across, north = projection.distortion(lon, lat)
    factors = Proj(CRSS[name]).get_factors(lon, lat)
    assume(factors.meridional_scale > 0.05 and math.isfinite(factors.meridional_scale))
    assert along == pytest.approx(factors.meridional_scale, rel=1e-3)
    assert across == pytest.approx(factors.parallel_scale, rel=1e-3)
    if name in CONFORMAL:
        # On a conformal map the meridian convergence is the direction of north, against the clock.
        assert math.remainder(north + factors.meridian_convergence, 360) == pytest.approx(0, abs=0.05)
        assert projection.conformal(lon, lat)


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(sorted(CRSS)), lon=st.floats(-50, 80), lat=st.floats(-70, 70))
def test_a_map_is_conformal_where_it_turns_no_angle_by_much(name: str, lon: float, lat: float) -> None:
    """PROJ's maximum angular distortion decides: with scales equal, a map may still be skewed."""
    factors = Proj(CRSS[name]).get_factors(lon, lat)
    assume(factors.angular_distortion < 90)
    said = lunar_projection(CRSS[name]).conformal(lon, lat)
    if factors.angular_distortion > 0.6:
        assert not said
    if factors.angular_distortion < 0.2:
        assert said


def test_a_skewed_map_of_equal_scales_is_not_conformal() -> None:
    projection = lunar_projection(CRSS["sinusoidal"])
    along, across, _ = projection.distortion(8, 45)
    assert along == pytest.approx(across, rel=5e-3)
    assert not projection.conformal(8, 45)
    assert projection.conformal(0, 45)


@pytest.mark.parametrize("lon", [-180.0, 179.9999, 180.0, 179.9996, -179.9996, 0.0])
@pytest.mark.parametrize("lon_0", [0.0, 180.0])
def test_the_seam_of_a_cylindrical_map_has_no_width(lon: float, lon_0: float) -> None:
    along, across, north = lunar_projection(EQC.format(0, lon_0)).distortion(lon, 10)
    assert along == pytest.approx(1, rel=1e-6)
    assert across == pytest.approx(1 / math.cos(math.radians(10)), rel=1e-6)
    assert north == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize("lat", [90.0, 89.9, 84.0, 60.0])
def test_polar_pixels_shrink_with_distance_from_the_pole(pole: int, lat: float) -> None:
    """Scale 2 / (1 + sin |lat|) of the ground (Snyder 1987, eq. 21-7)."""
    grid = grid_at(NORTH if pole > 0 else SOUTH, 25, pole * lat)
    expected = 20 * (1 + math.sin(math.radians(lat))) / 2
    assert grid.pole == pole
    assert grid.true_pixel_m(4, 4) == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize(("x", "y", "south"), [(0, 1, 0), (1, 0, 90), (0, -1, 180), (-1, 0, 270), (1, 1, 45)])
def test_true_north_points_to_or_from_the_pole(pole: int, x: int, y: int, south: float) -> None:
    """North lies towards the north pole; seen from the south pole, away from it."""
    far = 1e5
    px = 20.0
    crs = lunar_projection(NORTH if pole > 0 else SOUTH).wkt_text
    grid = MapGrid(crs, Affine(px, 0, x * far - px / 2, 0, -px, y * far + px / 2), 1, 1)
    expected = south + 180 if pole > 0 else south
    assert math.remainder(grid.north_deg(0, 0) - expected, 360) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", CRSS)
def test_true_north_is_where_the_next_place_to_the_north_lies(name: str) -> None:
    for lon, lat in ((20.0, 40.0), (1.0, -65.0), (30.0, 0.0)):
        grid = grid_at(CRSS[name], lon, lat)
        apart = math.remainder(grid.north_deg(4, 4) - north_by_steps(grid, 4, 4), 360)
        assert apart == pytest.approx(0, abs=2e-2)


def test_true_north_is_map_up_on_equirectangular_and_local_maps() -> None:
    assert grid_at(EQC.format(0, 0), 77, -30).north_deg(4, 4) == pytest.approx(0, abs=1e-6)
    local = local_projection(120, -88, RADIUS)
    assert grid_at(local.wkt_text, 120, -88).north_deg(4, 4) == pytest.approx(0, abs=1e-5)
    assert local.distortion(120, -88)[:2] == pytest.approx((1, 1), rel=1e-6)
    assert local.conformal(120, -88)


# --- places -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pole", [1, -1])
def test_places_are_those_of_the_polar_projection(pole: int) -> None:
    """With a longitude of origin, a scale and the sphere's radius."""
    polar = Projection(pole, 40.0, 1737400.0, 0.97)
    general = lunar_projection(polar.wkt())
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-3e5, 3e5, (2, 50))
    for found, expected in zip(general.lonlat(x, y), polar.lonlat(x, y), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    lon, lat = polar.lonlat(x, y)
    np.testing.assert_allclose(general.xy(lon, lat), (x, y), rtol=0, atol=1e-6)


def test_coordinates_in_kilometres_mean_the_same_places() -> None:
    metres = lunar_projection(CRSS["local"])
    km = lunar_projection(CRSS["local"].replace("units=m", "units=km"))
    assert (km.metres, metres.metres) == (1000, 1)
    x, y = np.array([-30e3, 12e3]), np.array([5e3, 40e3])
    np.testing.assert_allclose(km.lonlat(x / 1e3, y / 1e3), metres.lonlat(x, y), rtol=0, atol=1e-10)
    lon, lat = metres.lonlat(x, y)
    np.testing.assert_allclose(km.xy(lon, lat), (x / 1e3, y / 1e3), atol=1e-9)
    assert km.distortion(4, -25) == pytest.approx(metres.distortion(4, -25), rel=1e-7)
    again = km.in_metres()
    assert again.metres == 1
    np.testing.assert_allclose(again.xy(lon, lat), (x, y), atol=1e-6)


def test_false_origins_in_kilometres_stay_where_they_are() -> None:
    km = lunar_projection(CRSS["local"].replace("units=m", "x_0=12000 +y_0=-7000 +units=km"))
    np.testing.assert_allclose(km.xy(3.5, -26), (12, -7), atol=1e-9)
    np.testing.assert_allclose(km.in_metres().xy(3.5, -26), (12000, -7000), atol=1e-6)


def test_geographic_coordinates_are_degrees() -> None:
    degrees = lunar_projection("+proj=longlat +R=1737400 +no_defs")
    assert degrees.geographic and degrees.metres == 1
    assert degrees.in_metres() is degrees
    lon, lat = degrees.lonlat([200.0, -10.0], [5.0, -5.0])
    np.testing.assert_allclose(lon, [-160, -10])
    np.testing.assert_allclose(lat, [5, -5])
    assert not degrees.conformal(0, 0)


@pytest.mark.parametrize(
    "crs",
    [
        "+proj=longlat +R=3396190 +no_defs",
        "+proj=stere +lat_0=90 +R=3396190 +units=m",
        "EPSG:4326",
        "EPSG:3031",
        "+proj=stere +lat_0=-90 +a=1737400 +b=1730000 +units=m",
        "no CRS",
    ],
)
def test_other_bodies_are_refused(crs: str) -> None:
    with pytest.raises(GridError, match=r"^dem\.tif: expected a CRS of the Moon .*found") as refused:
        LunarProjection(crs, "dem.tif")
    assert "\n" not in str(refused.value)


# --- windows ----------------------------------------------------------------------------------------------


def test_a_window_keeps_its_pixels_places_and_its_type() -> None:
    grid = grid_at(CRSS["local"], 3, -27, size=40)
    window = grid.window(-5, 7, 11, 13)
    assert isinstance(window, MapGrid)
    assert (window.height, window.width) == (11, 13)
    np.testing.assert_allclose(window.xy(2, 3), grid.xy(-3, 10))
    again = MapGrid.from_json(grid.to_json())
    assert again == grid and isinstance(again, MapGrid)
    assert isinstance(grid, Grid)


def test_description_tells_size_and_place() -> None:
    text = grid_at(CRSS["local"], 3, -27, size=40).describe()
    assert text == "40 x 40 pixels of 20 m about longitude 3.000, latitude -27.000"


def test_a_crs_keeps_its_sphere() -> None:
    other = lunar_projection("+proj=stere +lat_0=-90 +R=1738000 +units=m")
    assert other.radius_m == 1738000
    assert CRS.from_wkt(other.wkt_text).ellipsoid.semi_major_metre == 1738000
    assert other.distortion(0, -90)[0] == pytest.approx(1, rel=1e-6)
