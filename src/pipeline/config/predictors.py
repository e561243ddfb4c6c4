"""Section ``predictors``: which rivals are scored beside the trained systems, and their options."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.config.base import Positive, PositiveInt, Section, unlike
from pipeline.config.names import BRIDGE_STAGES, PRETRAINED
from pipeline.config.photometry import LawName
from pipeline.config.pretrained import PretrainedSampler, PretrainedSection
from pipeline.config.rivals import GanSection, GuidedSection, RegressionSection, SiranSection
from pipeline.config.stochastic import DiffusionSection, YasudaSection

_NotNegative = Annotated[float, Field(ge=0)]


class PhotometricSection(Section):
    """Photometric stereo in closed form (Woodham 1980; Frankot & Chellappa 1988)."""

    damping: Positive = 0.001
    """weight of the a priori normal against the mean of s sᵀ over a pixel's lit images: it matters more
    with fewer Suns."""
    length_cells: Positive = 2.0
    """length in a priori cells; longer scales are taken from the a priori DEM."""


#: Rivals that may have variants.
LEARNED = ("regression", "guided", "siran", "gan", "yasuda", "diffusion")
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")]
Variants = dict[Name, dict[str, Any]]


class ShadingSection(Section):
    """Shape from shading: minimises the misfit of images, plus roughness, plus distance from the start.

    Names are those of the Ames Stereo Pipeline's `sfs` where they mean the same. Units are not: heights are
    in pixels and radiance is over the set's mean lit radiance, so that the program's usual values do not
    carry over.
    """

    reflectance: LawName = "lambert"
    """law of reflectance of the renderings, see `photometry.law`."""
    smoothness_weight: _NotNegative = 0.05
    """mu, of squared second differences of the heights."""
    initial_dem_constraint_weight: _NotNegative
    """lambda, of squared distances from the start: the a priori DEM, or a spline of its altimetry."""
    spot_constraint_weight: _NotNegative = 10.0
    """addition to lambda at pixels with altimetry."""
    albedo_constraint_weight: Positive = 1.0
    """weight of the squared logarithm of the albedo and of its gradient."""
    haze_constraint_weight: Positive = 2000.0
    """weight of squared haze, over the set's mean lit radiance, for each image."""
    shadow_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """share of an image's mean lit radiance below which a pixel is in shadow; it and its neighbours do not
    count."""
    robust_threshold: _NotNegative = 0.4
    """scale of Cauchy's loss of the residuals, over the set's mean lit radiance; 0 for plain squares."""
    coarse_levels: Annotated[int, Field(ge=0, le=6)] = 2
    """number of scales coarser than the pixels, each half as fine as the next."""
    max_coarse_iterations: PositiveInt = 2
    """Gauss-Newton steps on each coarse scale."""
    max_iterations: PositiveInt = 3
    """Gauss-Newton steps on the scale of the pixels."""


class SfsSection(ShadingSection):
    """Shape from shading from the a priori DEM."""

    initial_dem_constraint_weight: _NotNegative = 0.001


class HybridSection(ShadingSection):
    """Shape from shading that starts from the mean of the primary system's clones, and stays near it."""

    initial_dem_constraint_weight: _NotNegative = 0.1
    """lambda, of squared distances from the mean."""
    members: PositiveInt = 4
    """clones in that mean."""
    sampler: PretrainedSampler = PretrainedSampler()
    """how they are drawn."""


class PredictorsSection(Section):
    """Rivals of the trained systems, scored under the same conditions."""

    scored: list[str] = Field(default=["photometric"])
    """names from the registry of predictors, beside the bicubics and the VAE's floors; learned ones are
    trained."""
    variants: Variants = Field(default={})
    """further learned rivals: for each name (a letter, then letters and digits), the rival that it varies
    (`of`), and the keys in which it differs from it."""
    bridges: dict[Name, PretrainedSection] = Field(default={})
    """further bridges with given weights: for each name (a letter, then letters and digits), the keys of
    section ``pretrained``. The floors of their VAEs are scored too."""
    photometric: PhotometricSection = PhotometricSection()
    sfs: SfsSection = SfsSection()
    hybrid: HybridSection = HybridSection()
    regression: RegressionSection = RegressionSection()
    guided: GuidedSection = GuidedSection()
    siran: SiranSection = SiranSection()
    gan: GanSection = GanSection()
    yasuda: YasudaSection = YasudaSection()
    diffusion: DiffusionSection = DiffusionSection()

    def kind(self, name: str) -> str:
        """The registry's name of a predictor: a variant's is that of the rival that it varies."""
        return str(self.variants[name]["of"]) if name in self.variants else name

    def options(self, name: str) -> Section | None:
        """The section of a predictor or variant; None where it has none."""
        own: Section | None = getattr(self, self.kind(name), None)
        if name not in self.variants or own is None:
            return own
        keys = {key: value for key, value in self.variants[name].items() if key != "of"}
        merged = own.model_dump(mode="json")
        for key, value in keys.items():
            inner = merged.get(key)
            both = isinstance(inner, dict) and isinstance(value, dict)
            merged[key] = {**(inner or {}), **value} if both else value
        return type(own).model_validate(merged)

    @property
    def trains(self) -> list[str]:
        """Names of the scored rivals that are trained: the learned ones without given weights."""
        learned = [name for name in self.scored if self.kind(name) in LEARNED]
        return [name for name in learned if getattr(self.options(name), "weights", None) is None]

    @model_validator(mode="after")
    def _possible_bridges(self) -> Self:
        for name, section in self.bridges.items():
            where = f"bridges.{name}"
            if name in (*type(self).model_fields, *self.variants, *BRIDGE_STAGES, PRETRAINED):
                raise ValueError(
                    f"{where}: expected another name than that of a section or variant, found it"
                )
            if section.weights is None:
                raise ValueError(unlike(f"{where}.weights", "a folder of weights", "null"))
        return self

    @model_validator(mode="after")
    def _possible_variants(self) -> Self:
        for name, keys in self.variants.items():
            where = f"variants.{name}"
            if name in type(self).model_fields:
                raise ValueError(f"{where}: expected another name than that of a section, found it")
            if keys.get("of") not in LEARNED:
                raise ValueError(unlike(f"{where}.of", f"one of {', '.join(LEARNED)}", repr(keys.get("of"))))
            try:
                self.options(name)
            except ValidationError as error:
                first = error.errors()[0]
                path = ".".join([where, *(str(part) for part in first["loc"])])
                message = first["msg"].removeprefix("Value error, ")
                raise ValueError(f"{path}: {message}, found {first['input']!r}") from None
        return self
