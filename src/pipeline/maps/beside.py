"""Refuses count and error maps of a site that do not lie on the DEM's grid; reads headers only."""

from __future__ import annotations

from pipeline.config.site import SiteSection
from pipeline.maps.ground import _same_place
from pipeline.terrain.grid import RasterError
from pipeline.terrain.site_raster import SiteRaster, open_site_raster


def refuse_other_grids(section: SiteSection) -> None:
    """Refuse a count or error map on another grid than the DEM's, before any work.

    `read_ground` compares them again: its code is a part of the keys of finished maps, and so stays.

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
                wanted, found = ((each.grid.height, each.grid.width) for each in (dem, raster))
                if isinstance(raster, SiteRaster) and isinstance(dem, SiteRaster):
                    same = wanted == found and _same_place(raster, dem)
                else:
                    same = raster.grid.same_as(dem.grid)
            finally:
                raster.close()
            if not same:
                raise RasterError(
                    f"{path}: expected the grid of the DEM {dem.name} ({wanted[0]} x {wanted[1]} pixels), "
                    f"found another ({found[0]} x {found[1]} pixels); site.{name} lies on the DEM"
                )
    finally:
        dem.close()
