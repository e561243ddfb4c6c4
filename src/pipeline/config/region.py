"""Section ``region``: a map of any size."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.config.arcs import ArcDraw, SunPlace
from pipeline.config.base import PositiveInt, Range, Section, Seed, unlike
from pipeline.config.masks import Missing


class RegionLight(SunPlace):
    """How the Suns of a region's images are drawn: as in `arcs`, once for the region."""

    latitude: Range = Range(low=85, high=85)
    """range of the assumed latitude, degrees from the equator towards the pole of the region's map, drawn
    uniformly; refused where it would not be used."""
    longitude: Range = Range(low=0, high=0)

    @model_validator(mode="after")
    def _towards_the_pole(self) -> RegionLight:
        if self.latitude.low < 0:
            wanted = "within [0, 90], degrees towards the pole of the region's map"
            raise ValueError(unlike("latitude", wanted, self.latitude))
        return self

    def arc(self, pole: int, images: int) -> ArcDraw:
        """The equivalent draw of `images` images on the map of a pole (+1 north, -1 south)."""
        count = Range(low=images, high=images)
        if self.place != "assumed":
            return ArcDraw(place=self.place, declination=self.declination, images=count)
        low, high = sorted((pole * self.latitude.low, pole * self.latitude.high))
        latitude = Range(low=low, high=high)
        return ArcDraw(
            latitude=latitude, longitude=self.longitude, declination=self.declination, images=count
        )


class RegionMasks(Missing):
    """Missing data of a region's images: each keeps one strip or swath, drawn as those of `masks` are."""


class RegionSection(Section):
    """A region reconstructed by a moving window."""

    size_px: Annotated[int, Field(ge=16)] = 480
    """side of the square region, pixels."""
    center_m: tuple[float, float] | None = None
    """map coordinates of its centre, metres; null picks the square with the most test patches."""
    stride_px: PositiveInt = 48
    """step of the moving window (published 48)."""
    members: Annotated[int, Field(ge=2, le=1000)] = 4
    """clones (published 4)."""
    images: Annotated[int, Field(ge=1, le=10_000)] = 100
    """images that light the region."""
    light: RegionLight = RegionLight()
    """place for which the Sun of its images is computed."""
    half_width_px: Range | None = Range(low=125, high=125)
    """half-width of the strip that each image keeps, pixels, or a range from which that of each image is
    drawn (published 25 to 50); null for whole images."""
    masks: RegionMasks = RegionMasks()
    """kind of that strip; with ``nac``, `half_width_px` is not used."""
    blend_px: PositiveInt = 48
    """largest grassfire distance (published 48)."""
    blend_sigma_px: Annotated[float, Field(ge=0)] = 2.0
    """Gaussian blur of the weights (published 2)."""
    seed: Seed = 0
    """seed of the images' Suns and strips, the clones and rank ties."""

    @model_validator(mode="after")
    def _positive_width(self) -> RegionSection:
        if self.half_width_px is not None:
            self.half_width_px.check_positive("half_width_px")
        return self
