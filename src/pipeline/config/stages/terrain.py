"""Sections of the stages ``terrain``, ``patches`` and ``split``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Positive, PositiveInt, Section
from pipeline.config.split import SplitSection


class TerrainStage(Section):
    """Stage ``terrain``: as in `InputsSection`, and what identifies the input files."""

    pixel_m: Positive | None
    rescale: bool = False
    blocks: list[int] = Field(default=[])
    files: list[list[str]] = Field(default=[])


class PatchesStage(Section):
    """Stage ``patches``: the geometry of `PatchesSection`, without the factor."""

    size_px: PositiveInt
    halo_px: int
    stride_px: PositiveInt
    tiles: PositiveInt
    origin: Literal["even", "corner"] = "even"


class SplitStage(Section):
    """Stage ``split``; the section's index files are digests here."""

    split: SplitSection
    size_px: PositiveInt
