"""Stage ``map_first``: the first reconstruction, to which images are registered a second time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.config.stages.maps import BlendStage
from pipeline.maps.blend import Clones
from pipeline.maps.ground import SiteGround
from pipeline.region.source import one_file


def first_reconstruction(section: BlendStage, inputs: Mapping[str, Any], out: str) -> None:
    """Replace the surface of a coarse a priori DEM by the mean of a few clones.

    A fine a priori DEM is kept: it is closer to the truth than a first reconstruction from its block means,
    and images are registered to it.

    Parameters
    ----------
    section : of the stage. inputs : ``ground``, and ``clones``, a list of stores. out : store to write.
    """
    ground = SiteGround.load(one_file(inputs["ground"]))
    if ground.layout.kind != "coarse":
        ground.save(out)
        return
    clones = Clones(inputs["clones"], ground, section.map, section.members)
    surface, m = ground.surface.copy(), ground.margin_px
    for top in range(0, clones.rows, clones.band_rows):
        bottom = min(top + clones.band_rows, clones.rows)
        mean = clones.band(top, bottom).clones.mean(axis=0)
        here = np.s_[m + top : m + bottom, m : m + clones.cols]
        # Holes that are not filled cast no shadow.
        surface[here] = np.where(np.isfinite(surface[here]), mean, np.nan).astype(np.float32)
    replace(ground, surface=surface).save(out)
