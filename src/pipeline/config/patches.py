"""Sections ``patches``, ``coverage`` and ``split``: which terrain becomes a training example."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import PositiveInt, Section, Seed, Share


class PatchesSection(Section):
    """Patch geometry.

    Attributes
    ----------
    size_px : side of a patch, pixels (published 96).
    factor : super-resolution factor (published 16); must divide `size_px`.
    halo_px : surrounding terrain kept around a patch, at most, pixels.
    stride_px : distance between training patches (published 96); must divide `size_px`.
    tiles : number of jobs the terrain is cut into.
    """

    size_px: Annotated[int, Field(ge=16, le=1024)] = 96
    factor: Annotated[int, Field(ge=2, le=64)] = 16
    halo_px: Annotated[int, Field(ge=0, le=1024)] = 32
    stride_px: PositiveInt = 96
    tiles: Annotated[int, Field(ge=1, le=1000)] = 40

    @model_validator(mode="after")
    def _divides(self) -> PatchesSection:
        if self.size_px % self.factor:
            raise ValueError(f"factor: expected a divisor of size_px = {self.size_px}, found {self.factor}")
        if self.halo_px % self.factor:
            raise ValueError(
                f"halo_px: expected a multiple of factor = {self.factor} (whole a priori pixels), "
                f"found {self.halo_px}"
            )
        if self.size_px % self.stride_px:
            raise ValueError(
                f"stride_px: expected a divisor of size_px = {self.size_px}, found {self.stride_px}"
            )
        return self

    @property
    def lr_px(self) -> int:
        """Side of the a priori patch, pixels (published 6)."""
        return self.size_px // self.factor


class CoverageSection(Section):
    """Altimetry coverage filter: keep a patch with enough pixels that hold a LOLA spot.

    Attributes
    ----------
    min_share : least share of pixels with count > 0 (published 2242 of 9216); 0 needs no count map.
    """

    min_share: Share = 2242 / 9216


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
            raise ValueError(
                f"validation + test: expected less than 1, found {self.validation + self.test:g}"
            )
        if bool(self.test_sites) != bool(self.validation_sites):
            raise ValueError("validation_sites and test_sites: expected both or neither")
        if self.test_sites and self.method != "site":
            raise ValueError(f"test_sites: expected method 'site', found {self.method!r}")
        return self
