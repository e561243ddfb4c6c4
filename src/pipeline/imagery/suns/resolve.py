"""The Sun of each image: from the table's row, the file's tags, or its name with SPICE kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from pipeline.illumination.ephemeris import subsolar_at
from pipeline.imagery.suns.names import product_id, utc_of
from pipeline.imagery.suns.rows import SunRow, SunTable
from pipeline.imagery.suns.sun import Sun
from pipeline.imagery.suns.tags import sun_from_tags

Source = Literal["row", "row of its twin", "tags", "name and kernels", "none"]

# The Sun moves this far in an hour; sources that differ by more cannot belong to the same image.
NOTED_DEG = 0.5


@dataclass(frozen=True)
class ResolvedSun:
    """The Sun of an image, with its source.

    Attributes
    ----------
    path : of the image, as given.
    sun : None where none was found.
    source : where it was found.
    note : a warning for the user, or the sources searched where none was found; empty if there is none.
    row : the table's row of the image, or of its twin.
    """

    path: str
    sun: Sun | None
    source: Source
    note: str
    row: SunRow | None


def resolve_suns(
    paths: Sequence[str],
    table: SunTable | None,
    tags_of: Callable[[str], Mapping[str, str]],
    kernels: Sequence[Path | str],
) -> list[ResolvedSun]:
    """The Suns of images, in the order of the paths.

    A row of the table takes precedence over tags in the file, and these over the time encoded in the product
    id of the name, for which SPICE kernels give the Sun. Where sources differ by more than 0.5 deg, a note
    says so: a name may be invented.

    Parameters
    ----------
    paths : of the images; those of the table may differ from them in folder or processing.
    table : of Suns, or None.
    tags_of : tags of the file at a path.
    kernels : SPICE kernel files, or none.

    Raises
    ------
    ValueError
        If an image's row is ambiguous, or its tags are malformed or the kernels unusable and there is no
        other source of its Sun.
    """
    found = [_without_kernels(path, table, tags_of) for path in paths]
    times = [_time(path) for path in paths]
    lost = [k for k, image in enumerate(found) if image.sun is None]
    if kernels:
        _take_from_kernels(found, times, lost, kernels)
        _compare_with_kernels(found, times, sorted(set(range(len(paths))) - set(lost)), kernels)
    return [_explained(image, table) for image in found]


def _without_kernels(
    path: str, table: SunTable | None, tags_of: Callable[[str], Mapping[str, str]]
) -> ResolvedSun:
    """The Sun from row or tags, and a note if they differ."""
    match = table.match(path) if table is not None else None
    row, kind = match if match else (None, None)
    sun = table.find(path) if table is not None else None
    note, tagged = "", None
    try:
        tagged = sun_from_tags(tags_of(path))
    except ValueError as error:
        if sun is None:
            raise ValueError(f"{path}: {error}") from None
        note = f"the file's tags are not used: {error}"
    if sun is None:
        return ResolvedSun(path, tagged, "tags" if tagged else "none", note, row)
    if tagged is not None:
        note = _difference(sun, tagged, "the file's tags")
    return ResolvedSun(path, sun, "row of its twin" if kind == "exposure" else "row", note, row)


def _difference(sun: Sun, other: Sun, what: str) -> str:
    """A note on another source that differs; empty if it does not."""
    apart = sun.separation_deg(other)
    if apart <= NOTED_DEG:
        return ""
    return (
        f"{sun.source} gives {sun.described()}; {what} say {other.described()}, {apart:.1f} deg apart; "
        f"the former is used"
    )


def _time(path: str) -> datetime | None:
    """The time in a file's name, or None."""
    product = product_id(path)
    try:
        return utc_of(product) if product is not None else None
    except ValueError:
        # The digits of an invented id may give no time.
        return None


def _by_time(times: Sequence[datetime], kernels: Sequence[Path | str]) -> list[Sun]:
    track = subsolar_at(kernels, times)
    return [
        Sun.from_subsolar(
            float(lon), float(lat), f"time in the name, {utc}, and SPICE kernels", float(distance)
        )
        for lon, lat, utc, distance in zip(track.lon, track.lat, track.utc, track.distance_km, strict=True)
    ]


def _take_from_kernels(
    found: list[ResolvedSun],
    times: Sequence[datetime | None],
    lost: Sequence[int],
    kernels: Sequence[Path | str],
) -> None:
    """Set the Suns of images without one from the times in their names."""
    timed = [(k, time) for k in lost if (time := times[k]) is not None]
    if timed:
        suns = _by_time([time for _, time in timed], kernels)
        for (k, _), sun in zip(timed, suns, strict=True):
            found[k] = replace(found[k], sun=sun, source="name and kernels")


def _compare_with_kernels(
    found: list[ResolvedSun],
    times: Sequence[datetime | None],
    known: Sequence[int],
    kernels: Sequence[Path | str],
) -> None:
    """Add notes where the time in a name contradicts the Sun that an image already has."""
    timed = [(k, time) for k in known if (time := times[k]) is not None]
    if not timed:
        return
    try:
        suns = _by_time([time for _, time in timed], kernels)
    except ValueError as error:
        # The kernels are not needed here, and an invented id may give a time that they do not cover.
        for k, _ in timed:
            found[k] = _noted(found[k], f"the time in the name was not compared: {error}")
        return
    for (k, _), other in zip(timed, suns, strict=True):
        sun = found[k].sun
        assert sun is not None
        found[k] = _noted(found[k], _difference(sun, other, "the time in the name and the kernels"))


def _noted(image: ResolvedSun, note: str) -> ResolvedSun:
    return replace(image, note="; ".join(text for text in (image.note, note) if text))


def _explained(image: ResolvedSun, table: SunTable | None) -> ResolvedSun:
    """An image with a note on the sources searched, if no Sun was found."""
    if image.sun is not None:
        return image
    if table is None:
        row = "no table was given"
    elif image.row is not None:
        row = f"line {image.row.line} of {table.path} has the image without its Sun"
    else:
        row = f"{table.path} has no row by its path, file name, product id or exposure"
    product = product_id(image.path)
    if product is None:
        name = "its name contains no LROC product id"
    else:
        try:
            time = utc_of(product)
            name = f"its name gives {time:%Y-%m-%dT%H:%M:%S} UTC but no SPICE kernels were given"
        except ValueError as error:
            name = f"the product id in its name gives no time ({error})"
    tags = "its tags have neither SUB_SOLAR_LATITUDE and SUB_SOLAR_LONGITUDE nor SUN_POSITION"
    return _noted(image, f"no Sun: {row}; {tags}; {name}")
