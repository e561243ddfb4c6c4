"""Section ``arcs``: which Suns light a patch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.base import Range, Section, Seed

# YAML reads an unquoted ``true`` as a boolean.
_AsWord = BeforeValidator(lambda value: "true" if value is True else value)


class SunPlace(Section):
    """The place for which the Sun's position is computed; each kind of draw has its own assumed places."""

    place: Annotated[Literal["assumed", "true", "ephemeris"], _AsWord] = "assumed"
    """place for which the Sun's position is computed: ``assumed``, a drawn place (published); ``true``, the
    patch's own place, or the region's centre; or ``ephemeris``, the true place with the Sun's position from
    SPICE kernels (see that section)."""
    latitude: Range
    """range of the assumed latitude, degrees, drawn uniformly; refused where it would not be used."""
    longitude: Range
    """range of the assumed longitude, degrees east of the map's central meridian, drawn uniformly; refused
    where it would not be used."""
    declination: Range = Range(low=0, high=0)
    """range of the Sun's declination, degrees, drawn uniformly once per set of images (published 0; the
    Moon's seasons reach 1.59); refused with an ephemeris, which has its own."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.latitude.check_within("latitude", -90, 90)
        self.declination.check_within("declination", -1.6, 1.6)
        unused = {"assumed": (), "true": ("latitude", "longitude")}
        for name in unused.get(self.place, ("latitude", "longitude", "declination")):
            default, found = type(self).model_fields[name].default, getattr(self, name)
            if found != default:
                raise ValueError(
                    f"{name}: expected its default [{default.low:g}, {default.high:g}], since it is not "
                    f"drawn with place: {self.place}, found [{found.low:g}, {found.high:g}]"
                )
        return self


class ArcDraw(SunPlace):
    """Draw of a place, a declination of the Sun and an image set."""

    latitude: Range = Range(low=0, high=90)
    longitude: Range = Range(low=0, high=360)
    images: Range = Range(low=5, high=100)
    """range of the number of images per set, drawn uniformly, with replacement."""

    @model_validator(mode="after")
    def _possible_images(self) -> ArcDraw:
        self.images.check_within("images", 1, 10000)
        if self.images.low % 1 or self.images.high % 1:
            raise ValueError(f"images: expected whole numbers, found {self.images}")
        return self


class ArcsSection(Section):
    """Sun arcs over the fixed directions."""

    tolerance: Annotated[float, Field(gt=0, le=2)] = 0.1
    """largest chord distance of a fixed direction from the arc (published 0.1, about 5.7 deg)."""
    train: ArcDraw = ArcDraw()
    """drawn again for every training sample."""
    fibonacci: Literal["drawn", "all"] = "drawn"
    """images of a sample of the Fibonacci stage: ``all`` of its patch, each once (published), or ``drawn``
    with replacement, as many as `train.images`."""
    test: dict[str, ArcDraw] = Field(default={"main": ArcDraw(images=Range(low=75, high=75))}, min_length=1)
    """named draws, made once for every validation and test patch and stored."""
    seed: Seed = 0
    """seed of the draws of `test`."""

    @model_validator(mode="after")
    def _plain_names(self) -> ArcsSection:
        for name in self.test:
            if not name.isidentifier():
                raise ValueError(f"test: expected names of letters, digits and _, found {name!r}")
        return self
