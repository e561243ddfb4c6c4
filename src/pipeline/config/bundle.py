"""Section ``bundle``."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BeforeValidator, Field

from pipeline.config.base import PositiveInt, Section

_DATE = r"^\d{4}-\d{2}-\d{2}$"
# YAML takes a bare date for one.
_AsText = BeforeValidator(lambda value: value.isoformat() if isinstance(value, date) else value)


class BundleSection(Section):
    """What a reviewer gets."""

    patches: PositiveInt | None = 8
    """test patches whose shards are shipped, so that their evaluation can be run again; the first ones, in
    whole batches (`evaluation.batch`); null ships all that are evaluated."""
    published: Annotated[str, _AsText, Field(pattern=_DATE)] = "2026-12-01"
    """date in the archive's metadata, not the day of the run: equal results give equal bytes."""
