"""Visibility of the Sun over whole windows: shadows carried along parallel lines, exact near the pixel.

The cost of `illumination.horizon` grows with the distance to the terrain that matters. Here the terrain
beyond a few pixels is sampled along lines that run away from the Sun, one per pixel of the grid's side. Row
by row, the shadow's height on a line falls by the Sun's slope and rises to any higher terrain: a running
maximum, with the same cost per row for a window of any size. A pixel lies between two lines and takes the
interpolated height of their shadows. Terrain nearer than NEAR_PX rows is taken from the exact crossings of
the pixel's ray with the mesh.

Azimuths within 45 degrees of the rows are computed on the transposed terrain, which is the same mesh.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.illumination import crossing_kernels, sweep_kernels
from pipeline.illumination.crossing_kernels import Terrain
from pipeline.illumination.directions import azimuth_elevation
from pipeline.illumination.far import FarTerrain
from pipeline.illumination.horizon import HorizonVisibility, by_azimuth, make_terrain
from pipeline.illumination.surface import Window, sun_vectors
from pipeline.illumination.trace import make_engine
from pipeline.illumination.visibility import Visibility

# Rows of terrain next to a pixel that are treated exactly.
NEAR_PX = 8
# Windows of at least this side are faster with the sweep, for few Suns and for many; see docs/performance.md.
WHOLE_WINDOW_PX = 320


def whole_window_engine(
    name: str, shape: tuple[int, int], inner: Window, sun: Literal["point", "disc"], far: bool = False
) -> type[Visibility]:
    """The class that computes visibility over a whole window: the engine's own, or the faster sweep.

    Parameters
    ----------
    name : ``illumination.engine``. Only ``horizon`` has a sweep: ``embree`` is the reference.
    shape : ``(Y, X)`` of the terrain.
    inner : ``(top, left, height, width)`` of the pixels to light. The sweep passes over all of the terrain,
        so it is used only where they are at least half of it.
    sun : ``illumination.sun``. The sweep is for a point Sun only.
    far : whether there is far terrain, which the sweep does not support.

    Raises
    ------
    ValueError
        If there is no such engine.
    """
    height, width = inner[2:]
    large = min(height, width) >= WHOLE_WINDOW_PX and 2 * height * width >= shape[0] * shape[1]
    if name == "horizon" and sun == "point" and large and not far:
        return SweepVisibility
    return make_engine(name)


class SweepVisibility(HorizonVisibility):
    """`HorizonVisibility` with a faster `lit` for a point Sun.

    Parameters, errors and geometry are those of `HorizonVisibility`, except that far terrain is refused;
    horizons and shares of the disc are computed exactly, as there.

    Notes
    -----
    Beyond NEAR_PX rows two things are approximate: a line samples the mesh at grid rows only (or columns), so
    that ridges between two rows count as slightly lower; and between two lines the shadow's height is
    interpolated, which smooths its outline where different edges cast it. Pixels whose horizon lies within
    some hundredths of a degree of the Sun may therefore be decided wrongly.
    """

    def __init__(
        self,
        dem: ArrayLike,
        pixel_m: float,
        inner: slice | Window,
        curvature: bool = False,
        far: FarTerrain | None = None,
    ) -> None:
        if far is not None:
            raise ValueError("far: expected None, as the line sweep has no far terrain; found some")
        super().__init__(dem, pixel_m, inner, curvature)

    def _build(self, metres: NDArray[np.float64]) -> None:
        super()._build(metres)
        top, left, height, width = self._inner
        self._turned = make_terrain(metres.T, self._pixel_m, (left, top, width, height))

    def lit(self, sun: ArrayLike) -> NDArray[np.bool_]:
        """Pixels that see a point Sun; see `HorizonVisibility.lit`."""
        azimuth, elevation = azimuth_elevation(sun_vectors(sun))
        lit = np.zeros((len(azimuth), *self._shape), np.uint8)
        tangent = np.tan(np.radians(elevation)).astype(np.float32)
        headings, begin, order = by_azimuth(azimuth, elevation)
        most = int(np.diff(begin).max(initial=0))
        aside = np.empty((most, *self._shape[::-1]), np.uint8)
        for i, (east, south) in enumerate(headings):
            chosen = order[begin[i] : begin[i + 1]]
            if abs(south) >= abs(east):
                _light(self._terrain, east, south, tangent[chosen], chosen, lit)
                continue
            places = np.arange(len(chosen))
            _light(self._turned, south, east, tangent[chosen], places, aside)
            for place, k in zip(places, chosen, strict=True):
                sweep_kernels.transpose_kernel(aside[place], lit[k])
        lit[:, ~np.isfinite(self._heights)] = 0
        return lit.view(np.bool_)


def _light(
    terrain: Terrain,
    east: float,
    south: float,
    tangents: NDArray[np.float32],
    places: NDArray[np.int64],
    lit: NDArray[np.uint8],
) -> None:
    """Fill ``lit[places]`` for one azimuth within 45 degrees of the columns, tangents ascending."""
    step_m, delay = terrain.pixel_m / abs(south), NEAR_PX + 1
    first, second, weight, nearness, groups = crossing_kernels.crossing_table(terrain)
    count = crossing_kernels.crossings_of(east, south, terrain, first, second, weight, nearness, groups)
    near = int((nearness[: groups[count, 0]] * (delay * step_m) > 1 + 1e-6).sum())
    # The pixel itself, whose tangent is 0, pads the last group.
    spare = -near % sweep_kernels.GROUP
    for values, itself in ((first, 0), (second, 0), (weight, 0), (nearness, 1)):
        values[near : near + spare] = itself
    some = slice(near + spare)
    crossings = first[some], second[some], weight[some], nearness[some]
    sweep_kernels.sweep_kernel(
        terrain, -east / abs(south), step_m, south > 0, delay, crossings, tangents, places, lit
    )
