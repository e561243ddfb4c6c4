"""Wrong inputs of a map's site: each gives one clear line, or the stated fallback, before long work.

Every case goes the way of a user's run: the configuration, the plan (`resolve_site`, headers only), then the
first job (`look_at_site`), which reads the DEM and surveys the images.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from image_files import LONLAT, write_image
from raster_files import NORTH, SOUTH, write_tif
from scipy import ndimage

from pipeline.config.images import ImagesSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.root import load_config
from pipeline.config.site import SiteSection
from pipeline.config.stages.maps import SiteStage
from pipeline.imagery.suns.sun import Sun
from pipeline.maps.ground import SiteGround
from pipeline.maps.prepare import prepare_image
from pipeline.maps.render import Scene
from pipeline.maps.site import look_at_site, read_survey
from pipeline.maps.survey import Surveyed, survey
from pipeline.provenance.digest import DigestMemory
from pipeline.provenance.site_files import resolve_site
from pipeline.terrain.map_grid import MapGrid, lunar_projection

FACTOR, WINDOW, SIZE, PIXEL = 8, 32, 64, 20.0
HALF = SIZE * PIXEL / 2
MARS = "+proj=stere +lat_0=-90 +lon_0=0 +k=1 +R=3396190 +units=m +no_defs"
HEADER = "PRODUCT_ID,SUB_SOLAR_LATITUDE,SUB_SOLAR_LONGITUDE"
GOOD = "M1225822680LE.tif"

Case = Callable[[Path], dict[str, Any]]


def hills() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (200 * np.sin(y / 9) * np.cos(x / 7) - 1500).astype(np.float32)


def dem(folder: Path, data: np.ndarray | None = None, **how: Any) -> str:
    """A DEM around the south pole, 64 x 64 pixels of 20 m."""
    how = {"origin": (-HALF, HALF), **how}
    return write_tif(folder / "dem.tif", hills() if data is None else data, **how).name


def image(folder: Path, name: str = GOOD, lon: float | None = 30.0, lat: float = -1.5, **how: Any) -> str:
    """An image of the whole map, with its Sun in tags where `lon` is given."""
    data = how.pop("data", None)
    if data is None:
        data = np.random.default_rng(0).uniform(0.01, 0.1, (SIZE, SIZE)).astype(np.float32)
    how = {"transform": Affine(PIXEL, 0, -HALF, 0, -PIXEL, HALF), **how}
    write_image(folder / name, data, **how)
    if lon is not None:
        with rasterio.open(folder / name, "r+") as file:
            file.update_tags(SUB_SOLAR_LATITUDE=str(lat), SUB_SOLAR_LONGITUDE=str(lon))
    return name


def text(folder: Path, name: str, *lines: str) -> str:
    (folder / name).write_text("\n".join(lines) + "\n")
    return name


def met(folder: Path, site: dict[str, Any]) -> list[Surveyed]:
    """What a user meets: the plan, then the first job; the survey's rows."""
    factor = {"size_px": WINDOW, "factor": FACTOR, "halo_px": 16, "stride_px": 32}
    weights = {
        "map": {"stride_px": 16},
        "pretrained": {"weights": "weights"},
        "systems": [],
        "primary": "pretrained",
    }
    config = load_config({"site": site, "patches": factor, "images": {"light_m": 100}, **weights})
    files = resolve_site(config, folder, DigestMemory(folder / "digests.json"))
    assert files is not None
    paths = {f"site_{k}": [str(folder / p) for p in v] for k, v in files.paths.items()}
    stage = SiteStage(
        site=config.site, images=config.images, factor=FACTOR, size_px=WINDOW, halo_px=16, files=[]
    )
    outputs = {"ground": str(folder / "ground.zarr.zip"), "site": str(folder / "site.json")}
    look_at_site(stage, paths, outputs)
    return read_survey(outputs["site"])


# --- what is refused ----------------------------------------------------------------------------------------


def with_dem(data: np.ndarray | None = None, **how: Any) -> Case:
    """A wrong DEM, and a good image."""
    return lambda folder: {"dem": dem(folder, data, **how), "images": image(folder)}


def with_site(**site: Any) -> Case:
    """Wrong keys beside a good DEM and a good image."""
    return lambda folder: {"dem": dem(folder), "images": image(folder)} | site


def with_image(**how: Any) -> Case:
    """A wrong image, and no other."""
    return lambda folder: {"dem": dem(folder), "images": image(folder, **how)}


def with_suns(*lines: str) -> Case:
    """A table of Suns for an image without tags."""

    def case(folder: Path) -> dict[str, Any]:
        return {"dem": dem(folder), "images": image(folder, lon=None), "suns": text(folder, "suns", *lines)}

    return case


def with_points(*lines: str) -> Case:
    return lambda folder: with_site(points=text(folder, "points.csv", *lines))(folder)


def with_kernel(folder: Path) -> dict[str, Any]:
    return {
        "dem": dem(folder),
        "images": image(folder, lon=None),
        "kernels": [text(folder, "naif.tls", "no kernel")],
    }


def with_map(key: str, data: np.ndarray, **how: Any) -> Case:
    """A count or error map."""

    def case(folder: Path) -> dict[str, Any]:
        name = write_tif(folder / "beside.tif", data, **{"origin": (-HALF, HALF), **how}).name
        return {"dem": dem(folder), "images": image(folder), key: name}

    return case


def halved(name: str) -> Case:
    """A file of which the second half is lost."""

    def case(folder: Path) -> dict[str, Any]:
        site = with_site()(folder)
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return site

    return case


def with_folder(folder: Path) -> dict[str, Any]:
    (folder / "nac").mkdir()
    return with_site(images="nac")(folder)


def turned(degrees: float) -> Affine:
    return Affine.rotation(degrees) @ Affine.scale(PIXEL, -PIXEL)


ONES = np.ones((SIZE, SIZE), np.float32)
REFUSED: dict[str, tuple[Case, str]] = {
    # Images.
    "beside the DEM": (
        with_image(transform=Affine(PIXEL, 0, HALF + 1e4, 0, -PIXEL, HALF)),
        f"{GOOD}: it does not cover the map)",
    ),
    "on the far side": (with_image(crs=NORTH), f"{GOOD}: it does not cover the map)"),
    "Sun below the horizon": (
        with_image(lat=1.0),
        f"{GOOD}: the Sun is -1.00 deg high, images.lowest_sun_deg is 0.5); the Sun is below the "
        "horizon in all of them: does the DEM's CRS name the right pole?",
    ),
    "8 bit and saturated": (
        with_image(data=np.full((SIZE, SIZE), 255, np.uint8)),
        f"{GOOD}: 100% of its pixels are saturated)",
    ),
    "image cut": (halved(GOOD), f"{GOOD}: expected a whole image file, found one that GDAL cannot open"),
    "of Mars": (
        with_image(crs=MARS),
        f"{GOOD}: expected a map of the Moon (a sphere of about 1737.4 km), found",
    ),
    "two bands": (
        with_image(data=np.stack([ONES / 20, 3 * ONES])),
        f"{GOOD}: expected one band, or one and an alpha band, found a second band of",
    ),
    "three bands": (with_image(data=np.stack([ONES] * 3)), "found 3 bands (a colour picture or a mosaic)"),
    "no CRS": (with_image(crs=None), f"{GOOD}: expected an image on a map of the Moon, found no CRS"),
    "the DEM as its image": (
        with_site(images="dem.tif"),
        "dem.tif: no Sun: no table was given; its tags have",
    ),
    "a glob without files": (
        with_site(images="none/*.tif"),
        "config: site.images: expected files, found no file 'none/*.tif'",
    ),
    "a folder": (with_folder, "config: site.images: expected files, found the folder 'nac'"),
    # Suns.
    "no row": (
        with_suns(HEADER, "M1111111111LE,-1.5,30"),
        f"{GOOD}: no Sun: {{folder}}/suns has no row by its path, file name, product id or exposure; its "
        "tags",
    ),
    "two rows": (
        with_suns(HEADER, "M1225822680LE,-1.5,30", "M1225822680LE,-1.5,60"),
        "{folder}/suns: M1225822680LE: expected one Sun, found sub-solar longitude 30.000, latitude -1.500 "
        "deg of "
        "M1225822680LE on line 2 and sub-solar longitude 60.000, latitude -1.500 deg of M1225822680LE on "
        "line 3",
    ),
    "sentinels": (
        with_suns(HEADER, "M1225822680LE,9999.99,99999"),
        f"{GOOD}: no Sun: line 2 of {{folder}}/suns has the image without its Sun",
    ),
    "unknown form": (
        with_suns("hello world", "no table"),
        "{folder}/suns: expected LROC's CUMINDEX (83 columns",
    ),
    "azimuths of the raw image": (
        with_suns("PRODUCT_ID,SUB_SOLAR_AZIMUTH", "M1225822680LE,30"),
        "{folder}/suns, line 1: expected a column SUB_SOLAR_LATITUDE and a column SUB_SOLAR_LONGITUDE, "
        "found none",
    ),
    "latitude for longitude": (
        with_suns(HEADER, "M1225822680LE,30,-1.5"),
        "{folder}/suns, line 2: the Sun: expected a sub-solar latitude within 1.7 deg of the Moon's "
        "equator, found "
        "30.000 deg",
    ),
    "kilometres to the Sun": (
        with_suns(f"{GOOD} 1.3e8 7.4e7 -3.9e6"),
        "{folder}/suns, line 1: the Sun: expected a position 1.46e+11 to 1.53e+11 m from the Moon's centre, "
        "found",
    ),
    "no kernel": (
        with_site(kernels=["naif.tls"]),
        "config: site.kernels: expected files, found no file 'naif.tls'",
    ),
    "kernels lost": (with_kernel, "site.kernels: expected the Moon's orientation"),
    # The DEM.
    "DEM of Mars": (
        with_dem(crs=MARS),
        "config: {folder}/dem.tif: expected a CRS of the Moon (sphere of about 1737.4 km), found radii "
        "3396.19",
    ),
    "kilometres of radius": (
        with_dem(crs=SOUTH.replace("1737400", "1737.4")),
        "found radii 1.7374 and 1.7374 km (kilometres instead of metres?)",
    ),
    "the other pole": (
        with_dem(crs=NORTH),
        "the Sun is below the horizon in all of them: does the DEM's CRS name the right pole?",
    ),
    "all nodata": (
        with_dem(np.full((SIZE, SIZE), -9999, np.float32), nodata=-9999),
        "{folder}/dem.tif: expected heights on the map, found none but missing pixels",
    ),
    "nodata without a tag": (
        with_dem(np.where(ONES.cumsum(0) == 3, np.float32(-3.4e38), hills())),
        "{folder}/dem.tif: expected heights of the Moon, within -11 and 12 km, found -3.4e+38 to",
    ),
    "one value": (with_dem(0 * ONES), "{folder}/dem.tif: expected heights, found 0 everywhere"),
    "kilometres": (
        with_dem(hills() / np.float32(1000)),
        "{folder}/dem.tif: expected heights in metres, found -1.69998 to -1.30002 on pixels of 20 m: "
        "kilometres? Say",
    ),
    "metres said to be kilometres": (
        with_site(height_unit="km"),
        "found -1.69998e+06 to -1.30002e+06 m (site.height_unit is km: are they metres?)",
    ),
    "radii in kilometres": (
        with_dem(hills() / np.float32(1000) + np.float32(1737.4)),
        "distances in km? Say so with site.height_unit: km",
    ),
    "no relief of the Moon": (
        with_dem(40 * (hills() + 1500)),
        "{folder}/dem.tif: expected heights of the Moon in metres, found slopes of 87 deg in the median",
    ),
    "DEM cut": (halved("dem.tif"), "config: {folder}/dem.tif: truncated: expected at least"),
    "rotated": (
        with_dem(transform=turned(20.0)),
        "config: {folder}/dem.tif: expected a north-up grid, found the",
    ),
    "DEM without a CRS": (
        with_dem(crs=None),
        "config: {folder}/dem.tif: expected a CRS of the Moon, found none",
    ),
    "degrees of another body": (
        with_dem(crs="EPSG:4326", transform=Affine(0.01, 0, 30, 0, -0.01, -80)),
        "config: {folder}/dem.tif: expected a CRS of the Moon (sphere of about 1737.4 km), found radii "
        "6378.14",
    ),
    "counts on another grid": (
        with_map("count", ONES, origin=(0.0, 0.0)),
        "config: {folder}/beside.tif: expected the grid of the DEM {folder}/dem.tif (64 x 64 pixels), found "
        "another (64 x 64 pixels); site.count lies on the DEM",
    ),
    "errors of another size": (
        with_map("error", ONES[:40]),
        "config: {folder}/beside.tif: expected the grid of the DEM {folder}/dem.tif (64 x 64 pixels), found "
        "another (40 x 64 pixels); site.error lies on the DEM",
    ),
    "negative errors": (
        with_map("error", -ONES),
        "{folder}/beside.tif: expected values of at least 0, found -1",
    ),
    # The place.
    "bounds beside": (
        with_site(bounds=[1e5, 1e5, 2e5, 2e5]),
        "config: site.bounds: expected a part of the DEM, x -640 to 640, y -640 to 640, found x 100000 to "
        "200000",
    ),
    "bounds in another unit": (
        with_site(bounds=[-2e7, -2e7, 2e7, 2e7]),
        "config: site.bounds: expected a map on the DEM of 64 x 64 pixels, x -640 to 640, y -640 to 640, "
        "found one of",
    ),
    "a size in metres": (
        with_site(center_m=[0, 0], size_px=11520),
        "config: site.size_px: expected a map on the DEM of 64 x 64 pixels",
    ),
    "bounds the wrong way": (
        with_site(bounds=[500, 0, 0, 500]),
        "config: site: bounds: expected left < right and bottom < top, found (500.0, 0.0, 0.0, 500.0)",
    ),
    "a pixel of kilometres": (
        with_site(pixel_m=0.02),
        "config: site.pixel_m: expected 0.3125 to 1280 m for a DEM with pixels of 20 m, found 0.02",
    ),
    "a pixel of another unit": (
        with_site(pixel_m=1e5),
        "config: site.pixel_m: expected 0.3125 to 1280 m for a DEM",
    ),
    "longitude and latitude": (
        with_site(center_m=[37.2, -885.4], size_px=32),
        "config: site.center_m: expected a place on the DEM, x -640 to 640, y -640 to 640 in its CRS, found",
    ),
    "a CRS of Mars": (
        with_site(crs=MARS, center_m=[0, 0], size_px=32),
        "config: site.crs: expected a CRS of the Moon",
    ),
    # Points.
    "points with NaN": (
        with_points("lon,lat,height", "3,-89.99,nan"),
        "{folder}/points.csv, line 2: expected longitude, latitude and height, found 3,-89.99,nan",
    ),
    "points without heights": (
        with_points("lon,lat", "3,-89.99"),
        "{folder}/points.csv: expected columns lon, lat and height, found lon, lat",
    ),
    "points on no globe": (
        with_points("lon,lat,height", "3,-8999,1"),
        "{folder}/points.csv, line 2: expected",
    ),
    "points in a raster": (
        with_site(points="dem.tif"),
        "{folder}/dem.tif: expected a CSV file of points, found none",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_input_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    case, said = REFUSED[name]
    with pytest.raises(ValueError) as refused:
        met(tmp_path, case(tmp_path))
    message = str(refused.value)
    assert said.replace("{folder}", str(tmp_path)) in message
    assert "\n" not in message
    assert not (tmp_path / "site.json").exists() and not (tmp_path / "ground.zarr.zip").exists()


def test_real_files_that_lie_are_refused(tmp_path: Path, shared_data: Path) -> None:
    """A southern DEM in kilometres that says north and metres, and an image in the camera's geometry."""
    lying = shared_data / "lola_1600m" / "LDEM_NP_300M_small.tif"
    cube = shared_data / "isis" / "M143947267L.cal.echo.crop.cub"
    if not (lying.is_file() and cube.is_file()):
        pytest.skip("lola_1600m and isis are not beside the project")
    with pytest.raises(ValueError, match="kilometres instead of metres"):
        met(tmp_path, {"dem": str(lying)})
    with rasterio.open(lying) as file:
        values, place = file.read(1), file.transform
    write_tif(tmp_path / "metres.tif", values, NORTH, transform=Affine.scale(1000) @ place, nodata=np.nan)
    with pytest.raises(ValueError, match=r"kilometres\? Say what they are with site.height_unit"):
        met(tmp_path, {"dem": "metres.tif"})
    with pytest.raises(
        ValueError, match=r"expected a map-projected image.*`mapproject DEM.tif .*cam2map from="
    ):
        met(tmp_path, {"dem": dem(tmp_path), "images": str(cube)})


# --- what falls back ----------------------------------------------------------------------------------------


def beside_a_good_one(name: str, **how: Any) -> Case:
    return lambda folder: {"dem": dem(folder), "images": [image(folder), image(folder, name, **how)]}


def broken_cube(folder: Path) -> dict[str, Any]:
    return {"dem": dem(folder), "images": [image(folder), text(folder, "a.cub", "Object = IsisCube")]}


#: An image that the map does without, and why; '' where it is used in spite of it.
FALLEN_BACK: dict[str, tuple[Case, str]] = {
    "duplicate ids": (beside_a_good_one("M1225822680LE_map.tif"), f"the same product as {{folder}}/{GOOD}"),
    "mixed bodies": (
        beside_a_good_one("b.tif", crs=MARS),
        "expected a map of the Moon (a sphere of about 1737.4 km)",
    ),
    "far side": (beside_a_good_one("b.tif", crs=NORTH), "it does not cover the map"),
    "no Sun": (beside_a_good_one("b.tif", lon=None), "no Sun: no table was given; its tags have neither"),
    "a low Sun": (
        beside_a_good_one("b.tif", lat=-0.2),
        "the Sun is 0.20 deg high, images.lowest_sun_deg is 0.5",
    ),
    "an unreadable cube": (broken_cube, "expected a whole image file, found one that GDAL cannot open"),
    "not georeferenced": (
        beside_a_good_one("b.tif", crs=None, transform=None),
        "expected an image on a map of the Moon, found no CRS",
    ),
    "complex": (
        beside_a_good_one("b.tif", lon=None, data=ONES.astype(np.complex64)),
        "expected pixels of uint8, int16, uint16, int32, uint32, float32, float64, found complex64",
    ),
    "another projection": (beside_a_good_one("b.tif", crs=SOUTH.replace("lon_0=0", "lon_0=90")), ""),
}


@pytest.mark.parametrize("name", FALLEN_BACK)
def test_one_wrong_image_is_left_out_with_its_reason(tmp_path: Path, name: str) -> None:
    case, why = FALLEN_BACK[name]
    good, other = met(tmp_path, case(tmp_path))
    assert good.usable and other.usable == (not why)
    assert other.why.startswith(why.replace("{folder}", str(tmp_path)))
    assert "\n" not in other.why


@pytest.mark.parametrize(
    ("site", "notes"),
    [
        ({"images": None}, ""),
        ({"pixel_m": 33.0}, "DEM resampled from 20 to 33 m per pixel"),
        ({"center_m": [0, 0], "size_px": 37}, "map moved by up to half a pixel onto the DEM's pixels"),
        ({"bounds": [0, 0, 1500, 1500]}, ""),
    ],
    ids=["no image", "another pixel", "a size that fits no cells", "bounds beyond the DEM"],
)
def test_what_is_made_of_odd_wishes_is_said(tmp_path: Path, site: dict[str, Any], notes: str) -> None:
    met(tmp_path, with_site()(tmp_path) | site)
    said = SiteGround.load(tmp_path / "ground.zarr.zip").layout.notes
    assert notes in "; ".join(said) and bool(said) == bool(notes)


@pytest.mark.parametrize("how", ["radii", "oblong", "degrees"])
def test_an_odd_dem_is_taken_and_said(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    odd = {
        "radii": (
            with_dem(hills() + 1737400),
            "heights were distances from the Moon's centre: 1737400 m taken off",
        ),
        "oblong": (
            with_dem(transform=Affine(PIXEL, 0, -HALF, 0, -PIXEL / 2, HALF / 2)),
            "DEM resampled to a local stereographic grid: it has pixels that are not square of about 15 m",
        ),
        "degrees": (
            with_dem(
                crs=LONLAT.replace("1737400", "1738000"), transform=Affine(5.6, 0, -180, 0, -5e-4, -89.9)
            ),
            "DEM resampled to a local stereographic grid: it has geographic coordinates of about",
        ),
    }
    case, said = odd[how]
    with caplog.at_level("INFO"):
        (row,) = met(tmp_path, case(tmp_path))
    assert row.usable
    assert any(said in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("shift_m", "why"), [(220.0, "it is displaced by 22\\d m, images.max_shift_m is 200"), (600.0, "corr")]
)
def test_a_huge_shift_is_refused_when_the_image_is_compared(shift_m: float, why: str, tmp_path: Path) -> None:
    """An image of rough ground that lies beside its place."""
    size = 160
    rough = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(size, size)), 3) * 60
    half = size * PIXEL / 2
    grid = MapGrid(lunar_projection(SOUTH).wkt_text, Affine(PIXEL, 0, -half, 0, -PIXEL, half), size, size)
    scene = Scene(np.pad(rough, 8, mode="edge").astype(np.float32), 8, grid, PhotometrySection(law="lambert"))
    sun = Sun.from_subsolar(40.0, -1.6, "test")
    light = scene.render(sun, (0, size, 0, size)).radiance
    moved = Affine(PIXEL, 0, -half + shift_m, 0, -PIXEL, half)
    image(tmp_path, lon=40.0, lat=-1.6, data=light * np.float32(0.05), transform=moved)
    section = ImagesSection()
    (row,) = survey([str(tmp_path / GOOD)], SiteSection(dem="dem.tif"), section, grid)
    found, values = prepare_image(row, scene, grid, section, True)
    assert not found.used and values is None
    assert re.match(why, found.why)
