"""A region's terrain: its a priori DEM and, if known, the true terrain around it that casts shadows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.illumination.place import Place as MapPlace
from pipeline.region.place import Place
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean, fill_nearest
from pipeline.terrain.grid import Grid
from pipeline.terrain.lattice import Terrain

# Keys' bicubic reaches two cells.
_BICUBIC_CELLS = 2


@dataclass(frozen=True)
class AprioriDem:
    """Heights of a region of S x S pixels that are known without images, metres above R = 1737400 m.

    Attributes
    ----------
    grid : map grid of the region.
    factor : pixels per cell, along a side.
    halo_cells : cells around the region in `cells`.
    cells : (S / factor + 2 halo_cells,) * 2 mean heights of the cells, float64, without NaN.
    prior : (S, S) bicubic of `cells`, float64; or the heights of a fine DEM with block means `cells`.
    spots : (S, S) altimetry spots per pixel; `prior` is measured where there is at least one. None if the
        data are `cells`.
    cell_error : (S, S) 1-sigma error of `cells`, metres; None if they are exact.
    """

    grid: Grid
    factor: int
    halo_cells: int
    cells: NDArray[np.float64]
    prior: NDArray[np.float64]
    spots: NDArray[np.float32] | None = None
    cell_error: NDArray[np.float32] | None = None

    def window_cells(self, row: int, col: int, size: int, halo_cells: int) -> NDArray[np.float64]:
        """Cells of a window and around it, (n, n), n = size / factor + 2 `halo_cells`.

        Parameters
        ----------
        row, col, size : first pixel of the window in the region, and its side; multiples of `factor`.
        halo_cells : cells around the window, at most those around the region.
        """
        first = [v // self.factor + self.halo_cells - halo_cells for v in (row, col)]
        n = size // self.factor + 2 * halo_cells
        return self.cells[first[0] : first[0] + n, first[1] : first[1] + n]


def apriori_dem(grid: Grid, factor: int, halo_cells: int, cells: NDArray[np.floating]) -> AprioriDem:
    """The a priori DEM of a region from coarse heights.

    Missing cells take the value of the nearest one.

    Parameters
    ----------
    grid : of the region's pixels. factor : pixels per cell.
    halo_cells : cells around the region: at least 2 for a bicubic without edge effects, and at least the
        halo of the network.
    cells : (S / factor + 2 halo_cells,) * 2 metres, NaN where unknown.

    Raises
    ------
    ValueError
        If the shape is wrong.
    """
    shape = tuple(n // factor + 2 * halo_cells for n in (grid.height, grid.width))
    if cells.shape != shape:
        raise ValueError(f"a priori DEM: expected {shape} cells of {factor} px, found {cells.shape}")
    whole = np.asarray(fill_nearest(cells), dtype=np.float64)
    prior = prior_from_lr(torch.from_numpy(whole), halo_cells, factor).numpy()
    return AprioriDem(grid, factor, halo_cells, whole, prior)


@dataclass(frozen=True)
class Ground:
    """True terrain of a region, from which its images are rendered, and the reference of its scores.

    Attributes
    ----------
    place : square of a site. grid : map grid of the region.
    around : (S + 2m, S + 2m) heights of the region and `margin_px` = m pixels around it, metres above
        R = 1737400 m; NaN where there are no data.
    """

    place: Place
    grid: Grid
    margin_px: int
    around: NDArray[np.float32]

    @property
    def truth(self) -> NDArray[np.float32]:
        """(S, S) true heights."""
        m = self.margin_px
        return self.around[m : m + self.grid.height, m : m + self.grid.width]


def read_ground(
    terrain: Terrain, place: Place, factor: int, halo_cells: int, light_halo_px: int = 0
) -> tuple[AprioriDem, Ground]:
    """Read a region and degrade it: block means of the region and its surroundings, and their bicubic.

    At least two cells around the region are used, so that its bicubic has no edge effects (the published one
    repeats the region's edge cells).

    Parameters
    ----------
    terrain, place : terrain, and square of one of its sites.
    factor : pixels per cell; divides the region's side.
    halo_cells : cells around a window that the network uses.
    light_halo_px : terrain around the region that casts shadows, pixels.

    Raises
    ------
    ValueError
        If the region is not a whole number of cells.
    """
    if place.size_px % factor:
        raise ValueError(
            f"region.size_px: expected a multiple of patches.factor = {factor}, found {place.size_px}"
        )
    halo_cells = max(_BICUBIC_CELLS, halo_cells)
    reach = halo_cells * factor
    margin = max(reach, light_halo_px, 1)
    row0, row1, col0, col1 = place.box
    around = terrain.read(place.site, row0 - margin, row1 + margin, col0 - margin, col1 + margin)
    inner = around[
        margin - reach : margin + place.size_px + reach, margin - reach : margin + place.size_px + reach
    ]
    ground = Ground(place, place.grid(terrain), margin, around)
    return apriori_dem(ground.grid, factor, halo_cells, block_mean(inner, factor, np.float64)), ground


def centre_of(grid: Grid) -> MapPlace:
    """Coordinates of a region's centre, for draws of Suns and swaths."""
    middle = (grid.height - 1) / 2
    lon, lat = (float(v) for v in grid.lonlat(middle, middle))
    map_lon = (lon - grid.projection.lon0) % 360.0 % 360.0
    return MapPlace(lon, lat, map_lon, grid.pole)
