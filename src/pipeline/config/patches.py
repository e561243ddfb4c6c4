"""Section ``patches``: which terrain becomes a training example."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import PositiveInt, Section, unlike


class PatchesSection(Section):
    """Patch geometry."""

    size_px: Annotated[int, Field(ge=16, le=1024)] = 96
    """side of a patch, pixels (published 96)."""
    factor: Annotated[int, Field(ge=2, le=64)] = 16
    """super-resolution factor (published 16); must divide `size_px`."""
    halo_px: Annotated[int, Field(ge=0, le=1024)] = 32
    """surrounding terrain kept around a patch, at most, pixels."""
    stride_px: PositiveInt = 96
    """distance between training patches (published 96); must divide `size_px`."""
    origin: Literal["even", "corner"] = "even"
    """position of the grid of patches: ``corner`` (published: 2 px from the left and the bottom edge of each
    piece of terrain, rows upwards) or ``even`` (most patches, even margins, rows downwards)."""
    tiles: Annotated[int, Field(ge=1, le=1000)] = 40
    """number of jobs into which the terrain is divided."""

    @model_validator(mode="after")
    def _divides(self) -> PatchesSection:
        if self.size_px % self.factor:
            raise ValueError(unlike("factor", f"a divisor of size_px = {self.size_px}", self.factor))
        if self.halo_px % self.factor:
            wanted = f"a multiple of factor = {self.factor} (whole a priori pixels)"
            raise ValueError(unlike("halo_px", wanted, self.halo_px))
        if self.size_px % self.stride_px:
            raise ValueError(unlike("stride_px", f"a divisor of size_px = {self.size_px}", self.stride_px))
        return self
