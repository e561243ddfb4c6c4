"""Section ``illumination``: how shadows are traced."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Positive, Section, Seed, Share


class IlluminationSection(Section):
    """Ray-traced visibility of the Sun."""

    engine: Literal["embree", "horizon"] = "embree"
    """``embree`` (the reference) or ``horizon`` (the fast path)."""
    halo_px: Annotated[int, Field(ge=0)] = 0
    """width of the part of the patch's halo that casts shadows, pixels (published 2: a margin against
    effects of the edge)."""
    sun: Literal["point", "disc"] = "point"
    """``point`` (published) or ``disc`` (visible share of the Sun's disc)."""
    disc_deg: Positive = 0.533
    """diameter of the Sun's disc, degrees."""
    limb_darkening: Share = 0.0
    """u of a disc whose brightness falls as 1 - u (1 - mu) from its centre (mu = 1) to its limb (mu = 0);
    0 is a uniform disc, sunlight has about 0.6 in the visible (Allen 1973)."""
    curvature: bool = False
    """bend the surrounding terrain with the Moon's surface."""
    far_m: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """how far from the patch's centre (or a region's corners) coarser terrain casts shadows, m; 0 for
    none."""
    far_cell_px: Annotated[int, Field(ge=2, le=256)] = 16
    """side of a block whose mean height stands for that terrain, pixels."""
    azimuth: Literal["up", "right"] = "right"
    """zero of the azimuths of the fixed and the Fibonacci directions: ``up`` (published:
    clockwise from map-up) or ``right`` (counter-clockwise from map-right; 24 of the 360 fixed differ)."""
    fibonacci: Annotated[int, Field(ge=1, le=1000)] = 30
    """directions per patch in the Fibonacci group."""
    jitter_deg: Annotated[float, Field(ge=0, le=45)] = 3.0
    """standard deviation of the Fibonacci jitter, degrees, drawn per patch."""
    seed: Seed = 0
    """seed of the jitter."""

    @model_validator(mode="after")
    def _far_beyond_the_halo(self) -> IlluminationSection:
        if self.far_m > 0 and self.halo_px < 2 * self.far_cell_px:
            raise ValueError(
                f"halo_px: expected at least 2 x illumination.far_cell_px = {2 * self.far_cell_px} where "
                f"illumination.far_m = {self.far_m:g} > 0 (a block beside a patch would hide its own fine "
                f"relief), found {self.halo_px}"
            )
        return self
