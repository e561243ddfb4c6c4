"""Section ``split``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import PositiveInt, Section, Seed, unlike


class SplitSection(Section):
    """Train / validation / test split.

    Attributes
    ----------
    method : ``block`` (spatial blocks), ``site`` (connected pieces of terrain), ``random`` (published), or
        ``test``: every kept patch tests given weights (section `pretrained`), and nothing can be trained.
    validation, test : shares of the kept patches.
    block_px : side of a spatial block, pixels.
    gap_px : training patches this close to a validation or test patch are dropped.
    validation_sites, test_sites : name patterns of input files; with ``site``, pieces that hold a
        matching file are put there and the shares are ignored.
    """

    method: Literal["block", "site", "random", "test"] = "block"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    block_px: PositiveInt = 960
    gap_px: Annotated[int, Field(ge=0)] = 0
    validation_sites: list[str] = Field(default_factory=list)
    test_sites: list[str] = Field(default_factory=list)
    seed: Seed = 0

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitSection:
        if self.validation + self.test >= 1:
            raise ValueError(unlike("validation + test", "less than 1", f"{self.validation + self.test:g}"))
        if bool(self.test_sites) != bool(self.validation_sites):
            raise ValueError("validation_sites and test_sites: expected both or neither")
        if self.test_sites and self.method != "site":
            raise ValueError(f"test_sites: expected method 'site', found {self.method!r}")
        return self
