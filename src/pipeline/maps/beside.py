"""Refuses count and error maps of a site that do not lie on the DEM's grid; reads headers only."""

from __future__ import annotations

import numpy as np

from pipeline.config.site import SiteSection
from pipeline.terrain.grid import RasterError
from pipeline.terrain.readers import Raster
from pipeline.terrain.sampling import place_of
from pipeline.terrain.site_raster import open_site_raster


def refuse_other_grids(section: SiteSection) -> None:
    """Refuse a count or error map on another grid than the DEM's, before any work.

    Parameters
    ----------
    section : of a site with a DEM.

    Raises
    ------
    RasterError
        If a map has another grid, or cannot be opened; the message names the file and the key.
    """
    given = {"count": section.count, "error": section.error}
    if section.dem is None or not any(given.values()):
        return
    dem = open_site_raster(section.dem)
    try:
        for name, path in given.items():
            if path is None:
                continue
            raster = open_site_raster(path)
            try:
                refuse_another_grid(name, path, raster, dem)
            finally:
                raster.close()
    finally:
        dem.close()


def refuse_another_grid(name: str, path: str, raster: Raster, dem: Raster) -> None:
    """Refuse a raster on another grid than the DEM's.

    Parameters
    ----------
    name : key of the section `site` that names it. path : of the raster. raster, dem : both open.

    Raises
    ------
    RasterError
        If it has another grid.
    """
    wanted, found = ((each.grid.height, each.grid.width) for each in (dem, raster))
    same = wanted == found and _same_place(raster, dem)
    if not same:
        raise RasterError(
            f"{path}: expected the grid of the DEM {dem.name} ({wanted[0]} x {wanted[1]} pixels), "
            f"found another ({found[0]} x {found[1]} pixels); site.{name} lies on the DEM"
        )


def _same_place(one: Raster, other: Raster) -> bool:
    """Whether two rasters of one shape coincide to a thousandth of a pixel, whatever their CRS's names."""
    (mine, transform), (projection, wanted) = place_of(one), place_of(other)
    near = 1e-3 * abs(wanted.a)
    if mine.geographic != projection.geographic or not transform.almost_equals(wanted, near):
        return False
    col, row = np.meshgrid(np.linspace(0, other.grid.width, 17), np.linspace(0, other.grid.height, 17))
    there, here = (
        projection.xy(*each.lonlat(t.c + t.a * col, t.f + t.e * row))
        for each, t in ((mine, transform), (projection, wanted))
    )
    return bool(np.allclose(there, here, rtol=0, atol=near))
