"""Section ``scenes``: image sets that are rendered for training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.config.base import Positive, Range, Section, Seed, Share, unlike
from pipeline.config.photometry import LawName


class SceneSuns(Section):
    """Which Suns the images of a set have."""

    own: Share = 0.5
    """share of the sets with the Sun of the patch's own latitude; the others have that of a latitude drawn
    uniformly in `latitude`, with a map that is rotated at random."""
    latitude: Range = Range(low=45, high=90)
    """range of those latitudes, degrees, of either hemisphere."""
    declination: Range = Range(low=-1.59, high=1.59)
    """range of the Sun's declination, degrees, one per image at a random time of the year: the middle of
    the range plus half its width times the sine of a uniform angle."""
    elevation: Range = Range(low=1, high=80)
    """least and greatest elevation of the Sun, degrees."""
    one_side: Share = 0.2
    """share of the sets whose Suns lie within a window of azimuth, 60 to 180 degrees wide."""

    @model_validator(mode="after")
    def _possible(self) -> SceneSuns:
        self.latitude.check_within("latitude", 0, 90)
        self.declination.check_within("declination", -1.6, 1.6)
        self.elevation.check_within("elevation", 0.1, 89)
        if self.elevation.low == self.elevation.high:
            raise ValueError(unlike("elevation", "low < high", self.elevation))
        return self


class RenderedScenes(Section):
    """Image sets of each training and validation patch: a fine mesh under the light of true places.

    Far terrain and the halo are those of `illumination`.
    """

    sets: Annotated[int, Field(ge=1, le=255)] = 2
    """image sets per patch."""
    images: Annotated[int, Field(ge=1, le=1000)] = 40
    """images per set."""
    mesh: Annotated[int, Field(ge=1, le=8)] = 4
    """cells of the rendered surface per pixel along an axis."""
    suns: SceneSuns = SceneSuns()
    laws: list[LawName] = Field(default=["lambert", "lunar_lambert", "hapke"], min_length=1)
    """laws of reflectance, of which each set draws one, with equal chances."""
    theta_deg: Range = Range(low=0, high=30)
    """range of the mean slope within a pixel, degrees, drawn uniformly per set, with ``hapke``."""
    limb: Range = Range(low=0.5, high=1.5)
    """range of a factor on L of ``lunar_lambert``, drawn uniformly per set; 0 makes it ``lambert``."""
    shift_px: Annotated[float, Field(ge=0, le=2)] = 0.6
    """misregistration: each set draws a standard deviation uniformly up to this one, and each image its
    shift along both axes with it, at most 2 pixels."""
    common_px: Annotated[float, Field(ge=0, le=2)] = 0.3
    """standard deviation of a shift along both axes that all images of a set share; at most 2 pixels."""
    lit: Share = 0.05
    """least share of a patch from which the Sun's centre is visible; a Sun that lights less is drawn again,
    up to four times."""
    disc_deg: Annotated[Positive, Field(le=10)] = 0.533
    """diameter of the Sun's disc, degrees."""
    curvature: bool = True
    """bend the surrounding terrain with the Moon's surface."""
    gentle: Share = 0.0
    """share of the sets whose terrain is flattened, since mid latitudes and larger pixels have gentler
    slopes."""
    relief: Range = Range(low=0.3, high=1.0)
    """range of the factor on its heights, drawn log-uniformly per set."""
    seed: Seed = 0
    """seed of the rendered image sets."""

    @model_validator(mode="after")
    def _possible(self) -> RenderedScenes:
        self.relief.check_within("relief", 0.01, 1.0)
        self.theta_deg.check_within("theta_deg", 0, 59)
        self.limb.check_within("limb", 0, 1.5)
        if len(set(self.laws)) != len(self.laws):
            raise ValueError(unlike("laws", "each law once", self.laws))
        return self

    @property
    def used_laws(self) -> list[str]:
        """Laws with which images are rendered: a factor on L mixes in Lambert's law."""
        return list(dict.fromkeys([*self.laws, *(["lambert"] if "lunar_lambert" in self.laws else [])]))


class ScenesSection(RenderedScenes):
    """Image sets of each training and validation patch, and which of them a training uses.

    Without this section a run renders none.
    """

    altimetry_share: Share = 0.5
    """share of the training samples whose a priori DEM is altimetry, with `patches.apriori` ``mixed``."""
    cell_error_share: Share = 0.25
    """share of the others whose block means have errors."""
    cell_error_px: Range = Range(low=0.005, high=0.2)
    """range of their standard deviation, pixels, drawn log-uniformly."""
    unexpected_share: Share = 0.15
    """share of the samples without a map of where the whole Sun is expected to be visible."""
    pairs_share: Share = 0.0
    """share of the images that are given twice, as left and right frames of one id: with the same Sun and
    shift, and missing data and noise of their own."""
    images_power: Annotated[float, Field(ge=0, le=10)] = 1.5
    """power p of a uniform number u: of n images of a set, floor((n + 1) u^p) are used."""

    @model_validator(mode="after")
    def _positive_errors(self) -> ScenesSection:
        self.cell_error_px.check_positive("cell_error_px")
        return self

    @property
    def rendered(self) -> RenderedScenes:
        """What the images depend on."""
        return RenderedScenes(**{name: getattr(self, name) for name in RenderedScenes.model_fields})
