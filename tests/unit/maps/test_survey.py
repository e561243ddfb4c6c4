"""What a site's images are good for: why some are not used, which are withheld, what if none is left."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from image_files import EQUIRECTANGULAR, write_image
from raster_files import SOUTH, write_tif

from pipeline.config.images import ImagesSection
from pipeline.config.site import SiteSection
from pipeline.maps.survey import Surveyed, survey, target_of
from pipeline.terrain.map_grid import MapGrid, lunar_projection

PIXEL, SIZE = 20.0, 64
HALF = SIZE * PIXEL / 2
# About the south pole, where the Sun stands as high as it stands south, and its azimuth is its longitude.
GRID = MapGrid(lunar_projection(SOUTH).wkt_text, Affine(PIXEL, 0, -HALF, 0, -PIXEL, HALF), SIZE, SIZE)


def image(
    path: Path, lon: float | None = 0.0, lat: float = -1.5, value: Any = None,
    shape: tuple[int, int] = (SIZE, SIZE), **how: Any,
) -> str:  # fmt: skip
    """An image of the whole map, with its Sun in tags where `lon` is given."""
    data = np.random.default_rng(0).uniform(0.01, 0.1, shape).astype(np.float32)
    how = {"transform": GRID.transform, **how}
    write_image(path, data if value is None else value, **how)
    if lon is not None:
        with rasterio.open(path, "r+") as file:
            file.update_tags(SUB_SOLAR_LATITUDE=str(lat), SUB_SOLAR_LONGITUDE=str(lon))
    return str(path)


def look(paths: list[str], suns: Path | None = None, grid: MapGrid = GRID, **section: Any) -> list[Surveyed]:
    dem = "dem.tif"
    if suns is not None:
        # The DEM reaches beyond the map to the right: its centre lies at 90 deg east, 4 km from the map's.
        flat, origin = np.zeros((SIZE, SIZE + 400), np.float32), (-HALF, HALF)
        dem = str(write_tif(suns.parent / dem, flat, pixel=PIXEL, origin=origin))
    site = SiteSection(dem=dem, suns=None if suns is None else str(suns))
    found = survey(paths, site, ImagesSection(**section), grid)
    assert [row.path for row in found] == paths
    for row in found:
        assert Surveyed.from_json(json.loads(json.dumps(row.to_json()))) == row
    return found


# --- one image --------------------------------------------------------------------------------------------


def test_a_good_image(tmp_path: Path) -> None:
    (row,) = look([image(tmp_path / "M1225822680LE.tif", lon=123.0)])
    assert row.usable and not row.withheld
    assert (row.product, row.sun_source) == ("M1225822680LE", "tags")
    assert row.azimuth_deg == pytest.approx(123, abs=0.5)  # the map's middle lies between pixels
    assert row.elevation_deg == pytest.approx(1.5, abs=1e-3)
    assert row.box == (0, SIZE, 0, SIZE)


def test_the_box_holds_what_the_image_shows(tmp_path: Path) -> None:
    """A quarter of the map, from row 10 and column 20 on, and at most two pixels more."""
    corner = Affine(PIXEL, 0, -HALF + 20 * PIXEL, 0, -PIXEL, HALF - 10 * PIXEL)
    path = image(tmp_path / "part.tif", transform=corner, shape=(32, 16))
    (row,) = look([path])
    assert row.box is not None
    row0, row1, col0, col1 = row.box
    assert 8 <= row0 <= 10 and 42 <= row1 <= 44 and 18 <= col0 <= 20 and 36 <= col1 <= 38


def refused(tmp_path: Path, path: str, suns: Path | None = None, **section: Any) -> Surveyed:
    """The row of an image that is not used, beside one that is."""
    good = image(tmp_path / "good.tif", lon=10.0)
    rows = look([good, path], suns, **section)
    assert rows[0].usable and not rows[1].usable
    assert "\n" not in rows[1].why
    return rows[1]


def test_without_a_sun(tmp_path: Path) -> None:
    row = refused(tmp_path, image(tmp_path / "other.tif", lon=None))
    assert row.why.startswith("no Sun: ")
    assert (row.sun, row.azimuth_deg, row.note) == (None, None, "")


@pytest.mark.parametrize(
    "how",
    [
        {"transform": Affine(PIXEL, 0, HALF + 3 * PIXEL, 0, -PIXEL, HALF)},
        {"transform": Affine(PIXEL, 0, -HALF, 0, -PIXEL, -HALF - 3 * PIXEL)},
        {"crs": EQUIRECTANGULAR},
    ],
)
def test_of_another_place(tmp_path: Path, how: dict[str, Any]) -> None:
    row = refused(tmp_path, image(tmp_path / "other.tif", **how))
    assert row.why == "it does not cover the map"
    assert row.box is None


@pytest.mark.parametrize("lat", [-0.4, 1.5])
def test_with_a_low_sun(tmp_path: Path, lat: float) -> None:
    row = refused(tmp_path, image(tmp_path / "other.tif", lat=lat))
    assert row.why == f"the Sun is {-lat:.2f} deg high, images.lowest_sun_deg is 0.5"
    if lat < 0:
        assert look([image(tmp_path / "low.tif", lat=lat)], lowest_sun_deg=0.3)[0].usable


def test_from_the_side(tmp_path: Path) -> None:
    suns = tmp_path / "suns.csv"
    suns.write_text(
        "PRODUCT_ID,SUB_SOLAR_LATITUDE,SUB_SOLAR_LONGITUDE,EMISSION_ANGLE\n"
        "M1225822680LE,-1.5,40,12.5\nM104299437RE,-1.5,80,9.5\n"
    )
    paths = [
        image(tmp_path / f"{name}.tif", lon=None, shape=shape)
        for name, shape in (("M104299437RE", (64, 64)), ("M1225822680LE", (64, 63)))
    ]
    near, side = look(paths, suns)
    assert near.usable and near.sun_source == "row"
    assert near.azimuth_deg == pytest.approx(80, abs=0.5)
    assert side.why == "emission angle 12.5 deg, images.most_emission_deg is 10"
    assert all(row.usable for row in look(paths, suns, most_emission_deg=13))


def test_azimuths_of_a_list_hold_over_the_dems_centre(tmp_path: Path) -> None:
    """At 90 deg east of the south pole, north is to the right on the map."""
    suns = tmp_path / "suns.txt"
    suns.write_text("a.tif 20 1.5\n")
    (row,) = look([image(tmp_path / "a.tif", lon=None)], suns)
    assert row.azimuth_deg == pytest.approx(90 + 20, abs=0.5)
    # 4 km towards the Sun or away from it, 0.13 deg over the sphere.
    assert row.elevation_deg == pytest.approx(1.5 - 0.132 * np.cos(np.radians(20)), abs=0.01)


def test_overexposed(tmp_path: Path) -> None:
    values = np.full((SIZE, SIZE), 255, np.uint8)
    values[:32] = 50
    assert "50% of its pixels are saturated" in refused(tmp_path, image(tmp_path / "o.tif", value=values)).why


def test_the_same_product_twice(tmp_path: Path) -> None:
    """The first that is usable counts; other processing of an id is the same image, other ids are not."""
    folders = [tmp_path / str(k) for k in range(5)]
    for folder in folders:
        folder.mkdir()
    low = image(folders[0] / "M1225822680LE.tif", lat=0.5)
    first = image(folders[1] / "M1225822680LE_map.tif")
    twin = image(folders[2] / "M1225822680LE.tif")
    calibrated = image(folders[3] / "M1225822680LC.tif", lon=0.1)
    right = image(folders[4] / "M1225822680RE.tif", lon=0.2)
    unnamed = [image(tmp_path / "a.tif", lon=0.3), image(tmp_path / "b.tif", lon=0.4)]
    rows = look([low, first, twin, calibrated, right, *unnamed])
    assert [row.usable for row in rows] == [False, True, False, False, True, True, True]
    assert rows[2].why == f"the same product as {first}"
    assert rows[3].why == f"the same image, raw or calibrated, as {first}"


def test_copies_under_other_names(tmp_path: Path) -> None:
    """Equal contents are one image; files of one size whose contents differ are not."""
    low = image(tmp_path / "low.tif", lat=0.5)
    paths = [image(tmp_path / f"{name}.tif", lon=lon) for name, lon in (("a", 10.0), ("b", 20.0))]
    copies = [str(shutil.copy(path, tmp_path / name)) for path, name in zip([low, *paths], ("x", "y", "z"))]
    rows = look([low, *paths, *copies])
    assert [row.usable for row in rows] == [False, True, True, False, False, False]
    assert [row.why for row in rows[4:]] == [f"a copy of {path}" for path in paths]
    assert rows[3].why.startswith("the Sun is")


def test_a_broken_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"no image")
    row = refused(tmp_path, str(broken))
    assert row.why and not row.why.startswith(str(broken))
    assert refused(tmp_path, str(tmp_path / "absent.tif")).why


def test_a_damaged_block(tmp_path: Path) -> None:
    """Its header is whole, its pixels are not."""
    path = tmp_path / "damaged.tif"
    image(path, compress="deflate", tiled=True, blockxsize=32, blockysize=32)
    whole = bytearray(path.read_bytes())
    whole[-2000:-1000] = b"\xff" * 1000
    path.write_bytes(whole)
    row = refused(tmp_path, str(path))
    assert row.why.startswith("expected readable pixels in rows 0-64") and "a damaged block" in row.why
    assert row.sun is not None and row.box is not None


def test_the_log_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        row = refused(tmp_path, image(tmp_path / "other.tif", lat=-0.1))
    assert caplog.messages == [f"{row.path}: not used: {row.why}"]


# --- all of them ------------------------------------------------------------------------------------------


def test_no_usable_image_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    paths = [image(tmp_path / "a.tif", lat=0.3), image(tmp_path / "b.tif", lon=None)]
    with pytest.raises(
        ValueError, match=r"^site\.images: expected.*found 2 of which none can be used"
    ) as error:
        look(paths)
    assert f"{paths[0]}: the Sun is -0.30 deg high" in str(error.value)
    assert "site.images: null" in str(error.value) and "\n" not in str(error.value)


def test_no_images_are_no_error() -> None:
    assert look([]) == []


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """40 images, their Suns all around in an order that is none."""
    folder = tmp_path_factory.mktemp("around")
    order = np.random.default_rng(3).permutation(40)
    return [image(folder / f"{k}.tif", lon=9.0 * k + 2) for k in order]


@pytest.mark.parametrize(
    ("images", "section", "count"),
    [
        (40, {}, 4),
        (40, {"withhold": 0.25}, 10),
        (20, {}, 3),  # withhold_least
        (8, {}, 3),
        (7, {}, 0),  # fewer than check_from
        (5, {"check_from": 5}, 2),  # at most half
        (1, {"check_from": 1}, 0),
        (40, {"withhold": 0.0}, 0),
        (40, {"withhold": 1.0}, 20),
    ],
)
def test_some_images_are_withheld(
    around: list[str], images: int, section: dict[str, Any], count: int
) -> None:
    rows = look(around[:images], **section)
    assert sum(row.withheld for row in rows) == count
    assert all(row.usable for row in rows)


@pytest.mark.parametrize("count", [4, 5, 8])
def test_withheld_images_lie_evenly_over_the_azimuths(around: list[str], count: int) -> None:
    rows = look(around, withhold=count / 40)
    azimuths = np.sort([row.azimuth_deg for row in rows if row.withheld])
    assert len(azimuths) == count
    gaps = np.diff([*azimuths, azimuths[0] + 360])
    np.testing.assert_allclose(gaps, 360 / count, atol=10)  # a step of the images


def test_images_that_are_not_used_are_not_withheld(around: list[str], tmp_path: Path) -> None:
    low = [image(tmp_path / f"low{k}.tif", lon=10.0 * k, lat=0.1) for k in range(10)]
    rows = look([*low, *around[:7]])
    assert not any(row.withheld for row in rows)
    rows = look([*low, *around[:8]])
    assert sum(row.withheld for row in rows) == 3 and not any(row.withheld for row in rows[:10])


def test_the_target_is_the_maps_grid() -> None:
    target = target_of(GRID)
    assert (target.crs_wkt, target.transform) == (GRID.crs_wkt, GRID.transform)
    assert (target.height, target.width) == (SIZE, SIZE)
