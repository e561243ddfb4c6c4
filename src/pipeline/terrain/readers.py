"""Raster files with one interface: windows of float32 with NaN where there are no data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.terrain.gdal_file import GdalFile
from pipeline.terrain.grid import Grid, GridError, RasterError, make_grid

_KILOMETRES = {"km", "kilometer", "kilometers", "kilometre", "kilometres"}


class Raster(ABC):
    """One open raster file.

    Attributes
    ----------
    name : path as text. grid : map grid. data_bytes : size of the file with the pixels, bytes.
    """

    name: str
    grid: Grid
    data_bytes: int

    def read(self, row0: int, row1: int, col0: int, col1: int) -> NDArray[np.float32]:
        """Rows ``row0:row1`` and columns ``col0:col1``; NaN for missing pixels and outside the raster.

        Parameters
        ----------
        row0, row1, col0, col1 : half-open window, pixels; it may extend beyond the raster.

        Returns
        -------
        (row1 - row0, col1 - col0) float32 with the file's scale and offset applied: metres if its unit is
        metres or kilometres, else in the unit of the file. Radii of a PDS3 image become heights above
        R = 1737400 m.

        Raises
        ------
        RasterError
            If the file, or a block of it, cannot be read.
        """
        out = np.full((max(0, row1 - row0), max(0, col1 - col0)), np.nan, dtype=np.float32)
        top, bottom = max(row0, 0), min(row1, self.grid.height)
        left, right = max(col0, 0), min(col1, self.grid.width)
        if top < bottom and left < right:
            inside = self._inside(top, bottom, left, right)
            out[top - row0 : bottom - row0, left - col0 : right - col0] = inside
        return out

    @abstractmethod
    def _inside(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.float64]:
        """A window inside the raster, in double precision."""

    @abstractmethod
    def close(self) -> None:
        """Release the file; a later `read` opens it again."""


def open_raster(path: Path | str) -> Raster:
    """Open a GeoTIFF (or another georeferenced format of GDAL) or a PDS3 image and check its header.

    Parameters
    ----------
    path : raster file; for PDS3 either the ``.IMG`` or its ``.LBL``.

    Raises
    ------
    RasterError
        If the file is missing, unreadable, truncated, or has more than one band.
    GridError
        If its grid is not lunar polar stereographic, north-up and with square pixels.
    """
    path = Path(path)
    if not path.is_file():
        raise RasterError(f"{path}: expected a raster file, found none")
    if path.suffix.upper() in (".IMG", ".LBL"):
        from pipeline.terrain.pds3 import PdsRaster

        return PdsRaster(path)
    return GdalRaster(path)


def check_whole(name: str, dataset: Any, data_bytes: int) -> None:
    """Compare the end of every TIFF block with the file's size, since GDAL opens truncated files.

    Parameters
    ----------
    name : file, for error messages.
    dataset : open rasterio dataset; formats other than TIFF pass.
    data_bytes : size of the file.

    Raises
    ------
    RasterError
        If a block ends beyond the end of the file.
    """
    if dataset.driver not in ("GTiff", "COG"):
        return
    end = 0
    # Bands interleaved by pixel share their blocks.
    bands = dataset.indexes if dataset.profile.get("interleave") == "band" else (1,)
    for band in bands:
        rows, cols = dataset.block_shapes[band - 1]
        for y in range(-(-dataset.height // rows)):
            for x in range(-(-dataset.width // cols)):
                # A block without an offset is sparse: GDAL reads it as nodata.
                offset = dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band)
                if offset:
                    size = dataset.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=band)
                    end = max(end, int(offset) + int(size or 0))
    if end > data_bytes:
        raise RasterError(f"{name}: truncated: expected at least {end} bytes, found {data_bytes}")


class GdalRaster(GdalFile, Raster):
    """A raster read by GDAL; scale, offset, nodata and mask of the band are applied."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "raster")
        self.data_bytes = path.stat().st_size
        dataset = self._open()
        if dataset.count != 1:
            raise RasterError(f"{self.name}: expected one band, found {dataset.count}")
        if dataset.transform.is_identity:
            raise GridError(f"{self.name}: expected a georeferenced raster, found no transform")
        self.grid = self._grid_of(dataset)
        check_whole(self.name, dataset, self.data_bytes)
        metres = 1e3 if (dataset.units[0] or "").lower() in _KILOMETRES else 1.0
        self._scale, self._offset = dataset.scales[0] * metres, dataset.offsets[0] * metres

    def _grid_of(self, dataset: Any) -> Grid:
        """The grid of the file."""
        wkt = dataset.crs.to_wkt() if dataset.crs else None
        return make_grid(self.name, wkt, dataset.transform, dataset.width, dataset.height)

    def _inside(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.float64]:
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        try:
            window = Window(left, top, right - left, bottom - top)
            data = self._open().read(1, window=window, masked=True)
        except RasterioError as error:
            raise RasterError(
                f"{self.name}: expected readable pixels in rows {top}-{bottom}, columns {left}-{right}, "
                f"found a damaged block ({error})"
            ) from None
        values = np.asarray(data.data, dtype=np.float64) * self._scale + self._offset
        values[np.ma.getmaskarray(data) | ~np.isfinite(values)] = np.nan
        return values
