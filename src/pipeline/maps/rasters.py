"""The GeoTIFFs of a map, written in bands of rows, so that memory does not grow with the map.

Cloud-optimised, with tiles of 512 pixels, overviews, statistics, units and band names; NaN (0 for classes) is
nodata. The files contain no dates: the same values give the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.storage.atomic import replacing
from pipeline.terrain.grid import Grid

BLOCK_PX = 512


@dataclass(frozen=True)
class Kind:
    """Contents of a raster of a map.

    Attributes
    ----------
    description, unit : of its bands. dtype : of its values. nodata : value of missing data; None for none.
    average : whether overviews are means; otherwise they take the nearest pixel.
    """

    description: str
    unit: str
    dtype: str = "float32"
    nodata: float | None = float("nan")
    average: bool = True


class Rasters:
    """GeoTIFFs that appear together, once all their rows are written without an error; a context manager.

    Parameters
    ----------
    paths : files to make, by name. grid : of all of them. kinds : by name. tags : of every file.
    bands : number of bands by name; 1 where not given.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        grid: Grid,
        kinds: Mapping[str, Kind],
        tags: Mapping[str, str],
        bands: Mapping[str, int] | None = None,
    ) -> None:
        self._paths, self._grid, self._kinds = dict(paths), grid, kinds
        self._tags, self._bands = dict(tags), dict(bands or {})

    def __enter__(self) -> Rasters:
        folder = Path(next(iter(self._paths.values()))).parent
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=".map.", dir=folder))
        self._stack = ExitStack()
        self._open: dict[str, Any] = {}
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def _begin(self) -> None:
        import rasterio
        from rasterio.crs import CRS

        grid = self._grid
        software = f"lunar-bridge {importlib.metadata.version('lunar-bridge')}"
        for name in self._paths:
            kind = self._kinds[name]
            profile = {
                "driver": "GTiff", "dtype": kind.dtype, "count": self._bands.get(name, 1),
                "nodata": kind.nodata, "height": grid.height, "width": grid.width,
                "crs": CRS.from_wkt(grid.crs_wkt), "transform": grid.transform, "tiled": True,
                "blockxsize": 256, "blockysize": 256, "bigtiff": "if_safer",
            }  # fmt: skip
            target = self._stack.enter_context(rasterio.open(self._folder / f"{name}.tif", "w", **profile))
            target.update_tags(**{**self._tags, "TIFFTAG_SOFTWARE": software, "AREA_OR_POINT": "Area"})
            target.units = (kind.unit,) * profile["count"]
            for band in range(1, profile["count"] + 1):
                more = f" {band}" if profile["count"] > 1 else ""
                target.set_band_description(band, kind.description + more)
            self._open[name] = target

    def write(self, name: str, top: int, values: NDArray[Any]) -> None:
        """Write rows from `top` on: (rows, W), or (bands, rows, W)."""
        from rasterio.windows import Window

        stack = values[None] if values.ndim == 2 else values
        window = Window(0, top, stack.shape[2], stack.shape[1])
        self._open[name].write(np.ascontiguousarray(stack.astype(self._kinds[name].dtype)), window=window)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.close()
            if kind is None:
                with ExitStack() as all_of_them:
                    for name, path in self._paths.items():
                        self._finish(name, all_of_them.enter_context(replacing(path)))
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _finish(self, name: str, target: Path) -> None:
        """Write the cloud-optimised copy of a finished raster."""
        import rasterio.shutil

        kind = self._kinds[name]
        predictor = "FLOATING_POINT" if kind.dtype.startswith("float") else "STANDARD"
        rasterio.shutil.copy(
            self._folder / f"{name}.tif", target, driver="COG", compress="deflate", predictor=predictor,
            blocksize=BLOCK_PX, overview_resampling="average" if kind.average else "nearest",
            statistics="yes", bigtiff="if_safer", num_threads="1",
        )  # fmt: skip
