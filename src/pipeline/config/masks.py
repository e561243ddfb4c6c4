"""Section ``masks``: missing data of images."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Range, Section, Seed, Share


class BlockDraw(Section):
    """Rectangles without data in an image (saturated or dark): at most two."""

    share: Share = 0.1
    """probability of each of the two."""
    size_px: Range = Range(low=4, high=16)
    """range of a block's width and of its height, pixels, drawn uniformly and rounded."""

    @model_validator(mode="after")
    def _whole_pixels(self) -> BlockDraw:
        if self.size_px.low < 1:
            raise ValueError(f"size_px: expected at least 1, found {self.size_px.low:g}")
        return self


class MaskKind(Section):
    """Missing data: an image keeps one strip."""

    kind: Literal["strip", "nac"] = "strip"
    """``strip`` (published: any direction, centred on a diagonal of the patch, or on a random point of
    a region) or ``nac`` (the swath of the Lunar Reconnaissance Orbiter's Narrow Angle Cameras, with its
    direction at the centre; its keys follow `share`)."""


class StripWidth(MaskKind):
    """Width of a ``strip``, drawn for each image."""

    half_width_px: Range = Range(low=25, high=50)
    """range of the half-width of a ``strip``, pixels (published 25 to 50)."""

    @model_validator(mode="after")
    def _positive_width(self) -> Self:
        self.half_width_px.check_positive("half_width_px")
        return self


class Missing(MaskKind):
    """Which images lose data, and the swath of a ``nac`` image."""

    share: Share = 1.0
    """share of the images that lose data."""
    width_m: Range = Range(low=2500, high=5000)
    """range of the swath's width, m: one camera's 2.5 km to both cameras' 5 km from 50 km above."""
    inclination_deg: Range = Range(low=85, high=95)
    """range of the orbit's inclination, degrees: the swath runs along the ground track."""
    azimuth_jitter_deg: Annotated[float, Field(ge=0, le=45)] = 2.0
    """standard deviation of the swath's azimuth about the orbit's (slews), degrees."""
    seam_px: Range = Range(low=1, high=3)
    """range of the width of the seam between the left and the right camera, pixels."""
    seam_share: Share = 0.5
    """probability of a seam without data along the swath's middle."""
    blocks: BlockDraw = BlockDraw()
    """rectangles without data."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.width_m.check_positive("width_m")
        self.seam_px.check_positive("seam_px")
        self.inclination_deg.check_within("inclination_deg", 0, 180)
        return self


class StripDraw(Missing, StripWidth):
    """Missing data of a patch's images: strips of drawn widths, or swaths."""


class MasksSection(Section):
    """Missing-data strips: `train` drawn for every sample, `test` drawn once and stored."""

    train: StripDraw = StripDraw()
    test: StripDraw = StripDraw()
    seed: Seed = 0
    """seed of the stored draws of `test`."""
