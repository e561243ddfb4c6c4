"""Tables of Suns, recognised by content: LROC's index and similar, and lists of the Ames Stereo Pipeline.

The index's azimuths are in the plane of the raw image and not valid on a map, and its incidence angle is
valid only at the centre of a strip; the Sun is therefore taken from the sub-solar point only.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TextIO

from pipeline.config.base import unlike
from pipeline.imagery.suns.lists import QUERY, Lines, after, list_rows, numbers_behind_name, query_rows
from pipeline.imagery.suns.names import Wanted
from pipeline.imagery.suns.rows import Place, SunRow, SunTable, possible
from pipeline.imagery.suns.sun import DISTANCE_KM, Sun

FORMS = (
    "LROC's CUMINDEX (83 columns, with or without a header), a CSV with the columns PRODUCT_ID or FILE_NAME "
    "or IMAGE and SUB_SOLAR_LATITUDE and SUB_SOLAR_LONGITUDE, lines `image x y z` (metres) or `image azimuth "
    "elevation` (degrees), or what `sfs --query` prints"
)
_LAT, _LON = "SUB_SOLAR_LATITUDE", "SUB_SOLAR_LONGITUDE"
_FILES = ("FILE_NAME", "IMAGE")
# Columns of LROC's index, which has no header, counted from 0.
_INDEX_WIDTH = 83
_INDEX = {
    "PRODUCT_ID": 5, "RESOLUTION": 57, "EMISSION_ANGLE": 58, "INCIDENCE_ANGLE": 59, "PHASE_ANGLE": 60,
    _LAT: 63, _LON: 64, "SOLAR_DISTANCE": 67, "CENTER_LATITUDE": 69, "CENTER_LONGITUDE": 70,
}  # fmt: skip
# Cameras of LROC: left, right, and those of the wide angle.
_INDEX_ID = re.compile(r"[MN]\w*\d+[A-Z]{1,2}", re.IGNORECASE)
_CORNERS = ("UPPER_RIGHT", "LOWER_RIGHT", "LOWER_LEFT", "UPPER_LEFT")
_INDEX |= {
    f"{corner}_{axis}": 71 + 2 * k + j
    for k, corner in enumerate(_CORNERS)
    for j, axis in enumerate(("LATITUDE", "LONGITUDE"))
}
_ABSENT = re.compile(r"(?:N/?A|NULL|UNK|[-+]?9{4,}(?:\.[90]*)?)?", re.IGNORECASE)


def read_suns(
    path: Path | str,
    centre: tuple[float, float] | None = None,
    wanted: Collection[str] | None = None,
    around: Callable[[float, float], bool] | None = None,
) -> SunTable:
    """Read a table of Suns; its form is recognised by the content.

    Parameters
    ----------
    path : the file; it is read line by line.
    centre : longitude and latitude of the DEM's centre, degrees, to which a list of azimuths and elevations
        refers; not needed for other forms.
    wanted : paths, product ids or exposures (ids without the letters) whose rows are kept, with those of
        their twins; None keeps all. Rows that are not kept are not checked.
    around : decides by longitude and latitude of an image's centre, degrees, whether its row is kept; in a
        table with columns, rows without a centre are not kept. None keeps all.

    Raises
    ------
    ValueError
        If the file is none of the forms or has no rows, a row is malformed (the message names its line), the
        centre is needed and not given, or rows of one image contradict each other.
    """
    keep = Wanted(wanted)
    with Path(path).open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        lines = _lines(stream)
        number, first = next(lines, (0, ""))
        if not number:
            raise ValueError(unlike(str(path), FORMS, "an empty file"))
        rows = _rows(str(path), (number, first), lines, centre, keep, around)
        table = SunTable(path, rows)
    # With `wanted` or `around`, a table may hold none of the images.
    if not table.rows and keep.all and around is None:
        raise ValueError(unlike(str(path), "rows under the header", "none"))
    return table


def _lines(stream: TextIO) -> Lines:
    """Numbered lines from 1, without blank ones and comments."""
    for number, line in enumerate(stream, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _rows(
    path: str,
    first: tuple[int, str],
    lines: Lines,
    centre: tuple[float, float] | None,
    wanted: Wanted,
    around: Callable[[float, float], bool] | None,
) -> Iterator[SunRow]:
    """Rows in the form that is recognised by the first line, or by a line of a log."""
    for delimiter in ",;\t":
        cells = _cells(first[1], delimiter)
        names = [re.sub(r"\s+", "_", cell).upper() for cell in cells]
        columns = {name: place for place, name in reversed(list(enumerate(names)))}
        if {_LAT, _LON, "PRODUCT_ID", *_FILES} & set(columns):
            missing = [name for name in (_LAT, _LON) if name not in columns]
            if not {"PRODUCT_ID", *_FILES} & set(columns):
                missing.append("PRODUCT_ID, FILE_NAME or IMAGE")
            if missing:
                expected = f"a column {' and a column '.join(missing)}"
                raise ValueError(unlike(str(Place(path, first[0])), expected, "none in the header"))
            return _cell_rows(path, lines, columns, len(names), delimiter, wanted, around)
    cells = _cells(first[1], ",")
    if len(cells) == _INDEX_WIDTH and _INDEX_ID.fullmatch(cells[_INDEX["PRODUCT_ID"]]):
        return _cell_rows(path, after(first, lines), _INDEX, _INDEX_WIDTH, ",", wanted, around)
    if QUERY not in first[1]:
        count = numbers_behind_name(first[1])
        if count:
            if count == 2 and centre is None:
                expected = "the DEM's centre, over which its azimuths and elevations hold"
                raise ValueError(unlike(path, expected, "none"))
            return list_rows(path, after(first, lines), count, centre, wanted)
    return query_rows(path, first, lines, wanted, FORMS)


def _cells(line: str, delimiter: str) -> list[str]:
    """Cells of one line, without the blanks around them, inside quotes or outside."""
    try:
        cells = next(csv.reader([line.strip(" \r\n")], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        # Not a table, for instance a binary file.
        return []
    return [cell.strip() for cell in cells]


def _cell_rows(
    path: str,
    lines: Lines,
    columns: dict[str, int],
    width: int,
    delimiter: str,
    wanted: Wanted,
    around: Callable[[float, float], bool] | None,
) -> Iterator[SunRow]:
    """Rows of a table with columns."""
    file = next((columns[name] for name in _FILES if name in columns), None)
    identity = columns.get("PRODUCT_ID")
    for number, line in lines:
        if columns is _INDEX and not wanted.all:
            # Parsing all two million lines takes long.
            quick = "".join(line.split(",", 6)[5:6]).strip(' "').upper()
            if _INDEX_ID.fullmatch(quick) and not wanted.may_keep(quick):
                continue
        place = Place(path, number)
        cells = _cells(line, delimiter)
        # A delimiter at the end of each row gives an additional empty cell.
        if len(cells) == width + 1 and not cells[-1]:
            cells.pop()
        if len(cells) != width:
            raise ValueError(unlike(str(place), f"{width} columns", len(cells)))
        if around is not None and not _lies(cells, columns, around):
            continue
        product = cells[identity] if identity is not None else ""
        name = (cells[file] if file is not None else "") or product
        if not name:
            raise ValueError(unlike(str(place), "the name of an image", "none"))
        if wanted.keeps(name, product or None):
            yield _cell_row(place, name, product, {key: cells[at] for key, at in columns.items()})


def _lies(cells: list[str], columns: dict[str, int], around: Callable[[float, float], bool]) -> bool:
    """Whether the centre of a row's image is accepted by `around`."""
    try:
        lon, lat = (float(cells[columns[f"CENTER_{axis}"]]) for axis in ("LONGITUDE", "LATITUDE"))
    except (KeyError, ValueError):
        return False
    return around(lon, lat)


def _corners(cells: dict[str, str]) -> tuple[tuple[float, float], ...] | None:
    """Longitude and latitude of an image's corners; None unless all are valid, as they are optional."""
    try:
        found = [(float(cells[f"{c}_LONGITUDE"]), float(cells[f"{c}_LATITUDE"])) for c in _CORNERS]
    except (KeyError, ValueError):
        return None
    return tuple(found) if all(abs(lon) <= 360 and abs(lat) <= 90 for lon, lat in found) else None


def _cell_row(place: Place, name: str, product: str, cells: dict[str, str]) -> SunRow:
    """The row of an image from its cells by column."""

    def number(column: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        return _number(place, column, cells.get(column, ""), low, high)

    lat, lon = number(_LAT, -90, 90), number(_LON, -360, 360)
    distance = number("SOLAR_DISTANCE")
    # In kilometres in LROC's index; other units, for instance AU, are not used.
    if distance is None or not DISTANCE_KM[0] <= distance <= DISTANCE_KM[1]:
        distance = math.inf
    sun = None
    if lat is not None and lon is not None:
        sun = possible(place, Sun.from_subsolar(lon, lat, str(place), distance))
    return SunRow(
        name=name,
        line=place.line,
        sun=sun,
        product=product or None,
        emission_deg=number("EMISSION_ANGLE", 0, 180),
        incidence_deg=number("INCIDENCE_ANGLE", 0, 180),
        phase_deg=number("PHASE_ANGLE", 0, 180),
        resolution_m=number("RESOLUTION", 0),
        center_lon=number("CENTER_LONGITUDE", -360, 360),
        center_lat=number("CENTER_LATITUDE", -90, 90),
        corners=_corners(cells),
    )


def _number(place: Place, column: str, text: str, low: float, high: float) -> float | None:
    """A cell's number; None where the cell is empty or marked as missing."""
    if _ABSENT.fullmatch(text):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        within = f" within [{low:g}, {high:g}]" if math.isfinite(low) else ""
        raise ValueError(unlike(f"{place}: {column}", f"a number{within}", repr(text)))
    return value
