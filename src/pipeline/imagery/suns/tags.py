"""The Sun in the tags of an image file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.config.base import unlike
from pipeline.imagery.suns.sun import Sun, checked

# Names are compared without case, blanks and underscores: SUB_SOLAR_LATITUDE, SubSolarLatitude.
_LAT, _LON, _POSITION = "SUBSOLARLATITUDE", "SUBSOLARLONGITUDE", "SUNPOSITION"
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(?:<?deg(?:rees?)?>?)?", re.IGNORECASE)
_NONE = {"", "N/A", "NULL", "UNK"}
# Tolerance between the two notations; a position has more digits than a table's angles.
_SAME_DEG = 0.5


def sun_from_tags(tags: Mapping[str, str]) -> Sun | None:
    """The Sun from a file's tags, or None where they have none.

    Parameters
    ----------
    tags : names and texts. SUB_SOLAR_LATITUDE and SUB_SOLAR_LONGITUDE, degrees, and SUN_POSITION, ``x y z``
        in metres, body-fixed, are read; the latter is preferred. Case and underscores of names are ignored.

    Raises
    ------
    ValueError
        If such a tag is malformed, one of latitude and longitude is missing, the Sun is impossible, or the
        tags contradict each other by more than 0.5 deg.
    """
    texts = {re.sub(r"[\s_]+", "", name).upper(): str(text).strip() for name, text in tags.items()}
    texts = {name: text for name, text in texts.items() if text.upper() not in _NONE}
    position = _position(texts[_POSITION]) if _POSITION in texts else None
    point = None
    if _LAT in texts or _LON in texts:
        lat, lon = (_degrees(texts, name) for name in (_LAT, _LON))
        try:
            point = checked(Sun.from_subsolar(lon, lat, "tags SUB_SOLAR_LATITUDE and SUB_SOLAR_LONGITUDE"))
        except ValueError as error:
            raise ValueError(f"tags SUB_SOLAR_LATITUDE and SUB_SOLAR_LONGITUDE: {error}") from None
    if position and point and position.separation_deg(point) > _SAME_DEG:
        found = f"{position.described()} and {point.described()}"
        raise ValueError(
            unlike("tags SUN_POSITION and SUB_SOLAR_LATITUDE, SUB_SOLAR_LONGITUDE", "one Sun", found)
        )
    return position or point


def _position(text: str) -> Sun:
    words = re.split(r"[\s,]+", re.sub(r"^[\[(]|[\])]$", "", text).strip())
    try:
        x, y, z = (float(word) for word in words)
    except ValueError:
        raise ValueError(unlike("tag SUN_POSITION", "x y z in metres", repr(text))) from None
    try:
        return checked(Sun.from_position(x, y, z, "tag SUN_POSITION"))
    except ValueError as error:
        raise ValueError(f"tag SUN_POSITION: {error}") from None


def _degrees(texts: Mapping[str, str], name: str) -> float:
    match = _NUMBER.fullmatch(texts.get(name, ""))
    if match is None:
        shown = "SUB_SOLAR_LATITUDE" if name == _LAT else "SUB_SOLAR_LONGITUDE"
        raise ValueError(unlike(f"tag {shown}", "a number of degrees", repr(texts.get(name))))
    return float(match.group(1))
