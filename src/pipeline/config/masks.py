"""Section ``masks``: missing data of images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Range, Section, Seed, Share


class BlockDraw(Section):
    """Rectangles without data in an image (saturated or dark): at most two.

    Attributes
    ----------
    share : probability of each of the two.
    size_px : range of a block's width and of its height, pixels, drawn uniformly and rounded.
    """

    share: Share = 0.1
    size_px: Range = Range(low=4, high=16)

    @model_validator(mode="after")
    def _whole_pixels(self) -> BlockDraw:
        if self.size_px.low < 1:
            raise ValueError(f"size_px: expected at least 1, found {self.size_px.low:g}")
        return self


class StripDraw(Section):
    """Missing data: an image keeps one strip.

    Attributes
    ----------
    kind : ``strip`` (published: any direction, centred on a diagonal of the patch) or ``nac`` (the swath of
        the Lunar Reconnaissance Orbiter's Narrow Angle Cameras; its keys follow `share`).
    half_width_px : range of the half-width of a ``strip``, pixels (published 25 to 50).
    share : share of the images that lose data.
    width_m : range of the swath's width, m: one camera's 2.5 km to both cameras' 5 km from 50 km above.
    inclination_deg : range of the orbit's inclination, degrees: the swath runs as the orbit does there.
    azimuth_jitter_deg : standard deviation of the swath's azimuth about the orbit's (slews), degrees.
    seam_px : range of the width of the seam between the left and the right camera, pixels.
    seam_share : probability of a seam without data along the swath's middle.
    blocks : rectangles without data.
    """

    kind: Literal["strip", "nac"] = "strip"
    half_width_px: Range = Range(low=25, high=50)
    share: Share = 1.0
    width_m: Range = Range(low=2500, high=5000)
    inclination_deg: Range = Range(low=85, high=95)
    azimuth_jitter_deg: Annotated[float, Field(ge=0, le=45)] = 2.0
    seam_px: Range = Range(low=1, high=3)
    seam_share: Share = 0.5
    blocks: BlockDraw = BlockDraw()

    @model_validator(mode="after")
    def _positive(self) -> StripDraw:
        for key in ("half_width_px", "width_m", "seam_px"):
            low = getattr(self, key).low
            if low <= 0:
                raise ValueError(f"{key}: expected > 0, found {low}")
        if not (0 <= self.inclination_deg.low and self.inclination_deg.high <= 180):
            raise ValueError(f"inclination_deg: expected within [0, 180], found {self.inclination_deg}")
        return self


class MasksSection(Section):
    """Missing-data strips: `train` anew for every sample, `test` drawn once and stored."""

    train: StripDraw = StripDraw()
    test: StripDraw = StripDraw()
    seed: Seed = 0
