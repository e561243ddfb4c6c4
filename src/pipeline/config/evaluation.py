"""Section ``evaluation``: the conditions under which systems are scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import PositiveInt, Section, Seed


class Condition(Section):
    """What the images of an evaluation look like.

    Attributes
    ----------
    light : ``arcs`` (a named draw of `arcs.test`), ``fibonacci`` (the patch's Fibonacci images) or ``scenes``
        (one set of images rendered as section `scenes` says, of terrain that is not flattened).
    draw : the name in `arcs.test`.
    images : how many of a set's images there are at most, the same ones first in all conditions; 0 for none,
        null for all.
    apriori : with ``scenes``, what is known of a patch's heights: ``cells``, exact block means; ``errors``,
        block means with errors (`scenes.cell_error_px`); ``altimetry``, heights along simulated tracks
        (section `altimetry`), adjusted to each other and not shifted.
    missing : whether missing-data strips are applied: the stored ones; with ``scenes``, drawn as `masks.test`
        says.
    systems : which trained stages are scored: ``all``, the ``last`` of each system, the ``primary`` alone, or
        none but the ``rivals`` of section `predictors`, which every condition has.
    imperfections : whether the images have the imperfections of `imperfections.test`.
    nfe : network evaluations a clone; null takes the sampler's.
    members : clones per patch; null takes the predictor's.
    """

    light: Literal["arcs", "fibonacci", "scenes"] = "arcs"
    draw: str = "main"
    images: Annotated[int, Field(ge=0, le=10_000)] | None = None
    apriori: Literal["cells", "errors", "altimetry"] = "cells"
    missing: bool = False
    systems: Literal["all", "last", "primary", "rivals"] = "all"
    imperfections: bool = False
    nfe: Annotated[int, Field(ge=1, le=1000)] | None = None
    members: Annotated[int, Field(ge=2, le=1000)] | None = None

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
        found = self.conditions["main"].systems
        if found != "all":
            raise ValueError(f"conditions.main.systems: expected 'all', found {found!r}")
        return self
