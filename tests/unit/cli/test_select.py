"""``lunar-bridge select``: what it prints and writes, and one line for what it cannot do."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from map_sites import write_site
from pipeline.cli.main import main


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("select")
    write_site(folder)
    return folder


def words(site: Path, *more: str) -> list[str]:
    return [
        "select",
        "--dem",
        str(site / "ldem.tif"),
        "--suns",
        str(site / "index.csv"),
        "--pixel",
        "20",
        *more,
    ]


def test_images_are_ranked_and_every_one_is_in_the_table(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ranked.csv"
    given = words(site, "--images", str(site / "nac" / "*.tif"), "--want", "4", "--out", str(out))
    assert main(given) == 0
    text = capsys.readouterr().out
    assert "9 given, 1 refused, 4 chosen" in text and "widest gap between azimuths" in text
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "", "", "", "", ""]
    assert {Path(row["image"]) for row in rows} == set((site / "nac").glob("*.tif"))
    assert rows[-1]["image"].endswith("broken.tif") and "GDAL" in rows[-1]["note"]
    chosen = rows[:4]
    assert all(Path(row["image"]).name in text for row in chosen)
    unlit, slopes = ([float(row[key]) for row in chosen] for key in ("unlit", "slope_deg"))
    assert unlit == sorted(unlit, reverse=True) and slopes == sorted(slopes, reverse=True)
    assert all(float(row["covers"]) > 0.9 and 0 < float(row["lights"]) <= 1 for row in chosen)
    first = out.read_bytes()
    assert main(given) == 0 and out.read_bytes() == first


def test_an_index_needs_no_images(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (site / "index.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    path = tmp_path / "near.csv"
    lines = [[*rows[0], "CENTER_LATITUDE", "CENTER_LONGITUDE"]]
    lines += [[*row, "-75.1", "2.8"] for row in rows[1:]] + [["M190000000LE", "-1", "5", "30", "5"]]
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")
    assert main(["select", "--dem", str(site / "ldem.tif"), "--pixel", "20", "--suns", str(path)]) == 0
    text = capsys.readouterr().out
    assert "8 given, 0 refused" in text and "M102000000LE" in text and "M190000000LE" not in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--want", "0"], "--want: expected at least 1, found 0"),
        (["--images", "none/*.tif"], "--images: expected files, found no file 'none/*.tif'"),
        (["--size", "64"], "center_m: expected a value, since size_px is given, found null"),
        (["--center", "0", "0", "--size", "64"], "site.center_m: expected a place on the DEM"),
        ([], "index.csv: expected rows of images of the map"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    site: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The site's index has no centres of images."""
    assert main(words(site, *more)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


def test_images_or_an_index_are_asked_for(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "--dem", str(site / "ldem.tif")]) == 2
    assert "--images: expected images, or an index with --suns, found neither" in capsys.readouterr().err
