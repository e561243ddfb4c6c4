"""Sections of the stages ``report`` and ``bundle``."""

from __future__ import annotations

from typing import Any

from pipeline.config.base import Section
from pipeline.config.bundle import BundleSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.report import ReportSection


class ReportStage(Section):
    """Stage ``report``; `config` is the key of the whole config, `pretrained` facts about given weights."""

    report: ReportSection
    photometry: PhotometrySection
    config: str
    pretrained: dict[str, Any] | None = None


class BundleStage(Section):
    """Stage ``bundle``; `config` is the key of the whole config."""

    bundle: BundleSection
    config: str
