"""Section ``map``: how a map is made of a site's DEM and images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Positive, PositiveInt, Section, Seed


class MapSection(Section):
    """A map: a moving window of clones, blended.

    Attributes
    ----------
    members : clones of the whole map; their mean is the map, their standard deviation its uncertainty.
    stride_px : step of the moving window, a multiple of `patches.factor`.
    blend : ``smooth`` (weights fall to 0 at a window's border as a squared sine) or ``published``.
    blend_px : largest grassfire distance of the published weights.
    blend_sigma_px : Gaussian blur of the published weights.
    noise : ``map`` draws one noise field per clone over the whole map, so that windows of a clone agree;
        ``window`` draws each window's own (published).
    std : ``clones``, the standard deviation (ddof 1) of whole-map clones; or ``published``, which counts the
        disagreement of overlapping windows in (see `pipeline.region.blend.Mosaic`).
    tile_px : side of the squares of windows that are jobs of their own.
    steep_deg : slopes above this count as steep.
    clones : whether the clones are written too.
    fallback : ``prior`` gives the a priori DEM where withheld images say that the map is no better; ``none``.
    use_all : whether withheld images join the final map after the check.
    seed : of the clones.
    """

    members: Annotated[int, Field(ge=2, le=1000)] = 16
    stride_px: PositiveInt = 48
    blend: Literal["smooth", "published"] = "smooth"
    blend_px: PositiveInt = 48
    blend_sigma_px: Annotated[float, Field(ge=0)] = 2.0
    noise: Literal["map", "window"] = "map"
    std: Literal["clones", "published"] = "clones"
    tile_px: PositiveInt = 960
    steep_deg: Positive = 15.0
    clones: bool = False
    fallback: Literal["prior", "none"] = "prior"
    use_all: bool = False
    seed: Seed = 0
