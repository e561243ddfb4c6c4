"""Small map-projected images of every kind, for the tests of the imagery room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS, Transformer
from raster_files import SOUTH
from rasterio.enums import ColorInterp

from pipeline.imagery.resample import MapTarget

LOCAL = "+proj=stere +lat_0=-85 +lon_0=30 +k=1 +x_0=0 +y_0=0 +R=1737400 +units=m +no_defs"
LONLAT = "+proj=longlat +R=1737400 +no_defs"
EQUIRECTANGULAR = "+proj=eqc +lat_ts=0 +lon_0=0 +R=1737400 +units=m +no_defs"


def write_image(
    path: Path,
    data: np.ndarray,
    crs: str | None = SOUTH,
    transform: Affine | None = None,
    alpha: np.ndarray | None = None,
    tagged: bool = True,
    scale: float = 1.0,
    offset: float = 0.0,
    **profile: Any,
) -> Path:
    """Write an image of 20 m pixels with its corner at (0, 0), or as `transform` says."""
    bands = data if data.ndim == 3 else data[None]
    if alpha is not None:
        bands = np.concatenate([bands, alpha[None]])
    profile = {"transform": transform or Affine(20.0, 0, 0, 0, -20.0, 0), "crs": crs, **profile}
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=bands.dtype, **profile
    ) as dataset:
        if alpha is not None and tagged:
            dataset.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        if (scale, offset) != (1.0, 0.0):
            dataset.scales, dataset.offsets = (scale,) * count, (offset,) * count
        dataset.write(bands)
    return path


def map_of(
    pixel: float, height: int, width: int, corner: tuple[float, float] = (0.0, 0.0), crs: str = SOUTH
) -> MapTarget:
    """A map whose top-left corner is at `corner`."""
    transform = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    return MapTarget(CRS.from_user_input(crs).to_wkt(), transform, height, width)


def through(crs_from: str, crs_to: str) -> Transformer:
    """PROJ's own transformation, on one sphere."""
    return Transformer.from_crs(CRS.from_user_input(crs_from), CRS.from_user_input(crs_to), always_xy=True)


class Waves:
    """A picture of plane waves, whose mean over any parallelogram is known exactly.

    Parameters
    ----------
    shortest : wave length of the shortest, in units of the plane; the longest is 4.5 times longer.
    """

    def __init__(self, shortest: float, seed: int = 0, count: int = 40) -> None:
        rng = np.random.default_rng(seed)
        length = shortest * np.exp(rng.uniform(0, 1.5, count))
        turn = rng.uniform(0, 2 * np.pi, count)
        self._kx, self._ky = 2 * np.pi / length * np.cos(turn), 2 * np.pi / length * np.sin(turn)
        self._phase = rng.uniform(0, 2 * np.pi, count)

    def means(self, x: np.ndarray, y: np.ndarray, across: tuple, down: tuple) -> np.ndarray:
        """Means over parallelograms with the sides `across` and `down` centred at (x, y)."""
        out = np.zeros(np.shape(x))
        for kx, ky, phase in zip(self._kx, self._ky, self._phase):
            size = np.sinc((kx * across[0] + ky * across[1]) / (2 * np.pi))
            size *= np.sinc((kx * down[0] + ky * down[1]) / (2 * np.pi))
            out += size * np.cos(kx * x + ky * y + phase)
        return out

    def on(self, transform: Affine, height: int, width: int) -> np.ndarray:
        """Pixel means of a grid."""
        col, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        t = transform
        x, y = t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f
        return self.means(x, y, (t.a, t.d), (t.b, t.e))
