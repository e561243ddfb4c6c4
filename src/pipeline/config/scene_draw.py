"""What a training stage draws of rendered scenes: parts of the sections `scenes`, `altimetry` and
`patches`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.altimetry import AltimetrySection
from pipeline.config.base import Range, Section, Share


class SceneDraw(Section):
    """What a stage of training draws of rendered scenes, once per sample."""

    apriori: Literal["cells", "altimetry", "mixed"] = "cells"
    """as `patches.apriori`."""
    altimetry: AltimetrySection = AltimetrySection()
    """of simulated tracks."""
    altimetry_share: Share = 0.5
    """share of the samples whose a priori DEM is altimetry, with ``mixed``."""
    cell_error_share: Share = 0.25
    """share of the others whose block means have errors."""
    cell_error_px: Range = Range(low=0.005, high=0.2)
    """range of their standard deviation, pixels, log-uniform."""
    unexpected_share: Share = 0.15
    """share of the samples without a map of where the whole Sun is expected to be visible."""
    pairs_share: Share = 0.0
    """share of the images that are given twice, as left and right frames of one id: with the same Sun and
    shift, and missing data and noise of their own."""
    images_power: Annotated[float, Field(ge=0, le=10)] = 1.5
    """power p of a uniform number u: of n images, floor((n + 1) u^p) are used."""
