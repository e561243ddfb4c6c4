"""The terrain of a region: the truth, its a priori DEM, and the surroundings that cast shadows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.illumination.place import Place as MapPlace
from pipeline.models.apriori import prior_from_lr
from pipeline.region.place import Place
from pipeline.shards.batches import fill_nearest
from pipeline.terrain.grid import Grid
from pipeline.terrain.lattice import Terrain

# Keys' bicubic reaches two cells.
_BICUBIC_CELLS = 2


@dataclass(frozen=True)
class Ground:
    """Heights of a region of S x S pixels, metres above R = 1737400 m.

    Attributes
    ----------
    grid : map grid of the region.
    factor : pixels a cell of the a priori DEM.
    halo_cells : cells around the region in `cells`.
    around : (S + 2m, S + 2m) true heights of the region and `margin_px` = m pixels around it; NaN where there
        are no data.
    cells : (S / factor + 2 halo_cells,) * 2 block means of the truth, float64, without NaN.
    prior : (S, S) bicubic of `cells`, float64.
    """

    grid: Grid
    factor: int
    halo_cells: int
    margin_px: int
    around: NDArray[np.float32]
    cells: NDArray[np.float64]
    prior: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.float32]:
        """(S, S) true heights."""
        m = self.margin_px
        return self.around[m : m + self.grid.height, m : m + self.grid.width]

    @property
    def centre(self) -> MapPlace:
        """Where its middle lies, for Suns and swaths that are seen from its own place."""
        middle = (self.grid.height - 1) / 2
        lon, lat = (float(v) for v in self.grid.lonlat(middle, middle))
        map_lon = (lon - self.grid.projection.lon0) % 360.0 % 360.0
        return MapPlace(lon, lat, map_lon, self.grid.pole)

    def window_cells(self, row: int, col: int, size: int, halo_cells: int) -> NDArray[np.float64]:
        """A priori cells of a window and `halo_cells` around it; `row`, `col` and `size` in pixels."""
        first = [v // self.factor + self.halo_cells - halo_cells for v in (row, col)]
        n = size // self.factor + 2 * halo_cells
        return self.cells[first[0] : first[0] + n, first[1] : first[1] + n]


def read_ground(
    terrain: Terrain, place: Place, factor: int, halo_cells: int, light_halo_px: int = 0
) -> Ground:
    """Read a region and degrade it: block means of the region and its surroundings, and their bicubic.

    Where there is no terrain around the region the nearest cell is held, as the clamped edges of a bicubic
    do. At least two cells around the region are used, so that its bicubic is that of endless terrain (the
    published one is clamped at the region's edges).

    Parameters
    ----------
    terrain, place : what and where.
    factor : pixels a cell; divides the region's side.
    halo_cells : cells around a window that the network sees.
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
    n = inner.shape[0] // factor
    # A cell with a missing pixel is missing.
    means = inner.reshape(n, factor, n, factor).mean(axis=(1, 3), dtype=np.float64)
    cells = np.asarray(fill_nearest(means), dtype=np.float64)
    prior = prior_from_lr(torch.from_numpy(cells), halo_cells, factor).numpy()
    return Ground(place.grid(terrain), factor, halo_cells, margin, around, cells, prior)
