"""A map for the Ames Stereo Pipeline: read back by the readers of its lists, or refused in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from raster_files import SOUTH

from pipeline.cli import main as cli
from pipeline.imagery.suns.asp import read_exposures
from pipeline.imagery.suns.sun import Sun
from pipeline.imagery.suns.tables import read_suns
from pipeline.maps.images import sun_record
from pipeline.maps.kinds import KINDS
from pipeline.maps.make import write_table
from pipeline.maps.prepare import Prepared
from pipeline.maps.rasters import Rasters
from pipeline.maps.survey import Surveyed
from pipeline.terrain.map_grid import MapGrid, lunar_projection

ROWS, COLS = 60, 50
NAMES = ("../nac/M126832204RE.tif", "/data/strip.cub", "nac/M130799747LE.tif")
SUNS = (
    Sun.from_subsolar(337.9391234, -1.4567891, "row", 1.4712e8),
    Sun.from_subsolar(0.0, 1.5, "tags"),
    Sun.from_subsolar(115.517, 0.25, "row", 1.521e8),
)


def heights() -> np.ndarray:
    """A tilted plane, above all that a fill from around can find."""
    y, x = np.mgrid[:ROWS, :COLS].astype(np.float32)
    return -2000 + 3 * x - y


def rows() -> list[Prepared]:
    used = [
        Prepared(
            Surveyed(name, sun=sun_record(sun), sun_source="row", withheld=k == 2), used=True,
            exposure=0.05 * (k + 1), dark=[1e-3, 0.0, -2e-5][k],
        )
        for k, (name, sun) in enumerate(zip(NAMES, SUNS))
    ]  # fmt: skip
    refused = Surveyed("nac/dark.tif", why="the Sun is down", sun=sun_record(SUNS[0]))
    unknown = Surveyed("nac/no sun.tif", why="no Sun")
    return [used[0], Prepared(refused, why=refused.why), Prepared(unknown, why=unknown.why), *used[1:]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Folder of a run with a finished map that has a hole inside and one at its corner."""
    folder = tmp_path / "results" / "mine"
    grid = MapGrid(lunar_projection(SOUTH).wkt_text, Affine(40, 0, 20_000, 0, -40, 450_000), COLS, ROWS)
    values = heights()
    values[20:30, 10:15] = np.nan
    values[:4, :6] = np.nan
    with Rasters({"mean": str(folder / "map" / "mean.tif")}, grid, KINDS, {"CITATION": "who"}) as rasters:
        rasters.write("mean", 0, values)
    write_table(str(folder / "map" / "images.csv"), rows())
    (folder / "map" / "map.json").write_text(json.dumps({"schema": "map/1"}))
    return folder


def test_lists_are_read_back(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "asp"
    assert cli.main(["export-asp", str(run), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "dem.tif", "images.txt", "sun_positions.txt", "sfs-exposures.txt", "sfs-haze.txt"
    }  # fmt: skip
    assert (out / "images.txt").read_text().splitlines() == list(NAMES)
    table = read_suns(out / "sun_positions.txt")
    for name, sun in zip(NAMES, SUNS):
        found = table.find(name)
        assert found is not None and found.separation_deg(sun) < 1e-6
        expected = sun.distance_km if np.isfinite(sun.distance_km) else 149_597_870.7
        assert found.distance_km == pytest.approx(expected, rel=1e-9)
    assert read_exposures(out / "sfs-exposures.txt") == pytest.approx(dict(zip(NAMES, (0.05, 0.1, 0.15))))
    haze = dict(line.split() for line in (out / "sfs-haze.txt").read_text().splitlines())
    assert {k: float(v) for k, v in haze.items()} == dict(zip(NAMES, (1e-3, 0.0, -2e-5)))
    said = capsys.readouterr().out
    assert "3 images; DEM of 3000 pixels, 74 of them filled" in said and "1 images without" in said


def test_the_dem_has_no_holes_and_lies_where_the_map_lies(run: Path, tmp_path: Path) -> None:
    assert cli.main(["export-asp", str(run / "map"), "--out", str(tmp_path / "asp")]) == 0
    with rasterio.open(run / "map" / "mean.tif") as raster:
        mean, transform, crs = raster.read(1), raster.transform, raster.crs
    with rasterio.open(tmp_path / "asp" / "dem.tif") as raster:
        dem = raster.read(1)
        assert (raster.dtypes, raster.nodata, raster.count) == (("float32",), -32768, 1)
        assert (raster.transform, raster.crs) == (transform, crs)
        assert (raster.units, raster.tags()["CITATION"]) == (("m",), "who")
    known = np.isfinite(mean)
    np.testing.assert_array_equal(dem[known], mean[known])
    # From around inside; the nearest height beyond the edge of the data.
    assert np.abs(dem - heights())[20:30, 10:15].max() < 3
    assert dem[0, 0] in mean[known] and np.isfinite(dem).all()


def test_equal_maps_are_exported_to_equal_bytes(run: Path, tmp_path: Path) -> None:
    for name in "ab":
        assert cli.main(["export-asp", str(run), "--out", str(tmp_path / name)]) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def edited(run: Path, **cells: str) -> None:
    """Change cells of the first image."""
    path = run / "map" / "images.csv"
    with path.open(newline="") as stream:
        table = list(csv.DictReader(stream))
    table[0] |= cells
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, table[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def without_a_file(run: Path, name: str) -> None:
    (run / "map" / name).unlink()


def of_an_earlier_version(run: Path) -> None:
    path = run / "map" / "images.csv"
    path.write_text(path.read_text().replace("sub_solar_lon_deg", "longitude"))


def another_document(run: Path) -> None:
    (run / "map" / "map.json").write_text('{"schema": "region/1"}')


def nothing_used(run: Path) -> None:
    write_table(str(run / "map" / "images.csv"), rows()[1:3])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (
            lambda run: without_a_file(run, "map.json"),
            "mine: expected the folder of a run with a finished map",
        ),
        (lambda run: without_a_file(run, "mean.tif"), "found no"),
        (lambda run: without_a_file(run, "images.csv"), "images.csv"),
        (another_document, "map.json: expected schema 'map/1', found 'region/1'"),
        (of_an_earlier_version, "images.csv: expected a column sub_solar_lon_deg (make the map again)"),
        (nothing_used, "images.csv: expected images that the map used, found none"),
        (lambda run: edited(run, file="my nac/a.tif"), "line 2: expected an image without blanks"),
        (lambda run: edited(run, file="#a.tif"), "which lists cannot hold, found '#a.tif'"),
        (lambda run: edited(run, exposure=""), "line 2: expected numbers in sub_solar_lon_deg"),
        (lambda run: edited(run, exposure="0"), "found exposure 0"),
        (lambda run: edited(run, sub_solar_lat_deg="91"), "line 2: expected numbers"),
        (lambda run: edited(run, sun_distance_km="-1"), "distance_km"),
    ],
)
def test_what_is_no_finished_map_is_refused_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm, said: str
) -> None:
    harm(run)
    assert cli.main(["export-asp", str(run), "--out", str(tmp_path / "asp")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not (tmp_path / "asp").exists()


def test_a_map_without_heights_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.open(run / "map" / "mean.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
        raster.write(np.full((ROWS, COLS), np.nan, np.float32), 1)
    assert cli.main(["export-asp", str(run), "--out", str(tmp_path / "asp")]) == 2
    assert "mean.tif: expected heights, found none" in capsys.readouterr().err
    assert not list((tmp_path / "asp").iterdir())
