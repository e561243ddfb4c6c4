"""The Sun of each image by row, tags, and name with SPICE kernels."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.illumination.ephemeris import subsolar_at, subsolar_track
from pipeline.imagery.suns import resolve
from pipeline.imagery.suns.names import utc_of
from pipeline.imagery.suns.resolve import resolve_suns
from pipeline.imagery.suns.tables import read_suns

HEADER = "PRODUCT_ID,SUB_SOLAR_LATITUDE,SUB_SOLAR_LONGITUDE"
# As LROC's index has it.
REAL, LON, LAT = "M1225822680LE_map.tif", 41.93, -0.61


def tagged(lon: float, lat: float) -> dict[str, str]:
    return {"SUB_SOLAR_LATITUDE": str(lat), "SUB_SOLAR_LONGITUDE": str(lon)}


@pytest.fixture
def table(tmp_path: Path):
    def call(*rows: str):
        path = tmp_path / "index.csv"
        path.write_text("\n".join([HEADER, *rows]))
        return read_suns(path)

    return call


@pytest.fixture(scope="module")
def kernels(shared_data: Path) -> list[str]:
    pytest.importorskip("spiceypy", reason="SPICE is not installed")
    data = pytest.importorskip(
        "skyfield_data", reason="de421.bsp of the package skyfield-data is not installed"
    )
    names = [
        "naif0012.tls",
        "pck00010.tpc",
        "moon_080317.tf",
        "moon_assoc_me.tf",
        "moon_pa_de421_1900-2050.bpc",
    ]
    de421 = Path(data.__file__).parent / "data" / "de421.bsp"
    return [*(str(shared_data / "kernels" / name) for name in names), str(de421)]


def test_names_with_kernels_reproduce_the_sub_solar_points_of_real_rows(shared_data, kernels):
    index = shared_data / "nac" / "CUMINDEX_LROC.TAB"
    table = read_suns(index)
    found = resolve_suns([row.name for row in table.rows], None, lambda path: {}, kernels)
    assert [image.source for image in found] == ["name and kernels"] * 2
    for row, image in zip(table.rows, found, strict=True):
        assert image.sun.separation_deg(row.sun) < 0.05
        assert image.sun.distance_km == pytest.approx(row.sun.distance_km, rel=1e-5)
        assert not image.note
    with index.open() as stream:
        for row in csv.DictReader(stream, skipinitialspace=True):
            start = datetime.fromisoformat(row["START_TIME"].strip() + "+00:00")
            assert abs((utc_of(row["PRODUCT_ID"].strip()) - start).total_seconds()) < 3


def test_points_at_times_are_those_of_a_track(kernels):
    track = subsolar_track(kernels, "2010-05-01", "2010-05-02", 6)
    times = [datetime.fromisoformat(time) for time in track.utc]
    turned = subsolar_at(kernels, times[::-1])
    assert turned.utc == track.utc[::-1] and turned.frame == track.frame == "MOON_ME"
    assert (turned.lon[::-1] == track.lon).all() and (turned.lat[::-1] == track.lat).all()
    assert subsolar_at(kernels, []).lon.shape == (0,)


def test_a_row_comes_before_tags_and_tags_before_the_name(table, kernels):
    rows = table(f"M1225822680LE,{LAT},{LON}", "M111578606RE,1,5", "M555LE,N/A,N/A")
    tags = {REAL: tagged(LON + 0.1, LAT), "M555LE.tif": tagged(30, 1), "b.tif": tagged(40, 1)}
    paths = [REAL, "M555LE.tif", "b.tif", "M104299437RE.tif", "M111578606LC.tif", "c.tif"]
    found = resolve_suns(paths, rows, lambda path: tags.get(path, {}), kernels)
    assert [image.path for image in found] == paths
    assert [image.source for image in found] == [
        "row", "tags", "tags", "name and kernels", "row of its twin", "none"
    ]  # fmt: skip
    assert [image.sun and round(image.sun.subsolar[0], 1) for image in found] == [
        41.9,
        30,
        40,
        338.4,
        5,
        None,
    ]
    assert [image.row and image.row.line for image in found] == [2, 4, None, None, 3, None]
    assert found[0].note == "" and found[1].note == ""
    # The invented row is far from where the Sun was at the time in the name.
    assert "the time in the name and the kernels say" in found[4].note


def test_sources_that_differ_are_noted_and_the_row_is_used(table):
    rows = table(f"M1225822680LE,{LAT},{LON}")
    (found,) = resolve_suns([REAL], rows, lambda path: tagged(LON + 2, LAT), [])
    assert found.sun.subsolar == pytest.approx((LON, LAT))
    assert "the file's tags say sub-solar longitude 43.930" in found.note and "2.0 deg apart" in found.note
    (found,) = resolve_suns([REAL], rows, lambda path: {"SUN_POSITION": "x"}, [])
    assert found.source == "row" and "tags are not used" in found.note
    with pytest.raises(ValueError, match=r"a.tif: tag SUN_POSITION: expected x y z"):
        resolve_suns(["a.tif"], rows, lambda path: {"SUN_POSITION": "x"}, [])


def test_invented_names_and_unusable_kernels_refuse_nothing_that_has_a_row(shared_data, kernels, tmp_path):
    for path in sorted((shared_data / "challenge").glob("*/index.csv")):
        rows = read_suns(path)
        names = [f"images/{row.name}.tif" for row in rows.rows]
        for given in (kernels, [str(tmp_path / "none.bsp")]):
            found = resolve_suns(names, rows, lambda path: {}, given)
            assert {image.source for image in found} == {"row"}
            assert [image.sun for image in found] == [row.sun for row in rows.rows]
            assert any(image.note for image in found)
    with pytest.raises(ValueError, match=r"ephemeris.kernels: expected a file"):
        resolve_suns([REAL], None, lambda path: {}, given)


def test_kernels_are_loaded_once_for_all_images(kernels, monkeypatch):
    calls = []
    monkeypatch.setattr(resolve, "subsolar_at", lambda *given: calls.append(given) or subsolar_at(*given))
    resolve_suns([REAL, "M104299437RE.tif", "M111578606RE.tif", "a.tif"], None, lambda path: {}, kernels)
    assert [len(times) for _, times in calls] == [3]


def test_what_was_looked_for_is_said_where_nothing_is_found(table):
    rows = table("M555LE,N/A,N/A")
    found = resolve_suns([REAL, "M555LE.tif", "a.tif"], rows, lambda path: {}, [])
    assert [image.sun for image in found] == [None] * 3
    assert (
        "has no row by its path" in found[0].note and "2016-08-14T14:03:32 UTC but no SPICE" in found[0].note
    )
    assert "line 2 of" in found[1].note and "gives no time" in found[1].note
    assert "SUN_POSITION" in found[2].note and "contains no LROC product id" in found[2].note
    (found,) = resolve_suns(["a.tif"], None, lambda path: {}, [])
    assert "no table was given" in found.note
