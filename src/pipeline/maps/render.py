"""Rendering of a DEM under a Sun: shadows by the exact engine, shading on its own pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.far import FarTerrain
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.photometry import radiance
from pipeline.imagery.suns.sun import Sun
from pipeline.maps.images import sun_on_map
from pipeline.terrain.map_grid import MapGrid

# The Sun's disc from the Moon, degrees.
DISC_DEG = 0.533
# Side of the tiles of the map that are rendered with their own Sun direction, which changes by 1 deg over 30
# km.
_TILE_PX = 256
# Number of tiles whose horizon engine is kept for the next Sun.
_KEPT = 8

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Rendering:
    """A DEM under a Sun.

    Attributes
    ----------
    share : (rows, cols) visible share of the Sun; NaN without data.
    radiance : (rows, cols) radiance factor of the law used for comparison with images; NaN without data.
    lambert : (rows, cols) that of a Lambert surface, the unit of the networks' images.
    """

    share: NDArray[np.float32]
    radiance: NDArray[np.float32]
    lambert: NDArray[np.float32]


class Scene:
    """A DEM on a map's pixels with the terrain around it, for rendering.

    Parameters
    ----------
    surface : (H + 2 margin, W + 2 margin) heights, metres; NaN where there are none.
    margin : pixels around the map. grid : of the map. photometry : law of reflectance.
    far : coarser terrain beyond, whose row 0 and column 0 are the map's; None for none.
    """

    def __init__(
        self,
        surface: NDArray[np.float32],
        margin: int,
        grid: MapGrid,
        photometry: PhotometrySection,
        far: FarTerrain | None = None,
    ) -> None:
        self._surface, self._margin, self._grid, self._photometry = surface, margin, grid, photometry
        self._far = far
        self._engines: dict[Box, HorizonVisibility] = {}

    def render(self, sun: Sun, box: Box, turned_deg: float = 0.0) -> Rendering:
        """Render a box (row0, row1, col0, col1) of the map.

        Parameters
        ----------
        sun : of the image. turned_deg : added to its azimuth; 180 gives the opposite Sun.
        """
        row0, row1, col0, col1 = box
        maps = np.full((3, row1 - row0, col1 - col0), np.nan, np.float32)
        for part in _parts(box):
            here = np.s_[:, part[0] - row0 : part[1] - row0, part[2] - col0 : part[3] - col0]
            maps[here] = self._part(sun, part, turned_deg)
        return Rendering(*maps)

    def _part(self, sun: Sun, part: Box, turned_deg: float) -> NDArray[np.float32]:
        """Share, radiance and Lambert radiance, (3, rows, cols)."""
        row0, row1, col0, col1 = part
        m = self._margin
        # One pixel around, so that slopes at the border are central differences.
        rows = slice(m + row0 - 1, m + row1 + 1)
        cols = slice(m + col0 - 1, m + col1 + 1)
        heights = self._surface[rows, cols].astype(np.float64)
        known = np.isfinite(heights)
        if not known[1:-1, 1:-1].any():
            return np.full((3, row1 - row0, col1 - col0), np.nan, np.float32)
        middle = (row0 + row1 - 1) / 2, (col0 + col1 - 1) / 2
        x, y, z = sun_on_map(sun, self._grid, *middle)
        turn = np.radians(turned_deg)
        x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        vector = np.array([[x, y, z]])
        pixel = self._grid.true_pixel_m(*middle)
        share = self._engine(part, pixel).share(vector, DISC_DEG)[0]
        heights = np.where(known, heights - heights[known].mean(), 0.0)
        laws = self._photometry, self._photometry.model_copy(update={"law": "lambert"})
        shaded = [radiance(heights, pixel, vector, None, law)[0, 1:-1, 1:-1] * share for law in laws]
        maps = np.where(known[1:-1, 1:-1], np.stack([share, *shaded]), np.nan)
        return np.asarray(maps, dtype=np.float32)

    def _engine(self, part: Box, pixel: float) -> HorizonVisibility:
        """The horizon engine of a part, kept for the next Sun."""
        if part not in self._engines:
            if len(self._engines) >= _KEPT:
                self._engines.pop(next(iter(self._engines)))
            row0, row1, col0, col1 = part
            m = self._margin
            around = self._surface[row0 : row1 + 2 * m, col0 : col1 + 2 * m]
            inner = (m, m, row1 - row0, col1 - col0)
            far = self._far
            if far is not None:
                # From the map's first pixel to that of the terrain around the part.
                far = replace(far, row=far.row - (row0 - m), col=far.col - (col0 - m))
            self._engines[part] = HorizonVisibility(around, pixel, inner, True, far)
        return self._engines[part]


def _parts(box: Box) -> list[Box]:
    """A box cut along the map's tiles."""
    row0, row1, col0, col1 = box
    rows = [row0, *range((row0 // _TILE_PX + 1) * _TILE_PX, row1, _TILE_PX), row1]
    cols = [col0, *range((col0 // _TILE_PX + 1) * _TILE_PX, col1, _TILE_PX), col1]
    return [(a, b, c, d) for a, b in pairwise(rows) for c, d in pairwise(cols)]
