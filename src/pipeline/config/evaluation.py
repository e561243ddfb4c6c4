"""Section ``evaluation``: the conditions under which systems are scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import PositiveInt, Section, Seed


class Condition(Section):
    """What the images of an evaluation look like."""

    light: Literal["arcs", "fibonacci", "scenes"] = "arcs"
    """``arcs`` (a named draw of `arcs.test`), ``fibonacci`` (the patch's Fibonacci images) or ``scenes``
    (one set of images rendered as section `scenes` says, of terrain that is not flattened)."""
    draw: str = "main"
    """the name in `arcs.test`."""
    images: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """largest number of a set's images, taken in the same order in all conditions; 0 for none, null for
    all."""
    apriori: Literal["cells", "errors", "altimetry"] = "cells"
    """with ``scenes``, the a priori heights of a patch: ``cells``, exact block means; ``errors``, block
    means with errors (`scenes.cell_error_px`); ``altimetry``, heights along simulated tracks (section
    `altimetry`), adjusted to each other and not shifted."""
    missing: bool = False
    """whether missing-data strips are applied: the stored ones; with ``scenes``, drawn by the keys of
    `masks.test`."""
    systems: Literal["all", "last", "primary", "rivals"] = "all"
    """which trained stages are scored: ``all``, the ``last`` of each system, only the ``primary``, or
    none but the ``rivals`` of section `predictors`, which are scored under every condition."""
    imperfections: bool = False
    """whether the images have the imperfections of `imperfections.test`."""
    nfe: Annotated[int, Field(ge=1, le=1000)] | None = None
    """network evaluations per clone; null takes the sampler's."""
    members: Annotated[int, Field(ge=2, le=1000)] | None = None
    """clones per patch; null takes the predictor's."""

    @model_validator(mode="after")
    def _has_strips(self) -> Condition:
        if self.missing and self.light == "fibonacci":
            raise ValueError("missing: expected false with light 'fibonacci' (strips belong to arc draws)")
        if self.apriori != "cells" and self.light != "scenes":
            raise ValueError(
                f"apriori: expected 'cells' with light {self.light!r} (only scenes have another), "
                f"found {self.apriori!r}"
            )
        return self


class EvaluationSection(Section):
    """Evaluation on the test split."""

    members: Annotated[int, Field(ge=2, le=1000)] = 10
    """clones per patch; the mean is their mean (published 10)."""
    conditions: dict[str, Condition] = Field(default={"main": Condition(missing=True)})
    """named conditions; `main` is the one that `systems` in metrics.json holds."""
    max_patches: PositiveInt | None = None
    """evaluate at most this many patches, evenly spread; null for all."""
    batch: PositiveInt = 16
    """patches per forward pass."""
    bootstrap: Annotated[int, Field(ge=10, le=100_000)] = 1000
    """resamples for the 95 % confidence intervals (over patches)."""
    seed: Seed = 0
    """seed of the clones, the images and imperfections of conditions, rank ties and the bootstrap."""

    @model_validator(mode="after")
    def _has_main(self) -> EvaluationSection:
        if "main" not in self.conditions:
            raise ValueError(f"conditions: expected one named 'main', found {sorted(self.conditions)}")
        found = self.conditions["main"].systems
        if found != "all":
            raise ValueError(f"conditions.main.systems: expected 'all', found {found!r}")
        return self
