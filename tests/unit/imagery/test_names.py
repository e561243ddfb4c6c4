"""Names of images: product ids, the time in them, and values kept by name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.imagery.suns.names import NameIndex, observation, product_id, utc_of


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("M1225822680LE_map.tif", "M1225822680LE"),
        ("a/b/M111578606RE.10mpp.tif", "M111578606RE"),
        ("M104827900LE.cal.echo.map.tif", "M104827900LE"),
        ("run-m104827900lc.tif", "M104827900LC"),
        ("M143947267L.cal.echo.crop.cub", "M143947267L"),
        ("lroc_M143947267RC", "M143947267RC"),
        ("C:\\data\\M143947267RC.tif", "M143947267RC"),
        # Both cameras of one exposure.
        ("M143947267LE-M143947267RE.tif", "M143947267LE"),
        # A stereo pair; folders; the wide angle camera; no id.
        ("M104311715LE_M104318871LE-DEM.tif", None),
        ("M104311715LE/out.tif", None),
        ("M116215423CE.tif", None),
        ("XM104311715LE.tif", None),
        ("M104311715LE2.tif", None),
        ("AS16-M-0169.tif", None),
        ("", None),
    ],
)
def test_ids_in_names(text, found):
    assert product_id(text) == found


def test_both_cameras_are_one_observation():
    assert {observation(name) for name in ("M5LE", "m5RC", "M5L", " M5 ")} == {"M5"}
    with pytest.raises(ValueError, match="product id: expected M, digits"):
        observation("AS16-M-0169")


@pytest.mark.parametrize(
    ("product", "time"),
    [
        # START_TIME of LROC's cumulative index.
        ("M1225822680LE", datetime(2016, 8, 14, 14, 3, 33, 431000)),
        ("M104299437RE", datetime(2009, 8, 7, 15, 49, 30, 756000)),
    ],
)
def test_the_time_in_a_name(product, time):
    assert abs((utc_of(product) - time.replace(tzinfo=UTC)).total_seconds()) < 3


def test_ids_of_nine_and_ten_digits_follow_each_other():
    assert (utc_of("M1100000000LE") - utc_of("M199999999RC")).total_seconds() == 1


@pytest.mark.parametrize(
    "product",
    [
        "M980029460RE",
        "M294252667LE",
        "M12345678LE",
        "M0999999999LE",
        "M100000000LE",
        "M001234567LE",
        "M2100000000LE",
        "x",
    ],
)
def test_digits_without_a_plausible_time_are_refused(product):
    with pytest.raises(ValueError, match=r"expected .*, found "):
        utc_of(product)


def test_the_surest_key_comes_first():
    index: NameIndex[int] = NameIndex(lambda first, second: first == second)
    for value, name in enumerate(["a/M111578606LE.tif", "b/M111578606LE.map.tif", "M111578606RE.cub"]):
        index.add(name, value)

    def first(path):
        match = next(index.find(path), None)
        return match and (match.value, match.kind)

    assert first("./a/M111578606LE.tif") == (0, "path")
    assert first("c/M111578606LE.map.tif") == (1, "file name")
    assert first("M111578606RE.map.tif") == (2, "product id")
    assert first("M111578606RC.tif") == (2, "camera")
    with pytest.raises(
        ValueError, match=r"c/M111578606LE: expected one value for the product id M111578606LE"
    ):
        first("c/M111578606LE")
    assert first("M999.tif") is None


def test_other_missions_match_by_what_stands_before_a_dot():
    index: NameIndex[int] = NameIndex(lambda first, second: first == second)
    index.add("AS16-M-0169", 1, "as16-m-0169")
    index.add("tile.1.tif", 2)
    assert not index.add("tile.2.tif", 3)
    assert [match.value for match in index.find("images/AS16-M-0169.map.tif")] == [1]
    assert [match.value for match in index.find("AS16-M-0170.tif")] == []
    assert [match.value for match in index.find("x/tile.2.tif")] == [3]
