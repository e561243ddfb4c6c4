"""Sections of the stages ``shards``, ``shards_test``, ``manifest`` and ``manifest_test``."""

from __future__ import annotations

from pipeline.config.base import PositiveInt, Section
from pipeline.config.photometry import PhotometrySection


class ShardsStage(Section):
    """Stages ``shards`` and ``shards_test``; `radiance` is the law of the plain images, if any."""

    factor: PositiveInt
    radiance: PhotometrySection | None = None


class ManifestStage(Section):
    """Stages ``manifest`` and ``manifest_test``; without `statistics_patches` there are no statistics."""

    statistics_patches: PositiveInt | None = None
