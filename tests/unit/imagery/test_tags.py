"""The Sun in the tags of an image file."""

from __future__ import annotations

import pytest

from pipeline.imagery.suns.tags import sun_from_tags

POSITION = "1845629199.4 150351106527.7 4036720232.5"


@pytest.mark.parametrize(
    "tags",
    [
        {"SUB_SOLAR_LATITUDE": "1.538", "SUB_SOLAR_LONGITUDE": " 89.297 "},
        {"SubSolarLatitude": "1.538 <degree>", "SubSolarLongitude": "8.9297e1 deg"},
        {"SUN_POSITION": POSITION, "AREA_OR_POINT": "Area"},
        {"sun_position": "(" + POSITION.replace(" ", ", ") + ")"},
        {"SUN_POSITION": POSITION, "SUB_SOLAR_LATITUDE": "1.5", "SUB_SOLAR_LONGITUDE": "89.3"},
        {"SUN_POSITION": "N/A", "SUB_SOLAR_LATITUDE": "1.538", "SUB_SOLAR_LONGITUDE": "89.297"},
    ],
)
def test_tags_give_the_sun(tags):
    sun = sun_from_tags(tags)
    assert sun.subsolar == pytest.approx((89.297, 1.538), abs=1e-3)
    assert sun.source.startswith("tag")


@pytest.mark.parametrize("tags", [{}, {"AREA_OR_POINT": "Area"}, {"SUN_POSITION": " "}])
def test_files_without_such_tags_give_none(tags):
    assert sun_from_tags(tags) is None


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"SUB_SOLAR_LATITUDE": "1"}, "tag SUB_SOLAR_LONGITUDE: expected a number of degrees, found None"),
        (
            {"SUB_SOLAR_LATITUDE": "x", "SUB_SOLAR_LONGITUDE": "1"},
            "tag SUB_SOLAR_LATITUDE: expected a number",
        ),
        ({"SUB_SOLAR_LATITUDE": "2", "SUB_SOLAR_LONGITUDE": "1"}, "expected a sub-solar latitude"),
        ({"SUB_SOLAR_LATITUDE": "91", "SUB_SOLAR_LONGITUDE": "1"}, "expected finite degrees"),
        ({"SUN_POSITION": "1 2"}, "tag SUN_POSITION: expected x y z in metres"),
        ({"SUN_POSITION": "1 2 3"}, "tag SUN_POSITION: the Sun: expected a position"),
        (
            {"SUN_POSITION": POSITION, "SUB_SOLAR_LATITUDE": "1.5", "SUB_SOLAR_LONGITUDE": "88"},
            "expected one Sun, found sub-solar longitude 89.297",
        ),
    ],
)
def test_malformed_tags_are_refused(tags, message):
    with pytest.raises(ValueError, match=message):
        sun_from_tags(tags)
