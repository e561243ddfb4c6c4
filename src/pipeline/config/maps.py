"""Section ``map``: how a map is made of a site's DEM and images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Positive, PositiveInt, Section, Seed


class MapSection(Section):
    """A map: a moving window of clones, blended."""

    members: Annotated[int, Field(ge=2, le=1000)] = 16
    """clones of the whole map; their mean is the map, their standard deviation its uncertainty."""
    stride_px: PositiveInt = 48
    """step of the moving window, a multiple of `patches.factor`."""
    blend: Literal["smooth", "published"] = "smooth"
    """``smooth`` (weights fall to 0 at a window's border as a squared sine) or ``published``."""
    blend_px: PositiveInt = 48
    """largest grassfire distance of the published weights."""
    blend_sigma_px: Annotated[float, Field(ge=0)] = 2.0
    """Gaussian blur of the published weights."""
    noise: Literal["map", "window"] = "map"
    """``map`` draws one noise field per clone over the whole map, so that windows of a clone agree;
    ``window`` draws each window's own (published)."""
    std: Literal["clones", "published"] = "clones"
    """``clones``, the standard deviation (ddof 1) of whole-map clones; or ``published``, which includes the
    disagreement of overlapping windows (see `pipeline.region.blend.Mosaic`)."""
    tile_px: PositiveInt = 960
    """side of the squares of windows that are separate jobs, pixels."""
    steep_deg: Positive = 15.0
    """slopes above this count as steep."""
    clones: bool = False
    """whether the clones are written too."""
    fallback: Literal["prior", "none"] = "prior"
    """``prior`` uses the a priori DEM where withheld images show that the map is no better; ``none`` never
    does."""
    use_all: bool = False
    """whether withheld images join the final map after the check."""
    seed: Seed = 0
    """seed of the clones."""
