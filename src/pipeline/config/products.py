"""Sections ``evaluation``, ``region`` and ``report``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Positive, PositiveInt, Section, Seed


class Condition(Section):
    """What the images of an evaluation look like.

    Attributes
    ----------
    light : ``arcs`` (a named draw of `arcs.test`) or ``fibonacci`` (the patch's Fibonacci images).
    draw : the name in `arcs.test`.
    missing : whether the stored missing-data strips are applied.
    systems : which trained stages are scored: ``all``, the ``last`` of each system, or the ``primary`` alone.
    imperfections : whether the images have the imperfections of `imperfections.test`.
    nfe : network evaluations a clone; null takes the sampler's.
    """

    light: Literal["arcs", "fibonacci"] = "arcs"
    draw: str = "main"
    missing: bool = False
    systems: Literal["all", "last", "primary"] = "all"
    imperfections: bool = False
    nfe: Annotated[int, Field(ge=1, le=1000)] | None = None

    @model_validator(mode="after")
    def _has_strips(self) -> Condition:
        if self.missing and self.light == "fibonacci":
            raise ValueError("missing: expected false with light 'fibonacci' (strips belong to arc draws)")
        return self


class EvaluationSection(Section):
    """Evaluation on the test split.

    Attributes
    ----------
    members : clones a patch; the mean is their mean (published 10).
    conditions : named conditions; `main` is the one that `systems` in metrics.json holds.
    max_patches : evaluate at most this many patches, evenly spread; null for all.
    batch : patches a forward pass.
    bootstrap : resamples for the 95 % confidence intervals (over patches).
    """

    members: Annotated[int, Field(ge=2, le=1000)] = 10
    conditions: dict[str, Condition] = Field(default={"main": Condition(missing=True)})
    max_patches: PositiveInt | None = None
    batch: PositiveInt = 16
    bootstrap: Annotated[int, Field(ge=10, le=100_000)] = 1000
    seed: Seed = 0

    @model_validator(mode="after")
    def _has_main(self) -> EvaluationSection:
        if "main" not in self.conditions:
            raise ValueError(f"conditions: expected one named 'main', found {sorted(self.conditions)}")
        if self.conditions["main"].systems != "all":
            found = self.conditions["main"].systems
            raise ValueError(f"conditions.main.systems: expected 'all', found {found!r}")
        return self


class RegionSection(Section):
    """A region reconstructed by a moving window.

    Attributes
    ----------
    size_px : side of the square region, pixels.
    center_m : map coordinates of its centre, metres; null picks the place with the most test patches.
    stride_px : step of the moving window (published 48).
    members : clones (published 4).
    images : images that light the region.
    latitude, longitude : assumed place of the Sun arc, degrees.
    half_width_px : half-width of the strip that each image keeps, pixels; null for whole images.
    blend_px : largest grassfire distance (published 48).
    blend_sigma_px : Gaussian blur of the weights (published 2).
    """

    size_px: Annotated[int, Field(ge=16)] = 480
    center_m: tuple[float, float] | None = None
    stride_px: PositiveInt = 48
    members: Annotated[int, Field(ge=2, le=1000)] = 4
    images: PositiveInt = 100
    latitude: Annotated[float, Field(ge=-90, le=90)] = 85.0
    longitude: Annotated[float, Field(ge=-360, le=360)] = 0.0
    half_width_px: Positive | None = 125.0
    blend_px: PositiveInt = 48
    blend_sigma_px: Annotated[float, Field(ge=0)] = 2.0
    seed: Seed = 0


class ReportSection(Section):
    """What the report shows.

    Attributes
    ----------
    patches : test patches shown as hillshades.
    """

    patches: Annotated[int, Field(ge=1, le=24)] = 4
