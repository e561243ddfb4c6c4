"""Sections of the stages that make a map."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import PositiveInt, Section
from pipeline.config.bridge import SamplerSection
from pipeline.config.images import ImagesSection
from pipeline.config.maps import MapSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.site import SiteSection


class SiteStage(Section):
    """What a site's a priori DEM and survey depend on; `files` are the role, name and digest of each file."""

    site: SiteSection
    images: ImagesSection
    factor: PositiveInt
    size_px: PositiveInt
    halo_px: PositiveInt
    files: list[list[str]]


class PrepareStage(Section):
    """What prepared images depend on; `again` marks the second time, against the first reconstruction."""

    images: ImagesSection
    photometry: PhotometrySection
    again: bool
    cpu_threads: PositiveInt


class ClonesStage(Section):
    """What clones of windows depend on; `weights` are digests of the given weights.

    `members` replaces that of `map` where fewer are drawn; `role` says which images the clones use:
    ``first`` means those that the first preparation does not withhold.
    """

    map: MapSection
    images: ImagesSection
    sampler: SamplerSection
    weights: dict[str, str] = Field(default={})
    members: PositiveInt
    role: Literal["first", "map", "all"] = "map"
    cpu_threads: PositiveInt


class BlendStage(Section):
    """What the first reconstruction depends on."""

    map: MapSection
    members: PositiveInt


class CheckStage(Section):
    """What the comparison with withheld images depends on."""

    map: MapSection
    images: ImagesSection
    photometry: PhotometrySection
    cpu_threads: PositiveInt


class MapStage(Section):
    """What a map's products depend on; `config` is the key of the whole configuration."""

    map: MapSection
    site: SiteSection
    images: ImagesSection
    photometry: PhotometrySection
    sampler: SamplerSection
    weights: dict[str, str] = Field(default={})
    config: str
