"""Section ``ephemeris``: where the Sun stood, by SPICE kernels."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.base import Positive, Section, unlike

# A track is compared with all fixed directions for every image set that is drawn.
MOST_TIMES = 20_000


def parse_utc(text: str) -> datetime:
    """A UTC time from ISO text, ``2010-01-01`` or ``2010-01-01T12:30:00.5``, with or without a ``Z``.

    Raises
    ------
    ValueError
        If the text is no ISO date or time, or names another time zone.
    """
    expected = "expected an ISO date or time in UTC, like 2010-01-01T12:30:00"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{expected}, found {text!r}") from None
    if time.utcoffset():
        raise ValueError(f"{expected}, found another time zone in {text!r}")
    return time.replace(tzinfo=UTC)


def _checked_utc(text: str) -> str:
    parse_utc(text)
    return text


Utc = Annotated[str, AfterValidator(_checked_utc)]


class EphemerisSection(Section):
    """The Sun's track, for arcs and regions with ``place: ephemeris``; otherwise it is not used."""

    kernels: list[str] = Field(default=[])
    """SPICE kernel files, later ones over earlier ones: leap seconds, the Sun and the Moon (SPK), the
    Moon's orientation (text PCK, or binary PCK with its frame kernel); they are identified by content."""
    start: Utc = "2010-01-01"
    """first time, ISO, UTC."""
    stop: Utc = "2011-01-01"
    """last time at most, ISO, UTC; a year holds all seasons."""
    step_hours: Annotated[Positive, Field(le=24 * 366)] = 6.0
    """time between two positions, hours (the Sun moves half a degree an hour)."""

    @model_validator(mode="after")
    def _possible(self) -> EphemerisSection:
        span = (parse_utc(self.stop) - parse_utc(self.start)).total_seconds()
        if span < 0:
            raise ValueError(f"stop: expected a time from start = {self.start} on, found {self.stop}")
        times = span / (3600 * self.step_hours) + 1
        if times > MOST_TIMES:
            raise ValueError(
                unlike("step_hours", f"at most {MOST_TIMES} times from start to stop", f"{times:.0f}")
            )
        if len(set(self.kernels)) != len(self.kernels):
            raise ValueError(f"kernels: expected each file once, found {self.kernels}")
        return self
