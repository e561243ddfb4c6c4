"""Section ``predictors``: which rivals are scored beside the trained systems, and their options."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.config.base import Positive, Section, unlike
from pipeline.config.rivals import GanSection, GuidedSection, RegressionSection, SiranSection


class PhotometricSection(Section):
    """Photometric stereo in closed form (Woodham 1980; Frankot & Chellappa 1988).

    Attributes
    ----------
    damping : weight of the a priori normal against the mean of s sᵀ over a pixel's lit images: light for many
        Suns, firm for few.
    length_cells : a priori cells; longer scales are the a priori DEM's.
    """

    damping: Positive = 0.001
    length_cells: Positive = 2.0


#: Rivals that may have variants.
LEARNED = ("regression", "guided", "siran", "gan")
Variants = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")], dict[str, Any]]


class PredictorsSection(Section):
    """Rivals of the trained systems, scored under the same conditions.

    Attributes
    ----------
    scored : names from the registry of predictors, beside the bicubics and the VAE's floors; learned ones are
        trained.
    variants : further learned rivals: names (a letter, then letters and digits), the rival whose section they
        have (`of`), and the keys in which they differ from it.
    """

    scored: list[str] = Field(default=["photometric"])
    variants: Variants = Field(default={})
    photometric: PhotometricSection = PhotometricSection()
    regression: RegressionSection = RegressionSection()
    guided: GuidedSection = GuidedSection()
    siran: SiranSection = SiranSection()
    gan: GanSection = GanSection()

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
