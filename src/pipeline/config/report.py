"""Section ``report``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import Section


class ReportSection(Section):
    """What the report shows."""

    patches: Annotated[int, Field(ge=1, le=24)] = 4
    """test patches shown as hillshades."""
