"""Projections of the Moon: those accepted, points between them, and where a map's x repeats."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from image_files import EQUIRECTANGULAR, LOCAL, LONLAT
from pyproj import CRS
from raster_files import NORTH, SOUTH

from pipeline.imagery.projection import from_lonlat, metres_per_unit, moon_crs, period, to_lonlat
from pipeline.terrain.grid import GridError, parse_projection

RADIUS = 1737400.0


@pytest.mark.parametrize("crs", [SOUTH, NORTH])
def test_polar_points_agree_with_the_formulas(crs: str) -> None:
    wkt = CRS.from_user_input(crs).to_wkt()
    projection = parse_projection(wkt, "map")[0]
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 500), projection.pole * rng.uniform(70, 90, 500)
    x, y = from_lonlat(wkt, lon, lat)
    np.testing.assert_allclose((x, y), projection.xy(lon, lat), atol=1e-6)
    back = to_lonlat(wkt, x, y)
    np.testing.assert_allclose(projection.xy(*back), (x, y), atol=1e-6)


@pytest.mark.parametrize("code", ["IAU_2015:30135", "IAU_2015:30110", "IAU_2015:30100", "ESRI:103878"])
def test_the_usual_codes_and_no_complaint(code: str) -> None:
    wkt = CRS.from_user_input(code).to_wkt()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x, y = from_lonlat(wkt, np.array([30.0]), np.array([-85.0]))
        lon, lat = to_lonlat(wkt, x, y)
    np.testing.assert_allclose((lon[0], lat[0]), (30.0, -85.0), atol=1e-9)


def test_periods() -> None:
    turn = 2 * np.pi * RADIUS
    assert period(CRS.from_user_input(LONLAT).to_wkt()) == 360
    for text, expected in [
        (EQUIRECTANGULAR, turn),
        ("+proj=eqc +lat_ts=60 +lon_0=180 +R=1737400", turn / 2),
        ("+proj=eqc +lat_ts=60 +lon_0=20 +R=1737400 +units=km", turn / 2e3),
        ("+proj=merc +lon_0=-75 +R=1737400", turn),
        ("+proj=cea +lat_ts=0 +R=1737400", turn),
    ]:
        assert period(CRS.from_user_input(text).to_wkt()) == pytest.approx(expected)
    for text in (SOUTH, LOCAL, "+proj=tmerc +R=1737400", "+proj=ortho +R=1737400", "+proj=sinu +R=1737400"):
        assert period(CRS.from_user_input(text).to_wkt()) is None


def test_units() -> None:
    assert metres_per_unit(CRS.from_user_input(SOUTH).to_wkt()) == 1.0
    assert metres_per_unit(CRS.from_user_input(SOUTH.replace("units=m", "units=km")).to_wkt()) == 1e3
    assert metres_per_unit(CRS.from_user_input(LONLAT).to_wkt()) == pytest.approx(30323.35, abs=0.01)


@pytest.mark.parametrize(
    "text, words",
    [
        ("EPSG:4326", "6378.14"),
        ("+proj=stere +lat_0=90 +R=3396190", "3396.19"),
        ("+proj=stere +lat_0=90 +a=1738100 +b=1736000", "1736 km"),
        ("+proj=geocent +R=1737400", "Geocentric"),
        ("nothing", "does not parse"),
    ],
)
def test_what_is_not_a_map_of_the_moon(text: str, words: str) -> None:
    with pytest.raises(GridError, match=words) as caught:
        moon_crs(text, "image.tif")
    assert str(caught.value).startswith("image.tif: expected a map of the Moon")
