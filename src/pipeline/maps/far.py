"""Terrain beyond a map's a priori DEM, from a coarse DEM: mountains that rise above the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.illumination.far import FarTerrain
from pipeline.terrain.grid import RasterError
from pipeline.terrain.map_grid import MapGrid
from pipeline.terrain.readers import Raster
from pipeline.terrain.sampling import resampled
from pipeline.terrain.site_raster import SiteRaster, heights_in_metres, open_site_raster

Floats = NDArray[np.float64]

# Cells along the reach, at most: 200 km give cells of 0.8 km.
_CELLS = 256
#: Fine terrain around the map, in cells of the far terrain: the engine needs it.
HALO_CELLS = 2


@dataclass(frozen=True)
class Horizon:
    """A coarse DEM around a map.

    Attributes
    ----------
    raster : the DEM, open. cell_px : side of the cells to which it is resampled, map pixels.
    """

    raster: Raster
    cell_px: int

    def heights(self, grid: MapGrid, unit: str | None) -> Floats:
        """(H, W) heights on any grid, metres; NaN where the DEM has none.

        Raises
        ------
        RasterError
            If it has no heights there, or its values are not plausible for the Moon.
        """
        values = resampled(self.raster, grid)
        if not np.isfinite(values).any():
            raise RasterError(f"{self.raster.name}: expected heights around {grid.describe()}, found none")
        return heights_in_metres(str(self.raster.name), values, _pixel_m(self.raster), unit)[0]

    def around(self, grid: MapGrid, far_m: float, unit: str | None) -> FarTerrain:
        """Cells within a distance of the map's border; row 0 and column 0 are those of the map.

        Parameters
        ----------
        grid : of the map. far_m : distance, metres of the map. unit : of the heights; None to detect it.
        """
        cell = self.cell_px
        n = math.ceil(far_m / (cell * grid.pixel_m))
        rows, cols = (-(-size // cell) + 2 * n for size in (grid.height, grid.width))
        first = grid.window(-n * cell, -n * cell, 1, 1)
        wide = MapGrid(grid.crs_wkt, first.transform @ first.transform.scale(cell), cols, rows)
        place = -n * cell + (cell - 1) / 2
        return FarTerrain(self.heights(wide, unit), cell, place, place)


def open_horizon(path: str, grid: MapGrid, far_m: float) -> Horizon:
    """Open a coarse DEM for the horizon of a map.

    Parameters
    ----------
    path : of the DEM. grid : of the map. far_m : largest distance from the map that is used, metres.
    """
    raster = open_site_raster(path)
    cell = max(_pixel_m(raster), far_m / _CELLS)
    return Horizon(raster, max(1, round(cell / grid.pixel_m)))


def _pixel_m(raster: Raster) -> float:
    return raster.ground_pixel_m if isinstance(raster, SiteRaster) else raster.grid.pixel_m


def reach_m(known: NDArray[np.bool_], rows: Floats, cols: Floats, grid: MapGrid) -> float:
    """Distance from a map's border within which terrain has no gap, metres.

    Parameters
    ----------
    known : (Y, X) bool, cells with heights. rows, cols : (Y,), (X,) positions of the cells, map pixels.
    grid : of the map.
    """
    away = np.hypot.outer(
        np.maximum(np.maximum(-rows, rows - (grid.height - 1)), 0),
        np.maximum(np.maximum(-cols, cols - (grid.width - 1)), 0),
    )
    edge = min(-rows[0], -cols[0], rows[-1] - (grid.height - 1), cols[-1] - (grid.width - 1))
    gap = float(away[~known].min()) - (rows[1] - rows[0]) if not known.all() else math.inf
    return max(0.0, min(gap, float(edge))) * grid.pixel_m
