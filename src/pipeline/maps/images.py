"""Prepared images of a map: resampled to its pixels, in stores of chunks, with the Sun at each window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.illumination.directions import vectors
from pipeline.imagery.suns.sun import Sun
from pipeline.region.source import WindowImages
from pipeline.storage.store import Stored, read_store, store_attrs
from pipeline.terrain.map_grid import MapGrid

Floats = NDArray[np.float64]

SCHEMA = "prepared"

# Pixels below this share of their image's median lit radiance count as dark.
LIT_SHARE = 0.1


def sun_record(sun: Sun) -> dict[str, Any]:
    """JSON values of a Sun; `sun_of` inverts this."""
    distance = sun.distance_km if np.isfinite(sun.distance_km) else None
    return {"x": sun.x, "y": sun.y, "z": sun.z, "source": sun.source, "distance_km": distance}


def sun_of(record: dict[str, Any]) -> Sun:
    """The Sun of a record made by `sun_record`."""
    distance = record["distance_km"]
    return Sun(**{**record, "distance_km": np.inf if distance is None else distance})


def sun_on_map(sun: Sun, grid: MapGrid, row: float, col: float) -> Floats:
    """Unit vector (3,) to the Sun (right, up on the map, zenith) at a row and column of a map, pixels."""
    lon, lat = (float(v) for v in grid.lonlat(row, col))
    azimuth, elevation = sun.seen_from(lon, lat)
    return np.asarray(vectors(azimuth + grid.north_deg(row, col), elevation), dtype=np.float64).reshape(3)


@dataclass(frozen=True)
class PreparedImage:
    """One image of a store.

    Attributes
    ----------
    store, index : of its radiance. sun : of the image. box : (row0, row1, col0, col1) that contains its data.
    path : of the original file. level : its median lit radiance.
    """

    store: Stored
    index: int
    sun: Sun
    box: tuple[int, int, int, int]
    path: str
    level: float

    def read(self, rows: slice, cols: slice) -> NDArray[np.float32]:
        """Radiance of a window, (rows, cols); NaN without data."""
        values: NDArray[np.float32] = self.store["radiance"][self.index, rows, cols]
        return values

    def touches(self, rows: slice, cols: slice) -> bool:
        """Whether its data may lie in a window."""
        row0, row1, col0, col1 = self.box
        return row0 < rows.stop and row1 > rows.start and col0 < cols.stop and col1 > cols.start


def read_prepared(
    paths: Sequence[Path | str], role: str, withheld: set[int] | None = None
) -> list[PreparedImage]:
    """Images of prepared stores, in their order.

    Parameters
    ----------
    paths : stores of schema ``prepared/1``.
    role : ``map`` for those used by the map, ``check`` for those that are withheld, ``all`` for both.
    withheld : indices, over all stores, of the images that are withheld; None to use the stores' records.
    """
    images: list[PreparedImage] = []
    number = -1
    for path in paths:
        store = read_store(path, schema=SCHEMA)
        for i, record in enumerate(store_attrs(path)["images"]):
            number += 1
            aside = record["withheld"] if withheld is None else number in withheld
            if record["used"] and (role == "all" or aside == (role == "check")):
                sun, box = sun_of(record["sun"]), record["box"]
                images.append(PreparedImage(store, i, sun, tuple(box), record["path"], record["level"]))
    return images


class MapImages:
    """Images of a map for the reconstruction; see `pipeline.region.source.RegionImages`.

    Parameters
    ----------
    images : prepared. grid : of the map's working area.
    """

    def __init__(self, images: Sequence[PreparedImage], grid: MapGrid) -> None:
        self._images, self._grid = list(images), grid

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self._images)

    def read(
        self, row0: int, row1: int, col0: int, col1: int, only: Sequence[int] | None = None
    ) -> WindowImages:
        """Images of a window; see `pipeline.region.source.RegionImages.read`."""
        rows, cols = slice(row0, row1), slice(col0, col1)
        middle = (row0 + row1 - 1) / 2, (col0 + col1 - 1) / 2
        shape = (0, row1 - row0, col1 - col0)
        pictures, suns = [], []
        for number, image in enumerate(self._images):
            if (only is None and not image.touches(rows, cols)) or (only is not None and number not in only):
                continue
            picture = image.read(rows, cols)
            sun = sun_on_map(image.sun, self._grid, *middle)
            if only is None and (sun[2] <= 0 or not (picture > 0).any()):
                continue
            pictures.append(picture)
            suns.append(sun)
        stack = np.stack(pictures) if pictures else np.empty(shape, np.float32)
        directions = np.array(suns, dtype=np.float32).reshape(-1, 3)
        valid = np.isfinite(stack)
        values = np.where(valid, stack, 0).astype(np.float32)
        return WindowImages(torch.from_numpy(values), torch.from_numpy(valid), torch.from_numpy(directions))


def light_of(images: Sequence[PreparedImage], grid: MapGrid) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Number of images that light each pixel of a map, and the widest gap between their azimuths.

    Returns
    -------
    (H, W) number of images that light each pixel, and (H, W) the widest gap between their azimuths, degrees:
    360 where one lights it, NaN where none does.
    """
    shape = grid.height, grid.width
    middle = (grid.height - 1) / 2, (grid.width - 1) / 2
    lit, gap = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    first, last = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    suns = [sun_on_map(image.sun, grid, *middle) for image in images]
    azimuths = [float(np.degrees(np.arctan2(sun[0], sun[1])) % 360) for sun in suns]
    for k in np.argsort(azimuths, kind="stable"):
        image, azimuth = images[k], np.float32(azimuths[k])
        row0, row1, col0, col1 = image.box
        here = np.s_[row0:row1, col0:col1]
        bright = image.read(*here) > LIT_SHARE * image.level
        lit[here] += bright
        since = azimuth - last[here]
        gap[here] = np.where(bright & np.isfinite(since), np.maximum(gap[here], since), gap[here])
        first[here] = np.where(bright & np.isnan(first[here]), azimuth, first[here])
        last[here] = np.where(bright, azimuth, last[here])
    around = np.float32(360) - (last - first)
    return lit, np.where(lit > 0, np.maximum(gap, around), np.nan).astype(np.float32)


def lit_level(radiance: NDArray[np.float32]) -> float:
    """Median radiance of an image's lit pixels: those above a tenth of the median of the positive ones.

    Parameters
    ----------
    radiance : (H, W), NaN without data.

    Returns
    -------
    In the unit of `radiance`; 0 if no pixel is positive.
    """
    bright = radiance[np.isfinite(radiance) & (radiance > 0)]
    if not bright.size:
        return 0.0
    return float(np.median(bright[bright > LIT_SHARE * np.median(bright)]))
