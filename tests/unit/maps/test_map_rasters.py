"""GeoTIFFs of a map: read back by rasterio, cloud-optimised, equal in every byte, or not there at all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from raster_files import SOUTH
from rio_cogeo import cog_validate

from pipeline.maps.kinds import KINDS as PRODUCTS
from pipeline.maps.rasters import Kind, Rasters
from pipeline.terrain.map_grid import MapGrid, lunar_projection

ROWS, COLS = 1100, 700
KINDS = {
    "mean": Kind("height", "m"),
    "class": Kind("what decides", "1", "uint8", 0, average=False),
    "lit": Kind("images", "1", "uint16", None),
    "clones": Kind("height, clone", "m"),
}


def grid(rows: int = ROWS, cols: int = COLS) -> MapGrid:
    return MapGrid(lunar_projection(SOUTH).wkt_text, Affine(20, 0, -1000, 0, -20, 3000), cols, rows)


def values(rows: int = ROWS, cols: int = COLS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    mean = rng.normal(-1500, 300, (rows, cols))
    mean[:40, :60] = np.nan
    return {
        "mean": mean,
        "class": rng.integers(0, 4, (rows, cols)),
        "lit": rng.integers(0, 300, (rows, cols)),
        "clones": rng.normal(size=(3, rows, cols)),
    }


def write(
    folder: Path, names: tuple[str, ...] = tuple(KINDS), step: int = 160, size: Any = (ROWS, COLS)
) -> Path:
    paths = {name: str(folder / f"{name}.tif") for name in names}
    data = values(*size)
    with Rasters(paths, grid(*size), KINDS, {"COMMENT": "a test", "SEED": "3"}, {"clones": 3}) as rasters:
        for top in range(0, size[0], step):
            for name in names:
                rasters.write(name, top, data[name][..., top : top + step, :])
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rasters"), ("mean", "class", "lit"))


@pytest.mark.parametrize("name", ["mean", "class", "lit"])
def test_what_is_written_is_read(written: Path, name: str) -> None:
    kind, expected = KINDS[name], values()[name]
    with rasterio.open(written / f"{name}.tif") as file:
        np.testing.assert_array_equal(file.read(1), expected.astype(kind.dtype))
        assert file.transform == grid().transform
        assert file.crs == rasterio.crs.CRS.from_wkt(grid().crs_wkt)
        assert (file.dtypes, file.units, file.descriptions) == (
            (kind.dtype,),
            (kind.unit,),
            (kind.description,),
        )
        assert str(file.nodata) == str(None if kind.nodata is None else float(kind.nodata))
        tags = file.tags()
        assert (tags["COMMENT"], tags["SEED"], tags["AREA_OR_POINT"]) == ("a test", "3", "Area")
        assert tags["TIFFTAG_SOFTWARE"].startswith("lunar-bridge ")


def test_the_layout_is_cloud_optimised(written: Path) -> None:
    with rasterio.open(written / "mean.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.compression.name == "deflate"
        assert file.overviews(1) and file.overviews(1)[0] == 2
        told = file.tags(1)
    data = values()["mean"].astype(np.float32)
    assert float(told["STATISTICS_MEAN"]) == pytest.approx(np.nanmean(data, dtype=np.float64), rel=1e-6)
    assert float(told["STATISTICS_MINIMUM"]) == pytest.approx(np.nanmin(data))
    assert float(told["STATISTICS_STDDEV"]) == pytest.approx(np.nanstd(data, dtype=np.float64), rel=1e-5)


@pytest.mark.parametrize("name", ["mean", "class", "lit"])
def test_the_validator_of_cloud_optimised_geotiffs_has_no_complaint(written: Path, name: str) -> None:
    valid, errors, warnings = cog_validate(written / f"{name}.tif", strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(written / f"{name}.tif") as file:
        # Halved until a tile holds it all.
        assert file.overviews(1) == [2, 4]


@pytest.mark.parametrize("name", ["mean", "class", "lit"])
def test_gdal_reads_the_same(written: Path, name: str) -> None:
    program = shutil.which("gdalinfo")
    if program is None:
        pytest.skip("GDAL's programs are not installed: no gdalinfo")
    run = subprocess.run([program, "-json", written / f"{name}.tif"], check=True, capture_output=True)
    said = json.loads(run.stdout)
    [band] = said["bands"]
    with rasterio.open(written / f"{name}.tif") as file:
        assert said["size"] == [file.width, file.height]
        assert said["geoTransform"] == pytest.approx(file.transform.to_gdal())
        assert (band["unit"], band["description"]) == (file.units[0], file.descriptions[0])
        assert str(band.get("noDataValue")).lower() == str(file.nodata).lower()
        assert len(band["overviews"]) == len(file.overviews(1))


@pytest.mark.parametrize(
    ("size", "overviews"), [((1, 1), 0), ((64, 48), 0), ((512, 512), 0), ((513, 40), 1), ((40, 513), 1)]
)
def test_products_of_any_size_and_kind_are_valid(tmp_path: Path, size: Any, overviews: int) -> None:
    rng = np.random.default_rng(0)
    paths = {name: str(tmp_path / f"{name}.tif") for name in PRODUCTS}
    tags = {"MODEL_FINGERPRINT": "0123456789ab", "CITATION": "Repasky et al. 2026, Schrödinger Bridges"}
    data = {
        name: rng.uniform(0, 4, (2, *size) if name == "clones" else size).astype(kind.dtype)
        for name, kind in PRODUCTS.items()
    }
    data["azimuth_gap"][:] = np.nan
    with Rasters(paths, grid(*size), PRODUCTS, tags, {"clones": 2}) as rasters:
        for name in PRODUCTS:
            rasters.write(name, 0, data[name])
    for name, kind in PRODUCTS.items():
        assert cog_validate(paths[name], strict=True) == (True, [], [])
        with rasterio.open(paths[name]) as file:
            np.testing.assert_array_equal(file.read(), data[name].reshape(file.count, *size))
            assert set(file.units) == {kind.unit} and set(file.dtypes) == {kind.dtype}
            assert all(text.startswith(kind.description) for text in file.descriptions)
            assert [len(file.overviews(band + 1)) for band in range(file.count)] == [overviews] * file.count
            assert tags.items() <= file.tags().items()


def test_overviews_are_means_of_heights_and_pixels_of_classes(written: Path) -> None:
    data = values()
    with rasterio.open(written / "mean.tif", overview_level=0) as file:
        half = file.read(1)
    expected = data["mean"].reshape(550, 2, 350, 2).mean(axis=(1, 3))
    inner = np.isfinite(expected)
    np.testing.assert_allclose(half[inner], expected[inner], rtol=1e-5)
    with rasterio.open(written / "class.tif", overview_level=0) as file:
        half = file.read(1)
    blocks = data["class"].reshape(550, 2, 350, 2)
    assert (blocks == half[:, None, :, None]).any(axis=(1, 3)).all()


def test_clones_are_bands_with_names(tmp_path: Path) -> None:
    write(tmp_path, ("clones",), size=(64, 48))
    with rasterio.open(tmp_path / "clones.tif") as file:
        assert file.count == 3
        assert file.descriptions == ("height, clone 1", "height, clone 2", "height, clone 3")
        assert file.units == ("m", "m", "m")
        np.testing.assert_array_equal(file.read(), values(64, 48)["clones"].astype(np.float32))


def test_bands_of_rows_and_time_do_not_change_a_byte(tmp_path: Path) -> None:
    size = (600, 520)
    one, other = (
        write(tmp_path / name, ("mean", "class"), step, size) for name, step in (("a", 600), ("b", 96))
    )
    again = write(tmp_path / "c", ("mean", "class"), 96, size)
    for name in ("mean.tif", "class.tif"):
        content = (other / name).read_bytes()
        assert content == (again / name).read_bytes()
        with rasterio.open(one / name) as first, rasterio.open(other / name) as second:
            np.testing.assert_array_equal(first.read(), second.read())
        # No date, in TIFF's form or another, and no name of a folder.
        assert not re.search(rb"20\d\d[:-]\d\d[:-]\d\d", content)
        assert str(tmp_path).encode() not in content


def test_only_the_files_asked_for_are_left(written: Path) -> None:
    assert sorted(p.name for p in written.iterdir()) == ["class.tif", "lit.tif", "mean.tif"]


def test_an_error_leaves_nothing_and_touches_no_file(tmp_path: Path) -> None:
    paths = {"mean": str(tmp_path / "mean.tif"), "class": str(tmp_path / "class.tif")}
    (tmp_path / "mean.tif").write_text("of an earlier run")
    with pytest.raises(RuntimeError, match="in between"), Rasters(paths, grid(64, 64), KINDS, {}) as rasters:
        rasters.write("mean", 0, np.zeros((64, 64)))
        raise RuntimeError("in between")
    assert [p.name for p in tmp_path.iterdir()] == ["mean.tif"]
    assert (tmp_path / "mean.tif").read_text() == "of an earlier run"


def test_rasters_that_cannot_begin_leave_nothing(tmp_path: Path) -> None:
    bad = {"mean": Kind("height", "m", dtype="no type")}
    with (
        pytest.raises(Exception, match="no type"),
        Rasters({"mean": str(tmp_path / "m.tif")}, grid(), bad, {}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two files: the first does not appear alone."""
    import rasterio.shutil

    real = rasterio.shutil.copy

    def failing(source: Path, target: Path, **how: Any) -> None:
        if Path(source).stem == "class":
            raise OSError("disk full")
        real(source, target, **how)

    monkeypatch.setattr(rasterio.shutil, "copy", failing)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, ("mean", "class"), size=(64, 64))
    assert list(tmp_path.iterdir()) == []
