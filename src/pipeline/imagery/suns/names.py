"""Names of images: LROC product ids in them, the time that an id encodes, and lists keyed by name.

A Narrow Angle Camera image is called ``M1225822680LE``: the spacecraft clock, the camera (left or right), and
E for raw or C for calibrated counts. Both cameras expose together, so the digits identify the exposure.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, Literal, TypeVar

from pipeline.config.base import unlike

Value = TypeVar("Value")
# Keys of a value, the most specific first; "camera" joins raw and calibrated counts of one image, "exposure"
# the images of both cameras.
Kind = Literal["path", "file name", "product id", "camera", "exposure"]

# Names of processed images sometimes lack the last letter: ``M143947267L.cal.echo.crop.cub``.
_ID = re.compile(r"(?<![A-Za-z0-9])M(\d+)([LR])([EC]?)(?![A-Za-z0-9])", re.IGNORECASE)
_OBSERVATION = re.compile(r"\s*(M\d+)(?:[LR][EC]?)?\s*", re.IGNORECASE)
_EPOCH = datetime(2001, 1, 1, tzinfo=UTC)
# The day after the launch of LRO.
_FIRST = datetime(2009, 6, 19, tzinfo=UTC)


def file_name(path: str) -> str:
    """The last part of a path with slashes of either kind."""
    return re.split(r"[/\\]", path.strip())[-1]


def product_id(path_or_text: str) -> str | None:
    """The LROC product id in a file's name, in capitals, or None.

    A name that contains the ids of two exposures, as of stereo pairs, is ambiguous and gives None. The
    folders of a path are ignored.
    """
    found = [match.group().upper() for match in _ID.finditer(file_name(path_or_text))]
    return found[0] if len({observation(name) for name in found}) == 1 else None


def observation(product: str) -> str:
    """An id without the letters of camera and processing, the common part of one exposure's products.

    Raises
    ------
    ValueError
        If the text is no id of an image or exposure.
    """
    match = _OBSERVATION.fullmatch(product)
    if match is None:
        raise ValueError(unlike("product id", "M, digits, L or R, and E or C", repr(product)))
    return match.group(1).upper()


def camera(product: str) -> str:
    """Exposure and camera of a product id, the common part of raw and calibrated counts of one image.

    Raises
    ------
    ValueError
        If the text is no product id of an image.
    """
    match = _ID.fullmatch(product.strip())
    if match is None:
        raise ValueError(unlike("product id", "M, digits, L or R, and E or C", repr(product)))
    return f"M{match.group(1)}{match.group(2).upper()}"


def utc_of(product: str) -> datetime:
    """Start of an exposure from the digits of its product id, UTC; to 3 s for products of 2009 to 2020.

    After a leading 1 for the clock's partition, the digits count seconds. Ids grew from nine to ten digits in
    August 2012, when the eight digits after the 1 were exhausted (M199999999 to M1100000000).

    Raises
    ------
    ValueError
        If the text is no product id, or its digits give no time of the mission: not nine or ten digits, no
        possible value of the clock, or a time before 2009-06-19, the day after the launch.
    """
    digits = observation(product)[1:]
    count = int(digits)
    if len(digits) == 9 and count < 200_000_000:
        utc = _EPOCH + timedelta(seconds=count + 167_053_532)
    elif len(digits) == 10 and 1_100_000_000 <= count < 2_000_000_000:
        utc = _EPOCH + timedelta(seconds=count - 732_946_468)
    else:
        raise ValueError(
            unlike(
                product, "9 digits that begin with 1, or 10 from 1100000000 on", f"{digits}: no time of LRO"
            )
        )
    if utc < _FIRST:
        raise ValueError(
            unlike(product, "a time after the launch of LRO, 2009-06-18", f"{utc:%Y-%m-%dT%H:%M:%S}")
        )
    return utc


class Wanted:
    """The images whose rows a reader keeps.

    Parameters
    ----------
    names : paths, product ids or exposures; None keeps all.
    """

    def __init__(self, names: Collection[str] | None) -> None:
        self.all = names is None
        self._keys: set[str] = set()
        for name in names or ():
            last = file_name(name).upper()
            self._keys |= {name.strip(), last, last.rsplit(".", 1)[0], last.split(".", 1)[0]}
            lroc = product_id(name)
            if lroc is not None:
                self._keys.add(observation(lroc))

    def keeps(self, name: str, product: str | None = None) -> bool:
        """Whether the row of an image (name, and product id if given), or of its twin, is wanted."""
        if self.all or name in self._keys or file_name(name).upper() in self._keys:
            return True
        lroc = product_id(product or name)
        if lroc is not None:
            return observation(lroc) in self._keys
        return product is not None and product.upper() in self._keys

    def may_keep(self, product: str) -> bool:
        """A fast version of `keeps` for an LROC id in capitals; True may be wrong, False is not."""
        return self.all or product in self._keys or product.rstrip("LREC") in self._keys


@dataclass(frozen=True)
class Match(Generic[Value]):
    """A value found for a path, its name, and the kind of key that matched."""

    name: str
    value: Value
    kind: Kind


@dataclass(frozen=True)
class Clash(Generic[Value]):
    """Two values under one key that contradict each other."""

    kind: Kind
    key: str
    first: Value
    second: Value


class NameIndex(Generic[Value]):
    """Values by image: by the path as given, the file's name, its product id, its camera or its exposure.

    Parameters
    ----------
    agree : whether two values of one key are consistent; the first is then kept.
    """

    def __init__(self, agree: Callable[[Value, Value], bool]) -> None:
        self._agree = agree
        self._kept: dict[tuple[Kind, str], tuple[str, Value]] = {}
        self._clashes: dict[tuple[Kind, str], Clash[Value]] = {}

    def add(self, name: str, value: Value, product: str | None = None) -> list[Clash[Value]]:
        """Add a value by its name, and by a product id if given; returns contradictions to earlier values."""
        clashes = []
        for key in _kept_as(name, product):
            _, earlier = self._kept.setdefault(key, (name, value))
            if earlier is not value and not self._agree(earlier, value):
                clash = Clash(*key, earlier, value)
                self._clashes.setdefault(key, clash)
                clashes.append(clash)
        return clashes

    def find(self, path: str) -> Iterator[Match[Value]]:
        """Values for a path, those of the most specific key first.

        Raises
        ------
        ValueError
            If a key is reached whose values contradict each other.
        """
        stems = []
        if product_id(path) is None:
            # Ids of other missions are a whole file name, or its part before the first or last dot.
            whole = file_name(path).upper()
            stems = [whole, whole.rsplit(".", 1)[0], whole.split(".", 1)[0]]
        for key in dict.fromkeys([*_kept_as(path, None), *(("product id", stem) for stem in stems)]):
            if key in self._clashes:
                clash = self._clashes[key]
                found = f"{clash.first} and {clash.second}"
                raise ValueError(unlike(path, f"one value for the {key[0]} {key[1]}", found))
            if key in self._kept:
                yield Match(*self._kept[key], key[0])


def _kept_as(name: str, product: str | None) -> list[tuple[Kind, str]]:
    """Keys by which a value of this name is stored and searched."""
    keys: list[tuple[Kind, str]] = [("path", os.path.normpath(name.strip())), ("file name", file_name(name))]
    lroc = product_id(product or name)
    if lroc is not None:
        keys += [("product id", lroc), ("camera", camera(lroc)), ("exposure", observation(lroc))]
    elif product:
        keys.append(("product id", product.strip().upper()))
    return keys
