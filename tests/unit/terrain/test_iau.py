"""Codes of lunar CRSs: every one of the registry is found however its CRS is written, and no other."""

from __future__ import annotations

import pytest
from pyproj import CRS
from rasterio.crs import CRS as FileCRS

from pipeline.terrain.iau import iau_code
from pipeline.terrain.map_grid import local_projection, lunar_projection

CODES = [30100, 30110, 30115, 30120, 30130, 30135, 30140, 30160, 30165, 30170, 30175, 30180, 30185, 30190]


@pytest.mark.filterwarnings("ignore:You will likely lose")
@pytest.mark.parametrize("code", CODES)
def test_a_crs_without_its_code_is_found(code: int) -> None:
    """By WKT 2, by WKT 1 as GeoTIFFs give it, and by PROJ's words: none of these names the code."""
    crs = CRS.from_authority("IAU_2015", code)
    words = crs.to_proj4()
    bare = CRS.from_proj4(words)
    assert "30100" not in bare.to_wkt()
    for text in (crs.to_wkt(), words, bare.to_wkt(), FileCRS.from_wkt(bare.to_wkt()).to_wkt()):
        assert iau_code(lunar_projection(text)) == f"IAU_2015:{code}"


SOUTH = "+proj=stere +lat_0=-90 +lon_0=0 +k=1 +x_0=0 +y_0=0 +R=1737400 +units=m"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ("+lon_0=0", "IAU_2015:30135"),
        ("+lat_ts=-90", "IAU_2015:30135"),
        ("+lon_0=1e-4", None),
        ("+lon_0=180", None),
        ("+lat_0=90", "IAU_2015:30130"),
        ("+lat_0=-89", None),
        ("+k=0.9999", None),
        ("+lat_ts=-80", None),
        ("+x_0=1", None),
        ("+y_0=-500", None),
        ("+R=1737401", None),
        ("+units=km", None),
        ("+proj=laea", None),
    ],
)
def test_one_parameter_that_differs_is_another_crs(found: str, code: str | None) -> None:
    name = found.split("=")[0] + "="
    kept = [word for word in SOUTH.split() if not word.startswith(name)]
    if name == "+lat_ts=":
        kept = [word for word in kept if not word.startswith("+k=")]
    assert iau_code(lunar_projection(" ".join([*kept, found, "+no_defs"]))) == code


def test_geographic_coordinates_of_another_sphere_have_no_code() -> None:
    assert iau_code(lunar_projection("+proj=longlat +R=1738000 +no_defs")) is None


def test_a_local_projection_has_no_code() -> None:
    assert iau_code(local_projection(30.0, -85.0)) is None


def test_names_do_not_decide() -> None:
    """An ESRI definition has the same parameters under other names; one label says what is not so."""
    text = lunar_projection(SOUTH).wkt_text
    assert "unknown" in text
    assert iau_code(lunar_projection(text.replace("unknown", "Moon North Pole"))) == "IAU_2015:30135"
    assert iau_code(lunar_projection("ESRI:103878")) == "IAU_2015:30135"
