"""Section of the stage ``region``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import PositiveInt, Section
from pipeline.config.bridge import SamplerSection
from pipeline.config.illumination import IlluminationSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.region import RegionSection


class RegionStage(Section):
    """What a region depends on; `weights` are digests of given weights, where there are any."""

    region: RegionSection
    photometry: PhotometrySection
    illumination: IlluminationSection
    tolerance: float
    factor: PositiveInt
    size_px: PositiveInt
    stride_px: PositiveInt
    origin: Literal["even", "corner"] = "even"
    sampler: SamplerSection
    weights: dict[str, str] = Field(default={})
    cpu_threads: PositiveInt
