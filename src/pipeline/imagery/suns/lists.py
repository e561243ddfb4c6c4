"""Lists of Suns of the Ames Stereo Pipeline: one Sun per line, as position or as angles at the DEM."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from pipeline.config.base import unlike
from pipeline.imagery.suns.names import Wanted
from pipeline.imagery.suns.rows import Place, SunRow, possible
from pipeline.imagery.suns.sun import Sun

Lines = Iterator[tuple[int, str]]

QUERY = "Sun position for:"
_LINE = re.compile(r".*Sun position for:\s*(.+?)\s+is\s+Vector3\(([^,()]+),([^,()]+),([^,()]+)\)\s*")


def after(first: tuple[int, str], lines: Lines) -> Lines:
    """All lines, with the first one, which was already read, in front."""
    yield first
    yield from lines


def numbers_behind_name(line: str) -> int:
    """Number of values after an image's name, if there are 2 or 3 and nothing else; otherwise 0."""
    words = line.split()[1:]
    try:
        [float(word) for word in words]
    except ValueError:
        return 0
    return len(words) if len(words) in (2, 3) else 0


def list_rows(
    path: str, lines: Lines, count: int, centre: tuple[float, float] | None, wanted: Wanted
) -> Iterator[SunRow]:
    """Rows of lines `image x y z` (metres), or `image azimuth elevation` (degrees, at the centre).

    Parameters
    ----------
    path : of the list, for error messages. lines : numbered from 1, without blank ones and comments.
    count : numbers after each name, 3 for positions or 2 for angles.
    centre : longitude and latitude, degrees, for which angles hold; None for positions.
    wanted : images to keep; lines of others are not checked.

    Raises
    ------
    ValueError
        If a line has another form or an impossible Sun; the message names the file and the line.
    """
    for number, line in lines:
        name = line.split()[0]
        if wanted.keeps(name):
            place = Place(path, number)
            if numbers_behind_name(line) != count:
                expected = f"an image without blanks in its name and {count} numbers"
                raise ValueError(unlike(str(place), expected, repr(line.strip())))
            yield _listed(place, name, [float(word) for word in line.split()[1:]], centre)


def query_rows(
    path: str, first: tuple[int, str], lines: Lines, wanted: Wanted, forms: str
) -> Iterator[SunRow]:
    """Rows of the output of `sfs --query`, which also has other lines.

    Parameters
    ----------
    path : of the list, for error messages. first : its first line, which was already read. lines : the rest.
    wanted : images to keep. forms : possible forms of a list, for an error message.

    Raises
    ------
    ValueError
        If a row is malformed or has an impossible Sun; the message names the file and the line. Also if the
        file has no such row.
    """
    found = False
    for number, line in after(first, lines):
        if QUERY not in line:
            continue
        found, place = True, Place(path, number)
        match = _LINE.fullmatch(line)
        try:
            name, *words = match.groups() if match else ("",)
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if not values:
            expected = f"`{QUERY} IMAGE is Vector3(x,y,z)`"
            raise ValueError(unlike(str(place), expected, repr(line.strip())))
        if wanted.keeps(name):
            yield _listed(place, name, values, None)
    if not found:
        raise ValueError(unlike(path, forms, f"line {first[0]}: {first[1].strip()[:80]!r}"))


def _listed(place: Place, name: str, values: list[float], centre: tuple[float, float] | None) -> SunRow:
    """The row of a position, metres, or of azimuth and elevation at the centre, degrees."""
    try:
        if len(values) == 3:
            sun = Sun.from_position(values[0], values[1], values[2], str(place))
        else:
            lon, lat = centre or (math.nan, math.nan)
            sun = Sun.from_local(values[0], values[1], lon, lat, str(place))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    return SunRow(name, place.line, possible(place, sun))
