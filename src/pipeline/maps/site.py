"""Stage ``map_site``: a site's a priori DEM on the map's pixels, and the survey of its images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pipeline.config.site import SITE_FILES, SiteSection
from pipeline.config.stages.maps import SiteStage
from pipeline.maps.ground import read_ground
from pipeline.maps.layout import lay_out
from pipeline.maps.points import read_points
from pipeline.maps.survey import Surveyed, survey
from pipeline.storage.atomic import read_json, write_json

logger = logging.getLogger(__name__)

SCHEMA = "site/1"


def with_paths(site: SiteSection, paths: Mapping[str, Any]) -> SiteSection:
    """The section with the names of its files replaced by the paths that are read.

    Parameters
    ----------
    site : of a stage. paths : by ``site_`` and the key, each a path or a list of paths; a list may be empty.
    """
    own = {key.removeprefix("site_"): value for key, value in paths.items()}
    lists = {key: [value] if isinstance(value, str) else list(value) for key, value in own.items()}
    single = {key: lists[key][0] for key in SITE_FILES if lists.get(key)}
    return site.model_copy(update={**single, **{k: lists[k] for k in ("images", "kernels") if lists.get(k)}})


def look_at_site(section: SiteStage, inputs: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Read a site's DEM onto the map's pixels and survey its images.

    Parameters
    ----------
    section : of the stage. inputs : files by ``site_`` and the keys of `site`, each a path or a list.
    outputs : ``ground`` (store of schema ``ground/1``) and ``site`` (JSON of schema ``site/1``).

    Raises
    ------
    ValueError
        If a file is unusable, the place does not lie on the DEM, or none of the images can be used.
    """
    site = with_paths(section.site, inputs)
    if site.points is not None:
        # Points are compared with the finished map; errors in them are reported before the work.
        read_points(site.points)
    layout = lay_out(site, section.factor, section.size_px)
    halo_cells = max(2, section.halo_px // section.factor)
    ground = read_ground(site, layout, halo_cells, section.images.light_m, section.images.far_m)
    rows = survey(site.image_entries, site, section.images, layout.grid)
    for note in (*layout.notes, *ground.notes):
        logger.info("DEM: %s", note)
    usable = [row for row in rows if row.usable]
    withheld = sum(row.withheld for row in usable)
    logger.info("map: %s; a %s DEM", layout.grid.describe(), layout.kind)
    logger.info("images: %d given, %d usable, %d of them withheld", len(rows), len(usable), withheld)
    ground.save(outputs["ground"])
    write_json(outputs["site"], {"schema": SCHEMA, "images": [row.to_json() for row in rows]})


def read_survey(path: str) -> list[Surveyed]:
    """Rows of a site's images, as `look_at_site` wrote them."""
    return [Surveyed.from_json(row) for row in read_json(path, SCHEMA)["images"]]
