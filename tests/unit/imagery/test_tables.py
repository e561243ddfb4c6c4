"""Tables of Suns: real rows of LROC's index, lists of the Ames Stereo Pipeline, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipeline.imagery.suns.sun import Sun
from pipeline.imagery.suns.tables import read_suns

POSITION = "1845629199.4 150351106527.7 4036720232.5"
HEADER = "PRODUCT_ID,SUB_SOLAR_LATITUDE,SUB_SOLAR_LONGITUDE"


@pytest.fixture
def index(shared_data: Path) -> Path:
    return shared_data / "nac" / "CUMINDEX_LROC.TAB"


@pytest.fixture
def write(tmp_path: Path):
    def call(text: str) -> Path:
        path = tmp_path / "suns.txt"
        path.write_text(text)
        return path

    return call


def suns(path, *arguments):
    return {row.name: row.sun for row in read_suns(path, *arguments).rows}


# --- LROC's index -----------------------------------------------------------------------------------------


def test_real_rows_reproduce_the_incidence_at_their_centres(index, shared_data):
    paths = [index, *sorted((shared_data / "challenge").glob("*/index.csv"))]
    rows = [row for path in paths for row in read_suns(path).rows]
    assert len(rows) == 122
    for row in rows:
        _, elevation = row.sun.seen_from(row.center_lon, row.center_lat)
        assert 90 - elevation == pytest.approx(row.incidence_deg, abs=0.02), row


def test_header_quotes_and_padding_do_not_matter(index, write):
    expected = read_suns(index)
    assert [row.name for row in expected.rows] == ["M1225822680LE", "M104299437RE"]
    lines = index.read_text().splitlines()
    with_header = {row.name: (row.sun.subsolar, row) for row in expected.rows}
    cells = list(csv.reader(lines[1:], skipinitialspace=True))
    quoted = "".join(",".join(f'"{cell.strip()}"' for cell in row) + "\r\n" for row in cells)
    padded = "".join(" , ".join(cell.strip() for cell in row) + " \r\n\r\n" for row in cells)
    for text in ("\n".join(lines[1:]), quoted, padded, lines[0].lower() + "\n" + padded):
        rows = read_suns(write(text)).rows
        assert [row.name for row in rows] == list(with_header)
        for row in rows:
            subsolar, other = with_header[row.name]
            assert row.sun.subsolar == subsolar
            assert row.sun.distance_km == other.sun.distance_km > 1.5e8
            for name in (
                "emission_deg",
                "incidence_deg",
                "phase_deg",
                "resolution_m",
                "center_lon",
                "center_lat",
            ):
                assert getattr(row, name) == getattr(other, name)
    assert (rows[0].emission_deg, rows[0].incidence_deg, rows[0].phase_deg) == (1.69, 83.78, 84.12)
    assert (rows[0].resolution_m, rows[0].center_lon, rows[0].center_lat) == (1.264, 59.88, -84.09)


def test_a_row_without_a_sun_is_kept_and_gives_none(index, write):
    cells = next(csv.reader(index.read_text().splitlines()[1:2]))
    cells[63:65] = [" 9999.99", "9999.99"]
    cells[57], cells[69] = "N/A", "99999"
    table = read_suns(write(",".join(cells)))
    assert table.find("M1225822680LE_map.tif") is None
    row, kind = table.match("M1225822680LE_map.tif")
    assert kind == "product id" and row.resolution_m is None and row.center_lat is None
    assert row.incidence_deg == 83.78


def test_only_wanted_rows_are_kept_and_checked(index, write):
    text = index.read_text() + " malformed".join(index.read_text().splitlines()[1].split("-0.61")) + "\n"
    text = text.replace("M1225822680LE, ", "M1225822680RE, ", 1)
    for wanted in (["x/M104299437LE_map.tif"], ["m104299437re"], ["M104299437"]):
        assert list(suns(write(text), None, wanted)) == ["M104299437RE"]
    assert not len(read_suns(write(text), None, ["M1.tif"]))
    with pytest.raises(ValueError, match=r"suns.txt, line 4: SUB_SOLAR_LATITUDE: expected a number within"):
        read_suns(write(text))


# --- other tables and lists -------------------------------------------------------------------------------


def test_columns_by_name(write):
    text = (
        "# made by hand\n file_name ; Sub Solar Longitude;sub_solar_latitude;x\n a/b.tif; 338.44 ; -0.42;1;\n"
    )
    assert suns(write(text))["a/b.tif"].subsolar == pytest.approx((338.44, -0.42))
    both = "IMAGE,PRODUCT_ID,SUB_SOLAR_LATITUDE,SUB_SOLAR_LONGITUDE\nb.tif,M111578606RE,1,2\n,AS16-M-1,1,3\n"
    table = read_suns(write(both))
    for name, lon in (("b.tif", 2), ("M111578606RC.tif", 2), ("as16-m-1.map.tif", 3)):
        assert table.find(name).subsolar == pytest.approx((lon, 1))


def test_positions_of_real_photographs(shared_data):
    path = shared_data / "apollo16" / "sun_positions.txt"
    table = read_suns(path)
    assert len(table) == 16
    for line in path.read_text().splitlines():
        name, *position = line.split()
        sun = table.find(name)
        assert sun.separation_deg(Sun.from_position(*map(float, position), "test")) == 0
        assert table.find(f"elsewhere/{Path(name).name}") == sun
        assert sun.source.endswith(f"line {table.match(name)[0].line}")


def test_angles_hold_over_the_centre(write):
    sun = Sun.from_position(*map(float, POSITION.split()), "test")
    for lon, lat in ((31.0, -85.0), (31.0, 85.0), (100.0, 9.0)):
        azimuth, elevation = sun.seen_from(lon, lat)
        path = write(f"a.tif {azimuth:.6f} {elevation:.6f}\n\nb.tif {azimuth:.6f}\t{elevation:.6f}\n")
        found = suns(path, (lon, lat))
        # The parallax of the Moon's radius is not in a list without distances.
        assert all(found[name].separation_deg(sun) < 1e-3 for name in ("a.tif", "b.tif"))
    with pytest.raises(ValueError, match=r"suns.txt: expected the DEM's centre, .*, found none"):
        read_suns(path)


def test_what_a_query_prints(write):
    x, y, z = POSITION.split()
    text = (
        f"Loading a DEM\n\nSun position for: a b.cub is Vector3({x},{y},{z})\nSun azimuth for: a b.cub is 5\n"
        f"Warning\nSun position for: c.cub is Vector3({x}, {y}, {z})\n"
    )
    expected = Sun.from_position(float(x), float(y), float(z), "test")
    for start in ("", "\n"):
        found = suns(write(start + text))
        assert list(found) == ["a b.cub", "c.cub"]
        assert all(sun.separation_deg(expected) == 0 for sun in found.values())
    assert list(suns(write(text), None, ["x/c.cub"])) == ["c.cub"]
    with pytest.raises(ValueError, match=r"line 2: expected `Sun position for: IMAGE is Vector3"):
        read_suns(write("a\nSun position for: a is Vector3(1,2)\n"))


# --- one image, several rows ------------------------------------------------------------------------------


def test_twins_share_a_row(write):
    table = read_suns(write(f"{HEADER}\nM104299437RE,-0.42,338.44\nM111578606LC,1,5\n"))
    twin = table.find("M104299437LE_map.tif")
    assert twin.subsolar == pytest.approx((338.44, -0.42))
    assert twin.source.endswith("line 2, row of its twin M104299437RE")
    assert table.match("M104299437LC.tif")[1] == "exposure"
    # Raw and calibrated counts of one camera are one image.
    assert table.match("M111578606LE.tif")[1] == "camera"
    assert "its twin" not in table.find("M111578606LE.tif").source
    assert table.find("M999999999LE.tif") is None


def test_the_own_row_comes_before_that_of_a_twin_unless_it_has_no_sun(write):
    rows = f"{HEADER}\nM104299437RE,1,10\nM104299437LE,{{}},{{}}\n"
    assert read_suns(write(rows.format(1, 10.01))).match("M104299437LE.tif")[1] == "product id"
    row, kind = read_suns(write(rows.format("N/A", ""))).match("M104299437LE.tif")
    assert (row.product, kind) == ("M104299437RE", "exposure")


def test_rows_that_contradict_each_other_are_refused(write):
    rows = f"{HEADER}\nM104299437RE,-0.42,338.44\nM104299437RE ,-0.42,{{}}\n"
    assert len(read_suns(write(rows.format(338.48)))) == 2
    with pytest.raises(
        ValueError, match=r"suns.txt: M104299437RE: expected one Sun, .*338\.440.*line 2 and .*338\.500"
    ):
        read_suns(write(rows.format(338.5)))
    with pytest.raises(ValueError, match=r"a.tif: expected one Sun"):
        read_suns(write(f"a.tif {POSITION}\n./a.tif {POSITION.replace(' 15', ' -15')}\n"))


def test_a_name_in_two_folders_is_ambiguous_only_without_its_folder(write):
    table = read_suns(write(f"1/a.tif {POSITION}\n2/a.tif {POSITION.replace(' 15', ' -15')}\n"))
    assert table.find("1/a.tif").separation_deg(table.find("2/a.tif")) > 90
    with pytest.raises(ValueError, match=r"3/a.tif: expected one value for the file name a.tif"):
        table.find("3/a.tif")


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"suns.txt: expected LROC's CUMINDEX .* found an empty file"),
        ("\n \n", "found an empty file"),
        ("hello\nworld\n", r"expected LROC's CUMINDEX .*sfs --query.* found line 1: 'hello'"),
        ("a.tif 1\n", "expected LROC's CUMINDEX"),
        ("a.tif 1 2 x\n", "expected LROC's CUMINDEX"),
        ("a,b,c\n1,2,3\n", "expected LROC's CUMINDEX"),
        ("\x00\x01\n", "expected LROC's CUMINDEX"),
        (f"{HEADER}\n", "expected rows under the header, found none"),
        (
            "PRODUCT_ID,x\na,1\n",
            "line 1: expected a column SUB_SOLAR_LATITUDE and a column SUB_SOLAR_LONGITUDE",
        ),
        ("X,SUB_SOLAR_LATITUDE,SUB_SOLAR_LONGITUDE\n", "expected a column PRODUCT_ID, FILE_NAME or IMAGE"),
        (f"{HEADER}\na,1,2\na,x,2\n", "line 3: SUB_SOLAR_LATITUDE: expected a number within .*, found 'x'"),
        (f"{HEADER}\na,nan,2\n", "line 2: SUB_SOLAR_LATITUDE: expected a number"),
        (f"{HEADER}\na,1,1e9\n", "line 2: SUB_SOLAR_LONGITUDE: expected a number"),
        (
            f"{HEADER}\na,91,2\n",
            r"line 2: SUB_SOLAR_LATITUDE: expected a number within \[-90, 90\], found '91'",
        ),
        (f"{HEADER}\na,1.71,2\n", "line 2: the Sun: expected a sub-solar latitude within 1.7 deg"),
        (f"{HEADER}\na,1\n", "line 2: expected 3 columns, found 2"),
        (f"{HEADER}\n,1,2\n", "line 2: expected the name of an image, found none"),
        (
            f"a.tif {POSITION}\nb.tif 1 2\n",
            "line 2: expected an image without blanks in its name and 3 numbers",
        ),
        (f"a.tif {POSITION}\nb.tif 1 2 x\n", "line 2: expected an image"),
        ("a.tif 1.8e6 1.5e8 4e6\n", "line 1: the Sun: expected a position"),
        ("a.tif 0 0 1.5e11\n", "line 1: the Sun: expected a sub-solar latitude"),
    ],
)
def test_bad_tables_are_refused_with_file_and_line(write, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read_suns(write(text))
    assert "suns.txt" in str(error.value)


def test_angles_that_no_sun_has_are_refused(write):
    with pytest.raises(ValueError, match=r"line 2: the Sun: expected a sub-solar latitude"):
        read_suns(write("a.tif 30 1.2\nb.tif 30 8\n"), (0, -90))
