"""Image files: what is read from their headers, and one clear line for each file that cannot be used."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from image_files import EQUIRECTANGULAR, LOCAL, LONLAT, write_image
from pyproj import CRS
from raster_files import NORTH, SOUTH

from pipeline.imagery.raster import SATURATED_SHARE, ImageFile
from pipeline.terrain.grid import GridError, RasterError

GREY = np.full((40, 30), 90, dtype=np.uint8)
RADIUS = 1737400.0


def refused(path: Path, *words: str, error: type[RasterError] = RasterError) -> str:
    with pytest.raises(error) as caught:
        ImageFile(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    for word in words:
        assert word in text
    return text


def test_header(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.tif", GREY.astype(np.int16), LOCAL, scale=5e-5, offset=0.1, nodata=0)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(INPUT_IMAGE_FILE="M1.cub", BUNDLE_ADJUST_PREFIX="ba/run")
        dataset.units = ("I/F",)
    file = ImageFile(path)
    assert (file.height, file.width, file.kind, file.units) == (40, 30, "int16", "I/F")
    assert file.nodata == 0
    assert file.pixel_m == 20.0
    assert file.tags["BUNDLE_ADJUST_PREFIX"] == "ba/run"
    assert CRS.from_user_input(file.crs_wkt).is_projected
    values, valid = file.read(3, 9, 4, 7)
    assert valid.all()
    np.testing.assert_allclose(values, 90 * 5e-5 + 0.1, rtol=1e-12)


def test_pickled_and_closed_files_open_again(tmp_path: Path) -> None:
    file = ImageFile(write_image(tmp_path / "a.tif", GREY))
    before = file.read(1, 5, 1, 5)
    file.close()
    for other in (file, pickle.loads(pickle.dumps(file))):
        for a, b in zip(before, other.read(1, 5, 1, 5)):
            assert np.array_equal(a, b)


def test_pixel_size_of_degrees_and_of_rotated_grids(tmp_path: Path) -> None:
    degrees = Affine(0.02, 0, 10, 0, -0.01, 60.2)
    file = ImageFile(write_image(tmp_path / "a.tif", GREY, LONLAT, degrees))
    assert file.pixel_m == pytest.approx(np.radians(0.01) * RADIUS, rel=1e-3)
    turned = Affine.rotation(30) @ Affine.scale(5.0, -5.0)
    assert ImageFile(write_image(tmp_path / "b.tif", GREY, LOCAL, turned)).pixel_m == pytest.approx(5.0)


def test_missing_unreadable_and_truncated(tmp_path: Path) -> None:
    refused(tmp_path / "none.tif", "expected an image file, found none")
    (tmp_path / "text.tif").write_text("not an image")
    refused(tmp_path / "text.tif", "GDAL cannot open")
    noise = np.random.default_rng(0).integers(1, 200, (300, 200)).astype(np.uint8)
    whole = write_image(tmp_path / "whole.tif", noise, compress="deflate").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[:-2000])
    refused(tmp_path / "cut.tif", "truncated")
    opaque = np.full(noise.shape, 255, dtype=np.uint8)
    apart = write_image(tmp_path / "apart.tif", noise, alpha=opaque, interleave="band").read_bytes()
    (tmp_path / "half.tif").write_bytes(apart[:-2000])
    with pytest.raises(RasterError):
        ImageFile(tmp_path / "half.tif")


def test_a_damaged_block_names_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 200, (300, 200)).astype(np.uint8)
    path = write_image(tmp_path / "a.tif", noise, compress="deflate")
    with rasterio.open(path) as dataset:
        start = int(dataset.get_tag_item("BLOCK_OFFSET_0_2", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[start : start + 60] = b"\xff" * 60
    path.write_bytes(data)
    with pytest.raises(RasterError, match="damaged block") as caught:
        ImageFile(path).read(0, 300, 0, 200)
    assert str(path) in str(caught.value)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_that_are_not_on_a_map_of_the_moon(tmp_path: Path) -> None:
    def made(crs: str | None, transform: Affine | None = None) -> Path:
        return write_image(tmp_path / "a.tif", GREY, crs, transform)

    refused(made(None), "no CRS", error=GridError)
    refused(made(SOUTH, Affine.identity()), "no transform", error=GridError)
    refused(made("EPSG:32633"), "6378.14", error=GridError)
    refused(made("+proj=eqc +a=3396190 +b=3376200 +no_defs"), "3396.19", "3376.2", error=GridError)
    refused(made("+proj=eqc +R=3396190 +no_defs"), "3396.19", error=GridError)
    refused(made("+proj=longlat +a=1738100 +b=1736000 +no_defs"), "1738.1", "1736", error=GridError)
    refused(made(SOUTH, Affine(0.02, 0, 0, 0, -0.02, 0)), "0.02 m", "kilometres", error=GridError)
    assert ImageFile(made(SOUTH.replace("1737400", "1738000"))).pixel_m == 20.0


def test_bands(tmp_path: Path) -> None:
    colour = np.repeat(GREY[None], 4, axis=0)
    for count in (3, 4):
        refused(write_image(tmp_path / "a.tif", colour[:count]), f"found {count} bands", "mosaic")
    refused(write_image(tmp_path / "b.tif", colour[:2]), "second band")
    # Alpha bands are often not tagged as such.
    alpha = np.full(GREY.shape, 255, dtype=np.uint8)
    alpha[:9] = 0
    for tagged in (True, False):
        file = ImageFile(write_image(tmp_path / "c.tif", GREY, alpha=alpha, tagged=tagged))
        assert file.has_mask
        assert file.read(0, 40, 0, 30)[1].sum() == 29 * 28
    refused(write_image(tmp_path / "d.tif", GREY.astype(np.complex64)), "complex64")


def test_a_mask_of_the_files_own(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.tif", GREY)
    mask = np.full(GREY.shape, 255, dtype=np.uint8)
    mask[:, :10] = 0
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    file = ImageFile(path)
    assert file.has_mask
    assert file.read(0, 40, 0, 30)[1].sum() == 38 * 18


def test_saturated_share(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(1, 200, (100, 100)).astype(np.uint8)
    data[:25] = 255
    data[25:50] = 0
    assert ImageFile(write_image(tmp_path / "a.tif", data)).saturated_share == pytest.approx(25 / 75)
    clipped = np.minimum(np.random.default_rng(0).uniform(0, 1, (100, 100)), 0.6).astype(np.float32)
    share = ImageFile(write_image(tmp_path / "b.tif", clipped)).saturated_share
    assert share == pytest.approx(0.4, abs=0.02)
    assert share > SATURATED_SHARE
    empty = np.full((9, 9), np.nan, dtype=np.float32)
    assert ImageFile(write_image(tmp_path / "c.tif", empty)).saturated_share == 0.0


def test_footprint(tmp_path: Path) -> None:
    place = Affine(20.0, 0, 1000, 0, -20.0, 2000)
    file = ImageFile(write_image(tmp_path / "a.tif", GREY, SOUTH, place))
    assert file.footprint(file.crs_wkt) == pytest.approx((1000, 1200, 1600, 2000))
    # Another name of the sphere is the same sphere.
    named = CRS.from_user_input(SOUTH).to_wkt().replace("unknown", "D_MOON")
    assert file.footprint(named) == pytest.approx((1000, 1200, 1600, 2000))
    # Beyond 180 degrees of a cylindrical map.
    unit = np.radians(1.0) * RADIUS
    far = Affine(unit / 10, 0, 190 * unit, 0, -unit / 10, 5 * unit)
    wide = ImageFile(write_image(tmp_path / "b.tif", GREY, EQUIRECTANGULAR, far))
    box = wide.footprint(CRS.from_user_input(LONLAT).to_wkt())
    assert box == pytest.approx((-170, 1, -167, 5), abs=1e-6)
    # A polar image's box on a map of longitudes and latitudes reaches the pole.
    cap = write_image(tmp_path / "c.tif", GREY, NORTH, Affine(1000.0, 0, -15000, 0, -1000.0, 20000))
    box = ImageFile(cap).footprint(CRS.from_user_input(LONLAT).to_wkt())
    assert box[3] > 89.97
    assert box[2] - box[0] > 300


def test_what_an_image_meets(tmp_path: Path) -> None:
    """Places on it, also over the seam of longitudes and where it is a narrow strip; none on the far side."""
    strip = ImageFile(write_image(tmp_path / "strip.tif", np.ones((2000, 4), np.uint8)))
    assert strip.meets(strip.crs_wkt, (-10_000, -30_000, 10_000, -10_000))  # a map across which it lies
    assert strip.meets(strip.crs_wkt, (10, -20_010, 20, -20_000))  # a map inside of it
    assert not strip.meets(strip.crs_wkt, (90, -30_000, 10_000, -10_000))
    north = CRS.from_user_input(SOUTH.replace("lat_0=-90", "lat_0=90")).to_wkt()
    assert not strip.meets(north, (-1e5, -1e5, 1e5, 1e5))
    far = write_image(
        tmp_path / "far.tif", np.ones((8, 8), np.uint8), crs=LONLAT, transform=Affine(1.0, 0, 196, 0, -1.0, 4)
    )
    local = CRS.from_user_input("+proj=stere +lat_0=0 +lon_0=-160 +R=1737400 +units=m").to_wkt()
    assert ImageFile(far).meets(local, (-100, -100, 100, 100))
    opposite = CRS.from_user_input("+proj=stere +lat_0=0 +lon_0=20 +R=1737400 +units=m").to_wkt()
    assert not ImageFile(far).meets(opposite, (-100, -100, 100, 100))


def test_real_files(shared_data: Path) -> None:
    nac = ImageFile(shared_data / "nac" / "M1225822680LE_map.tif")
    values, valid = nac.read(0, nac.height, 0, nac.width)
    assert nac.kind == "float64"
    assert 0.1 < valid.mean() < 0.148
    assert 0 < values[valid].min() < values[valid].max() < 0.05
    # Its invalid pixels are not told by a tag.
    strip = ImageFile(shared_data / "nac_dtm_a15" / "M111578606RE.10mpp.tif")
    values, valid = strip.read(0, strip.height, 0, strip.width)
    assert strip.nodata is None
    assert 0.8 < valid.mean() < 0.9
    assert 0 < values[valid].min() < values[valid].max() < 0.14
    metric = ImageFile(shared_data / "apollo16" / "images" / "AS16-M-0984.tif")
    assert metric.pixel_m == pytest.approx(1280, rel=0.01)
    assert not metric.has_mask
    assert 0.4 < metric.read(0, metric.height, 0, metric.width)[1].mean() < 0.8
    cube = shared_data / "isis" / "M143947267L.cal.echo.crop.cub"
    refused(cube, "mapproject", "cam2map", "camera's geometry", error=GridError)
    images = sorted((shared_data / "challenge").glob("*/images/*.tif"))
    assert images
    for path in images[::20]:
        file = ImageFile(path)
        values, valid = file.read(0, file.height, 0, file.width)
        assert file.saturated_share < 0.01
        assert -1e-3 < values[valid].min() < values[valid].max() < 0.1
