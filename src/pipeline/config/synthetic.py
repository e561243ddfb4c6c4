"""Section ``synthetic``: the seeded polar terrain generator."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import Positive, PositiveInt, Section, Seed


class SyntheticSection(Section):
    """Self-affine relief plus craters of all ages, with a LOLA-like count map.

    Attributes
    ----------
    size_px : side of the square DEM, pixels.
    pixel_m : pixel size, metres.
    hurst : Hurst exponent of the background relief.
    roughness_m : RMS height difference of the background over ``1 km``, metres.
    crater_density : multiplies the production function (1 = the tuned value).
    depth_diameter : depth over diameter of a fresh crater.
    largest_crater_m : diameter of the largest crater drawn, metres.
    track_spacing_m : mean distance between ground tracks at the tile's far corner, metres.
    center_x_m, center_y_m : map coordinates of the tile's centre (south polar stereographic).
    """

    size_px: Annotated[int, Field(ge=64)] = 1536
    pixel_m: Positive = 20.0
    hurst: Annotated[float, Field(gt=0, lt=1)] = 0.9
    roughness_m: Positive = 40.0
    crater_density: Annotated[float, Field(ge=0)] = 1.0
    depth_diameter: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    largest_crater_m: Positive = 12000.0
    track_spacing_m: Positive = 60.0
    center_x_m: float = 0.0
    center_y_m: float = 90000.0
    seed: Seed = 1
    oversample: PositiveInt = 1
