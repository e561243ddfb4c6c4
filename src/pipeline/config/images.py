"""Section ``images``: how real images are prepared for a map."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import Positive, PositiveInt, Section, Share


class ImagesSection(Section):
    """Real images on the map's pixels."""

    per_job: PositiveInt = 16
    """images that one job prepares."""
    min_valid: Share = 0.9
    """share of a pixel's area that must have data."""
    light_m: Positive = 30_000.0
    """terrain of the DEM within so many metres of the map casts shadows."""
    far_m: Positive = 200_000.0
    """terrain of `site.far` within so many metres of the map casts shadows."""
    lowest_sun_deg: Annotated[float, Field(ge=0, lt=90)] = 0.5
    """images with a lower Sun at the map's centre are not used."""
    most_emission_deg: Annotated[float, Field(gt=0, le=90)] = 10.0
    """images whose index row has a larger emission angle are not used."""
    shift_sigma_m: Annotated[float, Field(ge=0)] | None = None
    """expected standard deviation of the images' misregistration, metres per axis: a shift is
    applied as far as its own uncertainty allows; null: half a pixel of the map, at least 20 m."""
    max_shift_m: Positive | None = None
    """images with a larger estimated displacement are not used; null: five pixels of the map, at least
    200 m."""
    withhold: Share = 0.1
    """share of the images that are withheld from the map, to be compared with it."""
    withhold_least: PositiveInt = 3
    """smallest number of withheld images."""
    check_from: PositiveInt = 8
    """with fewer images than this, none is withheld."""

    def shift_sigma(self, pixel_m: float) -> float:
        """`shift_sigma_m`, or its default for a map of such pixels, metres."""
        return max(20.0, 0.5 * pixel_m) if self.shift_sigma_m is None else self.shift_sigma_m

    def max_shift(self, pixel_m: float) -> float:
        """`max_shift_m`, or its default for a map of such pixels, metres."""
        return max(200.0, 5 * pixel_m) if self.max_shift_m is None else self.max_shift_m

    def withheld_of(self, usable: int) -> int:
        """How many of so many usable images are withheld."""
        if usable < self.check_from or not self.withhold:
            return 0
        return min(max(self.withhold_least, round(self.withhold * usable)), usable // 2)
