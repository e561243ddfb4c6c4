"""Raster readers: GeoTIFF and PDS3, windows, missing data, and one clear error for each broken file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from raster_files import SOUTH, write_tif

from pipeline.terrain.grid import GridError, RasterError
from pipeline.terrain.pds3 import PdsRaster, parse_label
from pipeline.terrain.readers import open_raster

# The keywords of a genuine LOLA label, for machines without the real one beside the project.
LABEL = """PDS_VERSION_ID = "PDS3"
TARGET_NAME = MOON
/* a comment = "with quotes */
MISSION_PHASE_NAME = {"COMMISSIONING","SCIENCE
   MISSION"}
OBJECT = UNCOMPRESSED_FILE
FILE_NAME = "LDEM_80S_20M.IMG"
RECORD_TYPE = FIXED_LENGTH
FILE_RECORDS = 30400
RECORD_BYTES = 60800
^IMAGE = "LDEM_80S_20M.IMG"
  OBJECT = IMAGE
    NAME = HEIGHT
    LINES = 30400
    LINE_SAMPLES = 30400
    SAMPLE_TYPE = LSB_INTEGER
    SAMPLE_BITS = 16
    UNIT = METER
    SCALING_FACTOR = 0.5
    OFFSET = 1737400.
  END_OBJECT = IMAGE
END_OBJECT = UNCOMPRESSED_FILE
OBJECT = IMAGE_MAP_PROJECTION
 MAP_PROJECTION_TYPE = "POLAR STEREOGRAPHIC"
 A_AXIS_RADIUS = 1737.4 <km>
 B_AXIS_RADIUS = 1737.4 <km>
 C_AXIS_RADIUS = 1737.4 <km>
 FIRST_STANDARD_PARALLEL = 'N/A'
 POSITIVE_LONGITUDE_DIRECTION = "EAST"
 CENTER_LATITUDE = -90 <deg>
 CENTER_LONGITUDE = 0 <deg>
 MAP_PROJECTION_ROTATION = 0.0
 MAP_SCALE = 20 <m/pix>
 LINE_PROJECTION_OFFSET = 15199.5 <pix>
 SAMPLE_PROJECTION_OFFSET = 15199.5 <pix>
END_OBJECT = IMAGE_MAP_PROJECTION
END
"""


def genuine(shared: Path | None) -> str:
    return (shared / "pds" / "LDEM_80S_20M.LBL").read_text() if shared else LABEL


def write_pds(folder: Path, dn: np.ndarray, text: str = LABEL, stem: str = "LDEM_80S_20M") -> Path:
    """A small image, true to format, and its label: the genuine text with the sizes of `dn`."""
    rows, cols = dn.shape
    text = text.replace("FILE_RECORDS            = 30400", f"FILE_RECORDS = {rows}")
    text = text.replace("RECORD_BYTES            = 60800", f"RECORD_BYTES = {cols * dn.itemsize}")
    text = text.replace("RECORD_BYTES = 60800", f"RECORD_BYTES = {cols * dn.itemsize}")
    out = []
    for line in text.splitlines():
        key = line.split("=")[0].strip()
        for name, value in {
            "LINES": rows,
            "LINE_SAMPLES": cols,
            "LINE_LAST_PIXEL": rows,
            "SAMPLE_LAST_PIXEL": cols,
            "LINE_PROJECTION_OFFSET": f"{rows / 2 - 0.5} <pix>",
            "SAMPLE_PROJECTION_OFFSET": f"{cols / 2 - 0.5} <pix>",
        }.items():
            if key == name:
                line = f"{key} = {value}"
        out.append(line)
    (folder / f"{stem}.LBL").write_text("\r\n".join(out) + "\r\n")
    (folder / f"{stem}.IMG").write_bytes(dn.tobytes())
    return folder / f"{stem}.IMG"


@pytest.fixture
def dn() -> np.ndarray:
    return np.random.default_rng(0).integers(-14594, 14054, (40, 50)).astype("<i2")


# ---------------------------------------------------------------- GeoTIFF


def test_windows_may_reach_outside(tmp_path: Path) -> None:
    data = np.arange(30 * 20, dtype=np.float32).reshape(30, 20)
    raster = open_raster(write_tif(tmp_path / "a.tif", data))
    np.testing.assert_array_equal(raster.read(3, 9, 2, 20), data[3:9, 2:20])
    window = raster.read(-2, 3, 15, 24)
    assert window.dtype == np.float32 and window.shape == (5, 9)
    assert np.isnan(window[:2]).all() and np.isnan(window[:, 5:]).all()
    np.testing.assert_array_equal(window[2:, :5], data[:3, 15:])
    assert np.isnan(raster.read(100, 104, 0, 3)).all()
    assert raster.name == str(tmp_path / "a.tif")


def test_nodata_scale_and_offset(tmp_path: Path) -> None:
    data = np.array([[1, 2, -32768], [4, 5, 6]], dtype=np.int16)
    path = write_tif(tmp_path / "a.tif", data, nodata=-32768)
    with rasterio.open(path, "r+") as d:
        d.scales, d.offsets = (0.5,), (100.0,)
    np.testing.assert_array_equal(
        open_raster(path).read(0, 2, 0, 3), [[100.5, 101, np.nan], [102, 102.5, 103]]
    )


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_any_type(tmp_path: Path, dtype: str) -> None:
    data = np.arange(12).reshape(3, 4).astype(dtype)
    np.testing.assert_array_equal(open_raster(write_tif(tmp_path / "a.tif", data)).read(0, 3, 0, 4), data)


def test_nan_and_infinity_are_missing(tmp_path: Path) -> None:
    data = np.array([[1, np.nan], [np.inf, 4]], dtype=np.float32)
    np.testing.assert_array_equal(
        open_raster(write_tif(tmp_path / "a.tif", data)).read(0, 2, 0, 2), [[1, np.nan], [np.nan, 4]]
    )


@pytest.mark.parametrize("units", ["km", "m"])
def test_kilometre_coordinates_leave_heights_alone(tmp_path: Path, units: str) -> None:
    data = np.full((8, 8), -1234.5, dtype=np.float32)
    crs = SOUTH.replace("lat_0=-90", "lat_0=90").replace("units=m", f"units={units}")
    path = write_tif(tmp_path / "n.tif", data, crs, transform=Affine(0.02, 0, -304, 0, -0.02, 304))
    raster = open_raster(path)
    assert (raster.grid.pixel_m, raster.grid.pole, raster.grid.origin) == (20.0, 1, (-304000.0, 304000.0))
    np.testing.assert_array_equal(raster.read(0, 8, 0, 8), data)


def test_a_reader_crosses_processes(tmp_path: Path) -> None:
    raster = open_raster(write_tif(tmp_path / "a.tif", np.ones((4, 4), np.float32)))
    raster.read(0, 1, 0, 1)
    again = pickle.loads(pickle.dumps(raster))
    raster.close()
    np.testing.assert_array_equal(again.read(0, 4, 0, 4), raster.read(0, 4, 0, 4))


@pytest.mark.parametrize("compress", ["none", "deflate"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_tif(tmp_path: Path, compress: str, share: float) -> None:
    data = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)
    path = write_tif(tmp_path / "cut.tif", data, compress=compress)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RasterError, match=r"cut\.tif: (truncated: )?expected"):
        open_raster(path)


def test_broken_files_have_one_clear_error(tmp_path: Path) -> None:
    ones = np.ones((4, 4), np.float32)
    with pytest.raises(RasterError, match=r"none\.tif: expected a raster file, found none"):
        open_raster(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(RasterError, match=r"text\.tif: expected a whole raster file"):
        open_raster(tmp_path / "text.tif")
    with pytest.raises(GridError, match=r"earth\.tif: expected a lunar"):
        open_raster(write_tif(tmp_path / "earth.tif", ones, "EPSG:3031"))
    with pytest.raises(GridError, match=r"nocrs\.tif: .* found none"):
        open_raster(write_tif(tmp_path / "nocrs.tif", ones, None))
    with rasterio.open(
        tmp_path / "two.tif",
        "w",
        driver="GTiff",
        width=4,
        height=4,
        count=2,
        dtype="float32",
        crs=SOUTH,
        transform=Affine(20, 0, 0, 0, -20, 0),
    ) as d:
        d.write(np.ones((2, 4, 4), np.float32))
    with pytest.raises(RasterError, match=r"two\.tif: expected one band, found 2"):
        open_raster(tmp_path / "two.tif")


# ---------------------------------------------------------------- PDS3


def test_genuine_labels(shared_data: Path) -> None:
    for name, rows, sps in (("LDEM_80S_20M", 30400, 20.0), ("LDEM_875S_5M", 30336, 5.0)):
        blocks = parse_label((shared_data / "pds" / f"{name}.LBL").read_text(), name)
        assert blocks["IMAGE"]["LINES"] == [str(rows)]
        scale, unit = blocks["IMAGE_MAP_PROJECTION"]["MAP_SCALE"]
        assert float(scale) == sps and unit == "<M/PIX>"
        phases = blocks[""]["MISSION_PHASE_NAME"]
        assert phases[2] == "SCIENCE MISSION" and len(phases) == 6


@pytest.mark.parametrize("given", [".IMG", ".LBL"])
def test_small_image_with_the_genuine_label(
    tmp_path: Path, dn: np.ndarray, shared_data: Path, given: str
) -> None:
    path = write_pds(tmp_path, dn, genuine(shared_data)).with_suffix(given)
    raster = open_raster(path)
    # The map of a whole cap is centred on the pole: offset 15199.5 for 30400 lines.
    assert raster.grid.origin == (-500.0, 400.0)
    assert (raster.grid.pixel_m, raster.grid.pole) == (20.0, -1)
    # Height is DN * 0.5: the label's OFFSET is the radius heights are measured from.
    np.testing.assert_array_equal(raster.read(0, 40, 0, 50), dn * np.float32(0.5))
    np.testing.assert_array_equal(raster.read(38, 42, -1, 2)[:2, 1:], dn[38:, :2] * np.float32(0.5))
    assert raster.data_bytes == dn.nbytes


def test_gdal_reads_the_same_image(tmp_path: Path, dn: np.ndarray, shared_data: Path) -> None:
    """An independent reader agrees on the pixels and on where they are."""
    path = write_pds(tmp_path, dn, genuine(shared_data))
    ours = open_raster(path)
    with rasterio.open(path.with_suffix(".LBL")) as d:
        assert d.driver == "PDS"
        np.testing.assert_array_equal(d.read(1) * 0.5, ours.read(0, 40, 0, 50))
        assert d.transform == ours.grid.transform
        theirs = CRS.from_wkt(d.crs.to_wkt()).to_dict()
        assert (theirs["proj"], theirs["lat_0"], theirs["R"]) == ("stere", -90, 1737400)


def test_real_terrain_through_an_image(tmp_path: Path, shared_data: Path) -> None:
    """Real heights in steps of 0.5 m survive the trip through int16 exactly."""
    heights = np.load(shared_data / "lola_5m" / "shackleton_wall_5m.npy")[:100, :120]
    dn = np.round(heights / 0.5).astype("<i2")
    path = write_pds(tmp_path, dn, (shared_data / "pds" / "LDEM_875S_5M.LBL").read_text(), "LDEM_875S_5M")
    # The 5 m label has other sizes in its text; write_pds sets those that the reader uses.
    text = path.with_suffix(".LBL").read_text().replace("60672", str(2 * 120))
    path.with_suffix(".LBL").write_text(text)
    raster = open_raster(path)
    assert raster.grid.pixel_m == 5.0
    np.testing.assert_array_equal(raster.read(0, 100, 0, 120), heights)


@pytest.mark.parametrize(
    ("dtype", "sample"),
    [(">i2", "MSB_INTEGER"), ("<f4", "PC_REAL"), (">f4", "IEEE_REAL"), ("u1", "MSB_UNSIGNED_INTEGER")],
)
def test_other_sample_types(tmp_path: Path, dtype: str, sample: str) -> None:
    stored = np.arange(12).reshape(3, 4).astype(dtype)
    text = LABEL.replace("LSB_INTEGER", sample).replace("BITS = 16", f"BITS = {8 * stored.itemsize}")
    raster = open_raster(write_pds(tmp_path, stored, text))
    np.testing.assert_array_equal(raster.read(0, 3, 0, 4), stored.astype(np.float32) * 0.5)


@pytest.mark.parametrize(
    ("dtype", "sample"),
    [("i1", "LSB_INTEGER"), ("<i4", "LSB_INTEGER"), (">i4", "MSB_INTEGER"), ("<u4", "PC_UNSIGNED_INTEGER")],
)
def test_samples_that_gdals_driver_misreads(tmp_path: Path, dtype: str, sample: str) -> None:
    stored = np.array([[0, 100, -100 if "i" in dtype else 200]]).astype(dtype)
    text = LABEL.replace("LSB_INTEGER", sample).replace("BITS = 16", f"BITS = {8 * stored.itemsize}")
    path = write_pds(tmp_path, stored, text)
    np.testing.assert_array_equal(open_raster(path).read(0, 1, 0, 3), stored * 0.5)


def test_lengths_in_other_units_or_none(tmp_path: Path, dn: np.ndarray) -> None:
    """A scale without a unit is in metres, as LOLA's are; a radius without one in kilometres."""
    wanted = open_raster(write_pds(tmp_path, dn)).grid
    for old, new in (("20 <m/pix>", "20"), ("20 <m/pix>", "0.02 <KM/PIXEL>"), ("1737.4 <km>", "1737400 <m>")):
        assert open_raster(write_pds(tmp_path, dn, LABEL.replace(old, new))).grid == wanted
    assert open_raster(write_pds(tmp_path, dn, LABEL.replace("1737.4 <km>", "1737.4"))).grid == wanted


def test_an_image_renamed_with_its_label(tmp_path: Path, dn: np.ndarray) -> None:
    path = write_pds(tmp_path, dn, stem="south")
    assert "LDEM_80S_20M.IMG" in path.with_suffix(".LBL").read_text()
    for given in (path, path.with_suffix(".LBL")):
        np.testing.assert_array_equal(open_raster(given).read(0, 40, 0, 50), dn * np.float32(0.5))


def test_float_product_in_kilometres_and_another_datum(tmp_path: Path) -> None:
    stored = np.array([[1.5, -2.0]], dtype="<f4")
    text = LABEL.replace("LSB_INTEGER", "PC_REAL").replace("BITS = 16", "BITS = 32")
    text = text.replace("UNIT = METER", "UNIT = KILOMETER").replace("FACTOR = 0.5", "FACTOR = 1")
    path = write_pds(tmp_path, stored, text.replace("1737400.", "1737.4"))
    np.testing.assert_allclose(open_raster(path).read(0, 1, 0, 2), [[1500, -2000]], atol=1e-3)
    path = write_pds(tmp_path, stored, text.replace("1737400.", "1738.0"))
    np.testing.assert_allclose(open_raster(path).read(0, 1, 0, 2), [[2100, -1400]], atol=1e-3)


@pytest.mark.parametrize("constant", ["-32768", "16#8000#"])
def test_missing_constant(tmp_path: Path, constant: str) -> None:
    stored = np.array([[10, -32768]], dtype="<i2")
    text = LABEL.replace("UNIT = METER", f"UNIT = METER\n MISSING_CONSTANT = {constant}")
    raster = open_raster(write_pds(tmp_path, stored, text))
    np.testing.assert_array_equal(raster.read(0, 1, 0, 2), [[5.0, np.nan]])


def test_count_map_has_no_offset(tmp_path: Path) -> None:
    stored = np.array([[0, 3]], dtype="<i2")
    text = LABEL.replace("UNIT = METER", "UNIT = 'N/A'").replace("FACTOR = 0.5", "FACTOR = 1")
    raster = open_raster(write_pds(tmp_path, stored, text.replace("1737400.", "0.")))
    np.testing.assert_array_equal(raster.read(0, 1, 0, 2), [[0, 3]])


def test_attached_label_and_file_name_in_other_case(tmp_path: Path, dn: np.ndarray) -> None:
    path = write_pds(tmp_path, dn)
    lower = tmp_path / "ldem_80s_20m.img"
    path.rename(lower)
    assert PdsRaster(path.with_suffix(".LBL")).image == lower
    text = path.with_suffix(".LBL").read_text().replace('^IMAGE = "LDEM_80S_20M.IMG"', "^IMAGE = 31")
    whole = tmp_path / "whole" / "x.IMG"
    whole.parent.mkdir()
    whole.write_bytes(text.encode().ljust(30 * 100) + dn.tobytes())
    np.testing.assert_array_equal(open_raster(whole).read(0, 40, 0, 50), dn * np.float32(0.5))


def test_offset_of_a_window_that_is_not_centred(tmp_path: Path, dn: np.ndarray) -> None:
    """LINE_PROJECTION_OFFSET counts from the centre of pixel (1, 1) to the pole, down and to the right."""
    path = write_pds(tmp_path, dn)
    label = path.with_suffix(".LBL")
    lines = label.read_text().replace("SAMPLE_PROJECTION_OFFSET = 24.5", "SAMPLE_PROJECTION_OFFSET = -100")
    label.write_text(lines.replace("LINE_PROJECTION_OFFSET = 19.5", "LINE_PROJECTION_OFFSET = 7"))
    x, y = open_raster(path).grid.xy(0, 0)
    assert (float(x), float(y)) == (2000.0, 140.0)


@pytest.mark.parametrize("change", [-1, -2000, 150])
def test_size_that_is_not_the_label_s(tmp_path: Path, dn: np.ndarray, change: int) -> None:
    path = write_pds(tmp_path, dn)
    bytes_ = path.read_bytes() + bytes(max(change, 0))
    path.write_bytes(bytes_[: dn.nbytes + change])
    with pytest.raises(
        RasterError, match=rf"LDEM_80S_20M\.IMG: .*expected 4000 bytes .* found {4000 + change}"
    ):
        open_raster(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("TARGET_NAME = MOON", "TARGET_NAME = MARS", "expected TARGET_NAME = MOON, found MARS"),
        ("POLAR STEREOGRAPHIC", "EQUIRECTANGULAR", "found EQUIRECTANGULAR"),
        ("CENTER_LATITUDE = -90", "CENTER_LATITUDE = -85", "about -85"),
        ('"EAST"', '"WEST"', "found WEST"),
        ("ROTATION = 0.0", "ROTATION = 90", "MAP_PROJECTION_ROTATION = 0, found 90"),
        ("1737.4 <km>", "3396.0 <km>", "found radii 3396"),
        ("SAMPLE_BITS = 16", "SAMPLE_BITS = 12", "found 12-bit LSB_INTEGER"),
        ("SCALING_FACTOR = 0.5", "SCALING_FACTOR = half", "SCALING_FACTOR: expected a number, found 'half'"),
        ("SAMPLE_TYPE = LSB_INTEGER", "", "expected the label keyword SAMPLE_TYPE, found none"),
        ("MAP_SCALE = 20 <m/pix>", "MAP_SCALE = 20 <deg/pix>", "expected m or km"),
        ("\r\nEND\r\n", "\r\n", "END statement"),
    ],
)
def test_labels_that_are_refused(tmp_path: Path, dn: np.ndarray, old: str, new: str, words: str) -> None:
    path = write_pds(tmp_path, dn)
    label = path.with_suffix(".LBL")
    text = label.read_bytes().decode()
    assert old in text
    label.write_bytes(text.replace(old, new).encode())
    with pytest.raises(RasterError, match="LDEM_80S_20M") as error:
        open_raster(path)
    assert words in str(error.value)


def test_image_without_label_and_label_without_image(tmp_path: Path, dn: np.ndarray) -> None:
    path = write_pds(tmp_path, dn)
    label = path.with_suffix(".LBL")
    text = label.read_text()
    label.unlink()
    with pytest.raises(RasterError, match=r"expected its label LDEM_80S_20M\.LBL beside it, found none"):
        open_raster(path)
    label.write_text(text)
    path.unlink()
    with pytest.raises(RasterError, match=r"expected its image LDEM_80S_20M\.IMG beside it, found none"):
        open_raster(label)
