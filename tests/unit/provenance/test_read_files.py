"""Every file that is read for an input belongs to its identity."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from raster_files import relief, write_tif

from pipeline.config.root import ConfigError, load_config
from pipeline.provenance.digest import DigestMemory
from pipeline.provenance.inputs import InputFiles, resolve_inputs
from pipeline.provenance.read_files import files_read

LABEL = """PDS_VERSION_ID = PDS3
^IMAGE = "A.IMG"
OBJECT = IMAGE
  LINES = 4
  LINE_SAMPLES = 4
  SAMPLE_TYPE = PC_REAL
  SAMPLE_BITS = 32
END_OBJECT = IMAGE
OBJECT = IMAGE_MAP_PROJECTION
  MAP_PROJECTION_TYPE = "POLAR STEREOGRAPHIC"
  A_AXIS_RADIUS = 1737.4 <KM>
  B_AXIS_RADIUS = 1737.4 <KM>
  C_AXIS_RADIUS = 1737.4 <KM>
  CENTER_LATITUDE = -90.0
  CENTER_LONGITUDE = 0.0
  MAP_SCALE = 20 <METERS/PIXEL>
  LINE_PROJECTION_OFFSET = 2.0
  SAMPLE_PROJECTION_OFFSET = 2.0
END_OBJECT = IMAGE_MAP_PROJECTION
END
"""
MOSAIC = """<VRTDataset rasterXSize="8" rasterYSize="8">
  <GeoTransform>0.0, 20.0, 0.0, 0.0, 0.0, -20.0</GeoTransform>
  <VRTRasterBand dataType="Float32" band="1">
    <SimpleSource>
      <SourceFilename relativeToVRT="1">{}</SourceFilename>
      <SourceBand>1</SourceBand>
    </SimpleSource>
  </VRTRasterBand>
</VRTDataset>"""


def inputs(root: Path, dem: str, **pins: str) -> InputFiles:
    raw = {"inputs": {"dem": dem, "sha256": pins}, "coverage": {"min_share": 0}}
    return resolve_inputs(load_config(raw), root, DigestMemory(root / "digests.json"))


def names(root: Path, name: str) -> list[str]:
    return [path.as_posix() for path in files_read(Path(name), root, DigestMemory(root / "digests.json"))]


def test_the_image_of_a_pds_label_counts(tmp_path: Path) -> None:
    (tmp_path / "A.LBL").write_text(LABEL)
    image = tmp_path / "a.img"
    np.zeros(16, "<f4").tofile(image)
    before = inputs(tmp_path, "A.LBL").identity
    assert [name for _, name, _ in before] == ["A.LBL", "a.img"]
    np.ones(16, "<f4").tofile(image)
    os.utime(image, ns=(0, 0))
    after = inputs(tmp_path, "A.LBL").identity
    assert after[0] == before[0]
    assert after[1] != before[1]
    with pytest.raises(ConfigError, match=r"inputs\.sha256: a\.img: expected 0{64}, found"):
        inputs(tmp_path, "A.LBL", **{"a.img": "0" * 64})


def test_a_raster_alone_has_the_identity_of_its_bytes(tmp_path: Path) -> None:
    """A neighbour whose name only begins alike is another file; planning opens no raster that is alone."""
    (tmp_path / "dem.tif").write_text("no raster")
    (tmp_path / "dem_2.tif").write_text("another")
    assert names(tmp_path, "dem.tif") == ["dem.tif"]
    (tmp_path / "dem.txt").write_text("notes beside what cannot be opened")
    assert names(tmp_path, "dem.tif") == ["dem.tif"]


def test_side_files_that_gdal_reads_count_and_others_do_not(tmp_path: Path) -> None:
    write_tif(tmp_path / "dem.tif", relief(8, 8))
    (tmp_path / "dem.txt").write_text("notes")
    assert names(tmp_path, "dem.tif") == ["dem.tif"]
    (tmp_path / "dem.tif.aux.xml").write_text("<PAMDataset/>")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tmp_path / "dem.tif", "r+") as dataset:
        dataset.write_mask(np.ones((8, 8), bool))
    assert names(tmp_path, "dem.tif") == ["dem.tif", "dem.tif.aux.xml", "dem.tif.msk"]


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_a_world_file_counts(tmp_path: Path) -> None:
    with rasterio.open(
        tmp_path / "dem.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="float32"
    ) as dataset:
        dataset.write(relief(8, 8), 1)
    (tmp_path / "dem.tfw").write_text("20\n0\n0\n-20\n10\n-10\n")
    assert names(tmp_path, "dem.tif") == ["dem.tif", "dem.tfw"]


def test_all_files_of_a_mosaic_count(tmp_path: Path) -> None:
    """Also those of a mosaic within it, and the files beside them; paths stay below the root."""
    (tmp_path / "parts").mkdir()
    source = write_tif(tmp_path / "parts" / "a.tif", relief(8, 8))
    (tmp_path / "parts" / "a.tif.aux.xml").write_text("<PAMDataset/>")
    (tmp_path / "inner.vrt").write_text(MOSAIC.format("parts/a.tif"))
    (tmp_path / "outer.vrt").write_text(MOSAIC.format("inner.vrt"))
    found = ["outer.vrt", "parts/a.tif", "parts/a.tif.aux.xml", "inner.vrt"]
    assert names(tmp_path, "outer.vrt") == found
    before = inputs(tmp_path, "outer.vrt").identity
    write_tif(tmp_path / "other.tif", relief(8, 8, seed=1)).replace(source)
    after = inputs(tmp_path, "outer.vrt").identity
    assert [was != now for was, now in zip(before, after, strict=True)] == [False, True, False, False]
