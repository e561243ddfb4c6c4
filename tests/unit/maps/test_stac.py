"""The STAC item of a map: valid by the schemas of STAC and its extensions, and true of its files."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import CRS
from raster_files import SOUTH
from stac_files import stac_errors

from pipeline.maps.kinds import DOCUMENTS, KINDS
from pipeline.maps.rasters import Rasters
from pipeline.maps.stac import GEOTIFF, UNKNOWN, times, write_item
from pipeline.terrain.map_grid import MapGrid, local_projection, lunar_projection

ROWS, COLS = 48, 64
FACTS = {"key": "0123456789ab", "model_fingerprint": "f" * 12, "check": {"verdict": "not checked"}}
IMAGES = ("nac/M126832204RE.tif", "nac/M1225822680LE_map.tif", "nac/M130799747LE.tif")


def grid(crs: str = SOUTH, left: float = 20_000.0, top: float = 450_000.0) -> MapGrid:
    return MapGrid(lunar_projection(crs).wkt_text, Affine(40, 0, left, 0, -40, top), COLS, ROWS)


def files(folder: Path, where: MapGrid) -> dict[str, str]:
    """Rasters of every kind, one of them without any data, and the other files."""
    rng = np.random.default_rng(0)
    paths = {name: str(folder / f"{name}.tif") for name in KINDS}
    with Rasters(paths, where, KINDS, {}, {"clones": 2}) as rasters:
        for name, kind in KINDS.items():
            values = rng.uniform(0, 3, (2, ROWS, COLS) if name == "clones" else (ROWS, COLS))
            if kind.nodata is not None:
                values[..., :10, :] = np.nan if name != "azimuth_gap" else 0
            if name == "azimuth_gap":
                values[:] = np.nan
            rasters.write(name, 0, np.nan_to_num(values) if kind.dtype.startswith("uint") else values)
    Image.new("L", (30, 20)).save(folder / "quicklook.png")
    return paths | {name: str(folder / file) for name, file in DOCUMENTS.items()}


def made(folder: Path, where: MapGrid, images: tuple[str, ...] = IMAGES) -> dict[str, Any]:
    paths = files(folder, where)
    write_item(paths["stac"], paths, where, images, FACTS)
    return json.loads((folder / "stac.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("map")


@pytest.fixture(scope="module")
def item(folder: Path) -> dict[str, Any]:
    return made(folder, grid())


def test_an_item_is_valid(item: dict[str, Any]) -> None:
    assert stac_errors(item) == []
    assert {url.split("/")[3] for url in item["stac_extensions"]} == {"projection", "raster", "ssys"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stac_version": "1.0.0"}, "$.stac_version"),
        ({"properties": {"datetime": None}}, "$.properties"),
        ({"properties": {"datetime": None, "proj:shape": [1.5, 2]}}, "proj:shape"),
        ({"assets": {"mean": {"href": "a", "bands": [{"nodata": "NaN"}]}}}, "nodata"),
        ({"assets": {"mean": {"href": "a", "raster:sampling": "pixel"}}}, "raster:sampling"),
        ({"properties": {"datetime": "2020-01-01T00:00:00Z", "ssys:targets": []}}, "ssys"),
    ],
)
def test_the_schemas_refuse_what_is_wrong(item: dict[str, Any], change: dict[str, Any], said: str) -> None:
    errors = stac_errors(item | change)
    assert any(said in error for error in errors), errors


def test_it_is_of_the_moon_and_says_where(item: dict[str, Any]) -> None:
    found = item["properties"]
    assert (found["ssys:targets"], found["ssys:target_class"]) == (["Moon"], "satellite")
    assert found["proj:code"] == "IAU_2015:30135"
    assert CRS.from_wkt(found["proj:wkt2"]) == CRS.from_wkt(grid().crs_wkt)
    assert found["proj:shape"] == [ROWS, COLS]
    assert Affine(*found["proj:transform"]) == grid().transform
    assert found["proj:bbox"] == list(grid().bounds)
    lon, lat = grid().lonlat((ROWS - 1) / 2, (COLS - 1) / 2)
    assert found["proj:centroid"] == pytest.approx({"lon": float(lon), "lat": float(lat)}, abs=1e-6)
    west, south, east, north = item["bbox"]
    assert west < lon < east and south < lat < north


def test_a_projection_of_its_own_has_no_code_and_a_pole_all_longitudes(tmp_path: Path) -> None:
    own = made(tmp_path, grid(local_projection(20, -89.99).wkt_text, -1000, 1000))
    assert stac_errors(own) == []
    assert own["properties"]["proj:code"] is None and "PROJCRS" in own["properties"]["proj:wkt2"]
    assert own["bbox"][:3] == [-180, -90, 180]


def test_every_file_is_an_asset_and_bands_are_those_of_the_files(item: dict[str, Any], folder: Path) -> None:
    assert set(item["assets"]) == {*KINDS, *DOCUMENTS} - {"stac"}
    for name, kind in KINDS.items():
        asset = item["assets"][name]
        assert (asset["href"], asset["type"], asset["roles"][0]) == (f"./{name}.tif", GEOTIFF, "data")
        with rasterio.open(folder / asset["href"]) as raster:
            values = raster.read(masked=True).astype(np.float64)
            assert len(asset["bands"]) == raster.count
            for band, data, described in zip(asset["bands"], values, raster.descriptions):
                assert (band["data_type"], band["unit"]) == (raster.dtypes[0], raster.units[0])
                assert band["description"] == described
                nodata = {"nan": "nan", "0.0": 0, "None": None}[str(raster.nodata)]
                assert band.get("nodata") == nodata
                told = band["statistics"]
                if not data.count():
                    assert told == {"valid_percent": 0}
                    continue
                assert told["minimum"] == pytest.approx(data.min())
                assert told["maximum"] == pytest.approx(data.max())
                assert told["mean"] == pytest.approx(data.mean())
                assert told["stddev"] == pytest.approx(data.std(), rel=1e-5)
                assert told["valid_percent"] == pytest.approx(100 * data.count() / data.size, abs=0.1)
        assert kind.nodata is not None or "nodata" not in asset["bands"][0]
    assert [band["name"] for band in item["assets"]["clones"]["bands"]] == ["clones_1", "clones_2"]


def test_the_picture_does_not_lie_on_the_map(item: dict[str, Any]) -> None:
    picture = item["assets"]["quicklook"]
    assert (picture["proj:code"], picture["proj:wkt2"], picture["proj:shape"]) == (None, None, [20, 30])
    assert picture["type"] == "image/png"


def test_its_time_is_that_of_its_images(item: dict[str, Any]) -> None:
    """Product ids tell it: 9 digits and 167053532 s, or 10 and -732946468, after 2001."""
    found = item["properties"]
    assert found["datetime"] is None
    start, end = (datetime.fromisoformat(found[f"{name}_datetime"]) for name in ("start", "end"))
    epoch = datetime.fromisoformat("2001-01-01T00:00:00Z")
    assert (start - epoch).total_seconds() == 126832204 + 167053532
    assert (end - epoch).total_seconds() == 1225822680 - 732946468


@pytest.mark.parametrize(
    "images", [(), ("nac/mosaic.tif",), (*IMAGES, "mosaic.tif"), (*IMAGES, "M999999999LE.tif")]
)
def test_where_an_image_does_not_tell_its_time_the_item_claims_none(images: tuple[str, ...]) -> None:
    assert times(images) == UNKNOWN
    assert all(datetime.fromisoformat(time) for time in UNKNOWN)


def test_equal_maps_have_equal_items(item: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    assert made(tmp_path, grid()) == item
    assert (tmp_path / "stac.json").read_bytes() == (folder / "stac.json").read_bytes()
    assert str(tmp_path) not in (tmp_path / "stac.json").read_text()
