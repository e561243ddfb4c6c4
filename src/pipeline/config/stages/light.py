"""Sections of the stages ``far``, ``visibility``, ``scenes``, ``ephemeris``, ``arcs`` and ``masks``."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.arcs import ArcDraw
from pipeline.config.base import PositiveInt, Section, Seed
from pipeline.config.ephemeris import EphemerisSection
from pipeline.config.illumination import IlluminationSection
from pipeline.config.masks import StripDraw
from pipeline.config.scenes import RenderedScenes


class FarStage(Section):
    """Stage ``far``: side of a block of far terrain, pixels; digests of the coarse DEMs that continue it,
    and how far they do, m.
    """

    far_cell_px: PositiveInt
    coarse: list[str] = Field(default=[])
    reach_m: float = 0.0


class VisibilityStage(Section):
    """Stage ``visibility``."""

    illumination: IlluminationSection
    size_px: PositiveInt


class ScenesStage(Section):
    """Stages ``scenes`` and ``scenes_test``: their section, the splits whose patches are rendered, and what
    they share with ``visibility``.
    """

    scenes: RenderedScenes
    splits: list[str] = Field(default=["train", "validation"])
    size_px: PositiveInt
    factor: PositiveInt
    halo_px: int
    far_m: float
    far_cell_px: PositiveInt


class EphemerisStage(Section):
    """Stage ``ephemeris``: `kernels` of the section are digests here; `spiceypy` is the package's version."""

    ephemeris: EphemerisSection
    spiceypy: str | None


class ArcsStage(Section):
    """Stage ``arcs``: the named draws of ``arcs.test``."""

    tolerance: float
    test: dict[str, ArcDraw]
    seed: Seed


class MasksStage(Section):
    """Stage ``masks``: the strips of ``masks.test``."""

    test: StripDraw
    seed: Seed
    size_px: PositiveInt
