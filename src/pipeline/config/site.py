"""Section ``site``: a user's data of a site, to make a map of it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.base import Positive, PositiveInt, Section, unlike

#: Keys of `site` that name one file.
SITE_FILES = ("dem", "count", "error", "far", "suns", "exposures", "points")


class SiteSection(Section):
    """A DEM, its images and their Sun positions. With a `dem`, the run makes a map and trains nothing."""

    dem: str | None = None
    """a priori DEM, a GeoTIFF (or PDS3 image) in any lunar projection; null for a run without a map."""
    count: str | None = None
    """altimetry spots per pixel, on the DEM's grid; null for none."""
    error: str | None = None
    """1-sigma error of the DEM, metres, on the DEM's grid; null for none."""
    far: str | None = None
    """coarse DEM for the horizon, `images.far_m` around the map; null casts shadows within the DEM only."""
    height_unit: Literal["m", "km"] | None = None
    """``m`` or ``km``; null takes the file's, metres where it gives none."""
    images: str | list[str] | None = None
    """paths or globs of map-projected images; null for a map without images."""
    suns: str | None = None
    """table of Sun positions: LROC's index, a CSV with its columns, or a list of the Ames Stereo Pipeline;
    null for tags in the images, or their ids with `kernels`."""
    exposures: str | None = None
    """list of the Ames Stereo Pipeline, a line ``image value`` each, in any common unit, from which the
    ratios of the images' brightness are taken; null matches each image with the DEM."""
    kernels: list[str] = Field(default=[])
    """SPICE kernels for images whose id gives the time."""
    points: str | None = None
    """CSV with columns ``lon``, ``lat``, ``height`` (degrees, metres), e.g. LOLA shots, with which the a
    priori DEM and the map are compared; null for none."""
    pixel_m: Positive | None = None
    """pixel size of the map, metres; null takes the DEM's. A DEM with pixels `patches.factor` times as
    large is coarse, one with the same pixels is fine; any other is resampled."""
    exact_cells: bool | None = None
    """whether the map keeps the mean height of each cell; null: true for a coarse DEM only."""
    crs: str | None = None
    """CRS of `center_m` and `bounds`; null for the DEM's."""
    bounds: tuple[float, float, float, float] | None = None
    """left, bottom, right, top of the map; null takes `center_m`, or all of the DEM."""
    center_m: tuple[float, float] | None = None
    """centre of the map: a pixel's corner for an even `size_px`, which is given with it."""
    size_px: PositiveInt | None = None
    """side of the map, pixels."""

    @model_validator(mode="after")
    def _one_place(self) -> SiteSection:
        given = [
            n for n in type(self).model_fields if n not in ("dem", "kernels") and getattr(self, n) is not None
        ]
        if self.dem is None and (given or self.kernels):
            raise ValueError(unlike("dem", f"a DEM, since {(given or ['kernels'])[0]} is given", "null"))
        if (self.center_m is None) != (self.size_px is None):
            known = "center_m" if self.size_px is None else "size_px"
            other = "size_px" if self.size_px is None else "center_m"
            raise ValueError(unlike(other, f"a value, since {known} is given", "null"))
        if self.bounds is not None:
            if self.center_m is not None:
                raise ValueError(unlike("bounds", "null, since center_m is given", self.bounds))
            left, bottom, right, top = self.bounds
            if not (left < right and bottom < top and all(map(math.isfinite, self.bounds))):
                raise ValueError(unlike("bounds", "left < right and bottom < top", self.bounds))
        return self

    @property
    def image_entries(self) -> list[str]:
        """`images` as a list."""
        return [self.images] if isinstance(self.images, str) else list(self.images or ())
