"""Section ``synthetic``: the seeded polar terrain generator."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.config.base import Positive, Section, Seed, unlike


class SyntheticSection(Section):
    """Ancient self-affine relief plus craters of all ages, with a LOLA-like count map.

    The defaults are tuned against 40 m LOLA windows of the south pole
    (``docs/figures/synthetic_vs_real.png``).
    """

    size_px: Annotated[int, Field(ge=64, le=8192)] = 1536
    """side of the square DEM, pixels (64 to 8192)."""
    pixel_m: Annotated[float, Field(ge=1, le=500)] = 20.0
    """pixel size, metres (1 to 500)."""
    center_x_m: float = 120000.0
    """map coordinate x of the tile's centre, metres (south polar stereographic; within 400 km of the pole).
    The distance from the pole sets the altimetry coverage."""
    center_y_m: float = 230000.0
    """map coordinate y of the tile's centre, metres."""
    hurst: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Hurst exponent of the ancient relief, 0 to 1 (lunar highlands about 0.9-0.95)."""
    roughness_m: Annotated[float, Field(ge=0)] = 105.0
    """RMS height difference of the ancient relief over 1 km, metres."""
    smoothing_m: Annotated[float, Field(ge=0)] = 2200.0
    """wavelength whose power diffusion has reduced by 1/e in the ancient relief, metres; shorter waves are
    reduced more, as ``exp(-smoothing_m / wavelength)``."""
    texture_m: Annotated[float, Field(ge=0)] = 2.5
    """RMS height difference over 100 m of the fine self-affine texture added everywhere (blocks,
    secondaries and craters too small to draw), metres; 0 for none."""
    surface_age_ga: Annotated[float, Field(gt=0, le=4.2)] = 3.9
    """age of the surface, 10^9 years (0 to 4.2); sets the number of craters."""
    crater_density: Annotated[float, Field(ge=0, le=100)] = 1.0
    """multiplies the production function (1 = Neukum et al. 2001)."""
    depth_diameter: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """depth over diameter of a fresh simple crater (0 to 0.5)."""
    largest_crater_m: Positive = 8000.0
    """diameter of the largest crater drawn from the production function, metres."""
    diffusivity_m2_per_myr: Annotated[float, Field(ge=0)] = 5.5
    """topographic diffusivity of the last 10^9 years at craters of 1 km, m^2 per 10^6 years; 0 keeps every
    crater fresh."""
    large_craters: Annotated[int, Field(ge=0, le=20)] = 1
    """number of large degraded craters placed on purpose (0 to 20), for polar relief."""
    large_crater_m: Positive = 20000.0
    """their greatest diameter, metres; the least is half of it."""
    tracks: Annotated[int, Field(ge=0, le=200_000)] = 11700
    """polar passes of the altimeter over the whole polar cap (0 to 200,000); with the default about a
    fifth of the patches fails the published coverage at 82 degrees south, none beyond 85."""
    seed: Seed = 1
    """seed of everything drawn here."""

    @model_validator(mode="after")
    def _near_the_pole(self) -> SyntheticSection:
        if self.center_x_m**2 + self.center_y_m**2 > 400_000.0**2:
            found = f"({self.center_x_m:g}, {self.center_y_m:g})"
            raise ValueError(unlike("center_x_m, center_y_m", "a centre within 400000 m of the pole", found))
        return self
