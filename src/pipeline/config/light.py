"""Sections ``illumination``, ``arcs``, ``masks`` and ``photometry``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Positive, PositiveInt, Range, Section, Seed, Share


class IlluminationSection(Section):
    """Ray-traced visibility of the Sun.

    Attributes
    ----------
    engine : ``embree`` (the reference) or ``horizon`` (the fast path).
    halo_px : how much of the patch's halo casts shadows (published 0: the patch's own terrain only).
    sun : ``point`` (published) or ``disc`` (visible share of the Sun's disc).
    disc_deg : diameter of the Sun's disc, degrees.
    curvature : bend the surrounding terrain with the Moon's surface.
    fibonacci : directions a patch in the Fibonacci group.
    jitter_deg : standard deviation of the Fibonacci jitter, degrees, drawn per patch.
    """

    engine: Literal["embree", "horizon"] = "embree"
    halo_px: Annotated[int, Field(ge=0)] = 0
    sun: Literal["point", "disc"] = "point"
    disc_deg: Positive = 0.533
    curvature: bool = False
    fibonacci: Annotated[int, Field(ge=1, le=1000)] = 30
    jitter_deg: Annotated[float, Field(ge=0, le=45)] = 3.0
    seed: Seed = 0


class ArcDraw(Section):
    """How an assumed place and an image set are drawn.

    Attributes
    ----------
    latitude : range of the assumed latitude, degrees, drawn uniformly.
    longitude : range of the assumed longitude, degrees, drawn uniformly.
    images : range of the number of images a set, drawn uniformly, with replacement.
    """

    latitude: Range = Range(low=0, high=90)
    longitude: Range = Range(low=0, high=360)
    images: Range = Range(low=5, high=100)

    @model_validator(mode="after")
    def _possible(self) -> ArcDraw:
        if not (-90 <= self.latitude.low and self.latitude.high <= 90):
            raise ValueError(f"latitude: expected within [-90, 90], found {self.latitude}")
        if not (1 <= self.images.low and self.images.high <= 10000):
            raise ValueError(f"images: expected within [1, 10000], found {self.images}")
        if self.images.low % 1 or self.images.high % 1:
            raise ValueError(f"images: expected whole numbers, found {self.images}")
        return self


class ArcsSection(Section):
    """Sun arcs over the fixed directions.

    Attributes
    ----------
    tolerance : largest chord distance of a fixed direction from the arc (published 0.1, about 5.7 deg).
    train : drawn anew for every training sample; its range of images holds in the Fibonacci stage too.
    test : named draws, made once for every validation and test patch and stored.
    """

    tolerance: Annotated[float, Field(gt=0, le=2)] = 0.1
    train: ArcDraw = ArcDraw()
    test: dict[str, ArcDraw] = Field(default={"main": ArcDraw(images=Range(low=75, high=75))}, min_length=1)
    seed: Seed = 0

    @model_validator(mode="after")
    def _plain_names(self) -> ArcsSection:
        for name in self.test:
            if not name.isidentifier():
                raise ValueError(f"test: expected names of letters, digits and _, found {name!r}")
        return self


class StripDraw(Section):
    """Missing data: an image keeps one strip.

    Attributes
    ----------
    half_width_px : range of the strip's half-width, pixels (published 25 to 50).
    share : share of the images that lose data.
    """

    half_width_px: Range = Range(low=25, high=50)
    share: Share = 1.0

    @model_validator(mode="after")
    def _positive(self) -> StripDraw:
        if self.half_width_px.low <= 0:
            raise ValueError(f"half_width_px: expected > 0, found {self.half_width_px.low}")
        return self


class MasksSection(Section):
    """Missing-data strips: `train` anew for every sample, `test` drawn once and stored."""

    train: StripDraw = StripDraw()
    test: StripDraw = StripDraw()
    seed: Seed = 0


class PhotometrySection(Section):
    """Reflectance, applied when a sample is read.

    Attributes
    ----------
    law : ``exponential`` (published), ``lambert`` or ``lunar_lambert``.
    phase_unit : unit of the phase angle in the exponential law; the published run had radians.
    albedo : normal albedo that scales the radiance.
    """

    law: Literal["exponential", "lambert", "lunar_lambert"] = "exponential"
    phase_unit: Literal["radians", "degrees"] = "radians"
    albedo: Annotated[float, Field(gt=0, le=1)] = 0.1


class ShardsSection(Section):
    """Training shards, one a tile and split.

    Attributes
    ----------
    statistics_patches : most training patches a shard contributes to the train-only statistics.
    """

    statistics_patches: PositiveInt = 2000
