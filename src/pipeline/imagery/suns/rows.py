"""Rows of a table of Suns, and the table: found by an image's path, name, product id or exposure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.base import unlike
from pipeline.imagery.suns.names import Kind, NameIndex
from pipeline.imagery.suns.sun import Sun, checked

# Rows of one image may differ by the rounding of their columns, 0.01 deg.
SAME_SUN_DEG = 0.05


@dataclass(frozen=True)
class Place:
    """A line of a file, for error messages."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


@dataclass(frozen=True, slots=True)
class SunRow:
    """A table's entry for one image.

    Attributes
    ----------
    name : of the image, as in the table.
    line : of the file, from 1.
    sun : None where the table has the image without its Sun.
    product : id of the image, where the table has a column for it.
    emission_deg, incidence_deg, phase_deg : at the image's centre, degrees.
    resolution_m : metres per pixel.
    center_lon, center_lat : of the image, degrees east and north.
    corners : longitude and latitude of its four corners, degrees, in order around it.

    Values that the table does not give are None.
    """

    name: str
    line: int
    sun: Sun | None
    product: str | None = None
    emission_deg: float | None = None
    incidence_deg: float | None = None
    phase_deg: float | None = None
    resolution_m: float | None = None
    center_lon: float | None = None
    center_lat: float | None = None
    corners: tuple[tuple[float, float], ...] | None = None

    def __str__(self) -> str:
        sun = self.sun.described() if self.sun else "no Sun"
        return f"{sun} of {self.name} on line {self.line}"


def possible(place: Place, sun: Sun) -> Sun:
    """The Sun of a line, after a check that it is physically possible.

    Raises
    ------
    ValueError
        If it is not; the message names the line.
    """
    try:
        return checked(sun)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _agree(first: SunRow, second: SunRow) -> bool:
    if first.sun is None or second.sun is None:
        return True
    return first.sun.separation_deg(second.sun) <= SAME_SUN_DEG


class SunTable:
    """Suns by image.

    Parameters
    ----------
    path : of the file, for messages.
    rows : in any order.

    Raises
    ------
    ValueError
        If two rows of one path or one product id have Suns that are more than 0.05 deg apart.
    """

    def __init__(self, path: Path | str, rows: Iterable[SunRow]) -> None:
        self.path = str(path)
        self.rows = tuple(rows)
        self._index: NameIndex[SunRow] = NameIndex(_agree)
        # The first of equal rows is kept, so those without a Sun come last.
        for row in sorted(self.rows, key=lambda row: row.sun is None):
            for clash in self._index.add(row.name, row, row.product):
                # Other keys are derived from names: contradictions matter only if an image is found by them.
                if clash.kind in ("path", "product id"):
                    found = f"{clash.first} and {clash.second}"
                    raise ValueError(unlike(f"{self.path}: {clash.key}", "one Sun", found))

    def __len__(self) -> int:
        return len(self.rows)

    def match(self, path: str) -> tuple[SunRow, Kind] | None:
        """The row for an image and the kind of key that matched: the most specific one, if possible with a
        Sun.

        Raises
        ------
        ValueError
            If the row is ambiguous: rows that contradict each other share the file name or the exposure.
        """
        without: tuple[SunRow, Kind] | None = None
        for match in self._index.find(path):
            if match.value.sun is not None:
                return match.value, match.kind
            without = without or (match.value, match.kind)
        return without

    def find(self, path: str) -> Sun | None:
        """The Sun of an image; its source names the file, the line, and the twin where the row is a twin's.

        The image is searched by the path as given, then by file name, by product id, and last by the
        exposure: both cameras of LROC expose together, so the other one's row has the same Sun. Raises as
        `match`.
        """
        match = self.match(path)
        if match is None:
            return None
        row, kind = match
        if row.sun is None or kind != "exposure":
            return row.sun
        return replace(row.sun, source=f"{row.sun.source}, row of its twin {row.product or row.name}")
