"""Sections ``illumination``, ``arcs``, ``masks`` and ``shards``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.base import Positive, PositiveInt, Range, Section, Seed, Share


class IlluminationSection(Section):
    """Ray-traced visibility of the Sun.

    Attributes
    ----------
    engine : ``embree`` (the reference) or ``horizon`` (the fast path).
    halo_px : how much of the patch's halo casts shadows (published 0: the patch's own terrain only).
    sun : ``point`` (published) or ``disc`` (visible share of the Sun's disc).
    disc_deg : diameter of the Sun's disc, degrees.
    limb_darkening : u of a disc whose brightness falls as 1 - u (1 - mu) from its centre (mu = 1) to its limb
        (mu = 0); 0 is a uniform disc, sunlight has about 0.6 in the visible (Allen 1973).
    curvature : bend the surrounding terrain with the Moon's surface.
    far_m : how far from the patch's centre (or a region's corners) coarser terrain casts shadows, m; 0 for
        none.
    far_cell_px : side of a block whose mean height stands for that terrain, pixels.
    fibonacci : directions a patch in the Fibonacci group.
    jitter_deg : standard deviation of the Fibonacci jitter, degrees, drawn per patch.
    """

    engine: Literal["embree", "horizon"] = "embree"
    halo_px: Annotated[int, Field(ge=0)] = 0
    sun: Literal["point", "disc"] = "point"
    disc_deg: Positive = 0.533
    limb_darkening: Share = 0.0
    curvature: bool = False
    far_m: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    far_cell_px: Annotated[int, Field(ge=2, le=256)] = 16
    fibonacci: Annotated[int, Field(ge=1, le=1000)] = 30
    jitter_deg: Annotated[float, Field(ge=0, le=45)] = 3.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _far_beyond_the_halo(self) -> IlluminationSection:
        if self.far_m > 0 and self.halo_px < 2 * self.far_cell_px:
            raise ValueError(
                f"halo_px: expected at least 2 x illumination.far_cell_px = {2 * self.far_cell_px} where "
                f"illumination.far_m = {self.far_m:g} > 0 (a block beside a patch would hide its own fine "
                f"relief), found {self.halo_px}"
            )
        return self


def _place_word(value: object) -> object:
    """YAML reads an unquoted ``true`` as a boolean."""
    return "true" if value is True else value


class ArcDraw(Section):
    """How a place, a declination of the Sun and an image set are drawn.

    Attributes
    ----------
    place : where the Sun is seen from: an ``assumed`` place, drawn (published), the patch's ``true`` place,
        or its true place with the Sun where SPICE kernels put it (``ephemeris``, see that section).
    latitude : range of the assumed latitude, degrees, drawn uniformly; refused where it would not be used.
    longitude : range of the assumed longitude, degrees east of the map's central meridian, drawn uniformly;
        refused where it would not be used.
    declination : range of the Sun's declination, degrees, drawn uniformly once a set (published 0; the Moon's
        seasons reach 1.59); refused with an ephemeris, which has its own.
    images : range of the number of images a set, drawn uniformly, with replacement.
    """

    place: Annotated[Literal["assumed", "true", "ephemeris"], BeforeValidator(_place_word)] = "assumed"
    latitude: Range = Range(low=0, high=90)
    longitude: Range = Range(low=0, high=360)
    declination: Range = Range(low=0, high=0)
    images: Range = Range(low=5, high=100)

    @model_validator(mode="after")
    def _possible(self) -> ArcDraw:
        if not (-90 <= self.latitude.low and self.latitude.high <= 90):
            raise ValueError(f"latitude: expected within [-90, 90], found {self.latitude}")
        if not (-1.6 <= self.declination.low and self.declination.high <= 1.6):
            raise ValueError(f"declination: expected within [-1.6, 1.6], found {self.declination}")
        if not (1 <= self.images.low and self.images.high <= 10000):
            raise ValueError(f"images: expected within [1, 10000], found {self.images}")
        if self.images.low % 1 or self.images.high % 1:
            raise ValueError(f"images: expected whole numbers, found {self.images}")
        unused = {
            "assumed": (),
            "true": ("latitude", "longitude"),
            "ephemeris": ("latitude", "longitude", "declination"),
        }
        for name in unused[self.place]:
            default, found = type(self).model_fields[name].default, getattr(self, name)
            if found != default:
                raise ValueError(
                    f"{name}: expected its default [{default.low:g}, {default.high:g}], since it is not "
                    f"drawn with place: {self.place}, found [{found.low:g}, {found.high:g}]"
                )
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

    def of_place(self, *places: str) -> list[str]:
        """Keys of the draws with one of the given places, ``arcs.train`` first."""
        draws = {"arcs.train": self.train, **{f"arcs.test.{name}": draw for name, draw in self.test.items()}}
        return [key for key, draw in draws.items() if draw.place in places]


class BlockDraw(Section):
    """Rectangles without data in an image (saturated or dark): at most two.

    Attributes
    ----------
    share : probability of each of the two.
    size_px : range of a block's width and of its height, pixels, drawn uniformly and rounded.
    """

    share: Share = 0.1
    size_px: Range = Range(low=4, high=16)

    @model_validator(mode="after")
    def _whole_pixels(self) -> BlockDraw:
        if self.size_px.low < 1:
            raise ValueError(f"size_px: expected at least 1, found {self.size_px.low:g}")
        return self


class StripDraw(Section):
    """Missing data: an image keeps one strip.

    Attributes
    ----------
    kind : ``strip`` (published: any direction, centred on a diagonal of the patch) or ``nac`` (the swath of
        the Lunar Reconnaissance Orbiter's Narrow Angle Cameras; its keys follow `share`).
    half_width_px : range of the half-width of a ``strip``, pixels (published 25 to 50).
    share : share of the images that lose data.
    width_m : range of the swath's width, m: one camera's 2.5 km to both cameras' 5 km from 50 km above.
    inclination_deg : range of the orbit's inclination, degrees: the swath runs as the orbit does there.
    azimuth_jitter_deg : standard deviation of the swath's azimuth about the orbit's (slews), degrees.
    seam_px : range of the width of the seam between the left and the right camera, pixels.
    seam_share : probability of a seam without data along the swath's middle.
    blocks : rectangles without data.
    """

    kind: Literal["strip", "nac"] = "strip"
    half_width_px: Range = Range(low=25, high=50)
    share: Share = 1.0
    width_m: Range = Range(low=2500, high=5000)
    inclination_deg: Range = Range(low=85, high=95)
    azimuth_jitter_deg: Annotated[float, Field(ge=0, le=45)] = 2.0
    seam_px: Range = Range(low=1, high=3)
    seam_share: Share = 0.5
    blocks: BlockDraw = BlockDraw()

    @model_validator(mode="after")
    def _positive(self) -> StripDraw:
        for key in ("half_width_px", "width_m", "seam_px"):
            low = getattr(self, key).low
            if low <= 0:
                raise ValueError(f"{key}: expected > 0, found {low}")
        if not (0 <= self.inclination_deg.low and self.inclination_deg.high <= 180):
            raise ValueError(f"inclination_deg: expected within [0, 180], found {self.inclination_deg}")
        return self


class MasksSection(Section):
    """Missing-data strips: `train` anew for every sample, `test` drawn once and stored."""

    train: StripDraw = StripDraw()
    test: StripDraw = StripDraw()
    seed: Seed = 0


class ShardsSection(Section):
    """Training shards, one a tile and split.

    Attributes
    ----------
    statistics_patches : most training patches a shard contributes to the train-only statistics.
    radiance : also store plain images, for other uses: of the test patches alone, under the 360 fixed
        directions alone (not the Fibonacci ones); up to 6.6 MB a patch of 96 pixels a side.
    """

    statistics_patches: PositiveInt = 2000
    radiance: bool = False
