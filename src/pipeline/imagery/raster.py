"""Map-projected image files: windows of calibrated values and masks of the valid ones."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.imagery.projection import Points, from_lonlat, metres_per_unit, moon_crs, period, to_lonlat
from pipeline.imagery.validity import Mask, erode, not_missing, valid_mask
from pipeline.terrain.gdal_file import GdalFile
from pipeline.terrain.grid import GridError, RasterError
from pipeline.terrain.readers import check_whole

KINDS = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")

# An image with a larger share of pixels at the greatest value is overexposed as a whole.
SATURATED_SHARE = 0.2

# No orbital image is sampled more finely; a smaller pixel indicates a grid in kilometres labelled as metres.
_FINEST_PIXEL_M = 0.1
_FULL = {"uint8": 255, "int16": 32767, "uint16": 65535}
_SCAN_PIXELS = 4 << 20
_FOOTPRINT_POINTS = 33


class ImageFile(GdalFile):
    """A map-projected image of the Moon that GDAL reads, in any lunar projection.

    One band, or one and an alpha band. The grid may be rotated and its pixels need not be square. The object
    can be pickled; only one thread at a time may use it, as it holds an open file.

    Parameters
    ----------
    path : GeoTIFF, map-projected ISIS cube, or anything else that GDAL georeferences.

    Attributes
    ----------
    name : the path as text.
    tags : the file's metadata of the default domain.
    crs_wkt : the map projection.
    transform : affine from (column, row) of pixel corners to map coordinates.
    width, height : pixels.
    units : unit of the calibrated values as given in the file, "" if it gives none.
    pixel_m : side of a square with the area of the pixel at the image's centre, metres.
    kind : data type of the stored values.
    nodata : the no-data tag, or None.
    has_mask : whether the file has a mask, or an alpha band that excludes something.

    Raises
    ------
    RasterError
        If the file is missing, unreadable, truncated, of a data type not in `KINDS`, or has other bands.
    GridError
        If it is not on a map of the Moon.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path, "image")
        if not self._path.is_file():
            raise RasterError(f"{self.name}: expected an image file, found none")
        dataset = self._open()
        self._check_map(dataset)
        self.tags: dict[str, str] = dict(dataset.tags())
        self.crs_wkt = str(dataset.crs.to_wkt())
        moon_crs(self.crs_wkt, self.name)
        self.transform = dataset.transform
        self.width, self.height = int(dataset.width), int(dataset.height)
        self.units = str(dataset.units[0] or "")
        self.kind = str(dataset.dtypes[0])
        self.nodata: float | None = dataset.nodatavals[0]
        self._scale, self._offset = float(dataset.scales[0]), float(dataset.offsets[0])
        self.pixel_m = self._pixel_m()
        if self.pixel_m < _FINEST_PIXEL_M:
            raise GridError(
                f"{self.name}: expected pixels of {_FINEST_PIXEL_M:g} m at least, found {self.pixel_m:g} m "
                "(a grid in kilometres whose CRS says metres?)"
            )
        self._check_bands(dataset)
        check_whole(self.name, dataset, self._path.stat().st_size)
        self._has_alpha = dataset.count == 2
        flags = {flag.name for flag in dataset.mask_flag_enums[0]}
        # Where the no-data tag makes the mask, `valid_mask` compares with the tag itself.
        self._has_own_mask = "per_dataset" in flags and "alpha" not in flags
        self.has_mask = self._has_own_mask or (self._has_alpha and self._alpha_excludes())

    def _check_map(self, dataset: Any) -> None:
        transform = dataset.transform
        raw = dataset.crs is None or transform.is_identity
        if raw and (dataset.driver in ("ISIS3", "ISIS2", "PDS", "PDS4") or self._path.suffix == ".cub"):
            raise GridError(
                f"{self.name}: expected a map-projected image, found one in the camera's geometry; project "
                f"it with `mapproject DEM.tif {self.name} OUT.tif` (Ames Stereo Pipeline) or "
                f"`cam2map from={self.name} map=MAP.map to=OUT.cub` (ISIS)"
            )
        if dataset.crs is None:
            raise GridError(f"{self.name}: expected an image on a map of the Moon, found no CRS")
        if transform.is_identity:
            raise GridError(f"{self.name}: expected a georeferenced image, found no transform")
        if not (all(math.isfinite(v) for v in transform) and abs(transform.determinant) > 0):
            raise GridError(f"{self.name}: expected a transform that can be inverted, found {transform[:6]}")

    def _check_bands(self, dataset: Any) -> None:
        if dataset.count not in (1, 2):
            raise RasterError(
                f"{self.name}: expected one band of one image, or one and an alpha band, found "
                f"{dataset.count} bands (a colour picture or a mosaic)"
            )
        if self.kind not in KINDS:
            raise RasterError(f"{self.name}: expected pixels of {', '.join(KINDS)}, found {self.kind}")
        if dataset.count == 2:
            from rasterio.enums import ColorInterp

            self._full = _FULL.get(str(dataset.dtypes[1]), 255)
            kind = dataset.colorinterp[1]
            # Alpha bands are often untagged; then they hold nothing but 0 and the full value.
            plain = kind in (ColorInterp.undefined, ColorInterp.gray)
            if kind != ColorInterp.alpha and not (plain and self._second_is_two_valued()):
                raise RasterError(
                    f"{self.name}: expected one band, or one and an alpha band, found a second band of "
                    f"{kind.name} values"
                )

    def _windows(self) -> list[tuple[int, int]]:
        """Bands of rows, about `_SCAN_PIXELS` pixels each."""
        step = max(1, _SCAN_PIXELS // self.width)
        return [(top, min(top + step, self.height)) for top in range(0, self.height, step)]

    def _second_is_two_valued(self) -> bool:
        return all(
            bool(np.isin(self._band(2, top, bottom, 0, self.width), (0, self._full)).all())
            for top, bottom in self._windows()
        )

    def _alpha_excludes(self) -> bool:
        """Whether any pixel is not opaque: an alpha band that is full everywhere marks nothing as missing."""
        return any(
            bool((self._band(2, top, bottom, 0, self.width) < self._full).any())
            for top, bottom in self._windows()
        )

    def _at(self, col: Any, row: Any) -> tuple[Any, Any]:
        t = self.transform
        return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f

    @property
    def middle(self) -> tuple[float, float]:
        """Map coordinates of the image's centre."""
        return self._at(self.width / 2, self.height / 2)

    def _pixel_m(self) -> float:
        area = abs(self.transform.determinant) * metres_per_unit(self.crs_wkt) ** 2
        if moon_crs(self.crs_wkt, self.name).is_geographic:
            latitude = self.middle[1]
            area *= max(abs(math.cos(math.radians(latitude))), 1e-6)
        return math.sqrt(area)

    def _band(self, band: int, top: int, bottom: int, left: int, right: int, mask: bool = False) -> NDArray:
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        window = Window(left, top, right - left, bottom - top)
        try:
            dataset = self._open()
            return dataset.read_masks(band, window=window) if mask else dataset.read(band, window=window)
        except RasterioError as error:
            raise RasterError(
                f"{self.name}: expected readable pixels in rows {top}-{bottom}, columns {left}-{right}, "
                f"found a damaged block ({error})"
            ) from None

    def _raw(self, top: int, bottom: int, left: int, right: int) -> tuple[NDArray, Mask | None]:
        """Stored values of a window inside the image, and the pixels that its mask or alpha band accepts."""
        raw = self._band(1, top, bottom, left, right)
        mask: Mask | None = None
        if self._has_own_mask:
            mask = self._band(1, top, bottom, left, right, mask=True) == 255
        elif self.has_mask:
            # Partly transparent pixels are mixed with missing ones.
            mask = self._band(2, top, bottom, left, right) >= self._full
        return raw, mask

    def read(self, row0: int, row1: int, col0: int, col1: int) -> tuple[NDArray[np.float64], Mask]:
        """Calibrated values of rows ``row0:row1`` and columns ``col0:col1``, inside the image.

        Returns
        -------
        values : (H, W) in the file's calibrated unit (scale and offset applied), 0 where not valid.
        valid : (H, W); pixels next to an invalid one or to the image's border are not valid (`erode`).

        Raises
        ------
        RasterError
            If the file's pixels cannot be read.
        """
        # One more pixel on each side for the erosion; pixels beyond the image are invalid.
        top, bottom = max(row0 - 1, 0), min(row1 + 1, self.height)
        left, right = max(col0 - 1, 0), min(col1 + 1, self.width)
        raw, mask = self._raw(top, bottom, left, right)
        wide = np.zeros((row1 - row0 + 2, col1 - col0 + 2), dtype=bool)
        at = (top - row0 + 1, left - col0 + 1)
        wide[at[0] : at[0] + bottom - top, at[1] : at[1] + right - left] = valid_mask(raw, self, mask)
        valid = erode(wide)[1:-1, 1:-1]
        inner = raw[row0 - top : row1 - top, col0 - left : col1 - left]
        values = np.zeros(valid.shape)
        values[valid] = inner[valid].astype(np.float64) * self._scale + self._offset
        return values, valid

    @cached_property
    def saturated_share(self) -> float:
        """Share of the pixels with data that are at the file's own greatest value, 0 to 1.

        Above `SATURATED_SHARE` the image is overexposed. The whole file is read, once.
        """
        greatest, at_greatest, count = -math.inf, 0, 0
        for top, bottom in self._windows():
            raw, mask = self._raw(top, bottom, 0, self.width)
            found = raw[not_missing(raw, self) if mask is None else not_missing(raw, self) & mask]
            if not found.size:
                continue
            count += found.size
            peak = float(found.max())
            if peak > greatest:
                greatest, at_greatest = peak, 0
            at_greatest += int((found == greatest).sum())
        return at_greatest / count if count else 0.0

    def footprint(self, crs_wkt: str) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of the image on another map of the Moon, in that map's units.

        Points on the edges and inside are projected to the other map, so that the box of an image around a
        pole is right too. An image without any such point on the map gives an empty box (left > right).
        """
        x, y = self._points_on(crs_wkt)
        finite = np.isfinite(x) & np.isfinite(y)
        if not finite.any():
            return math.inf, math.inf, -math.inf, -math.inf
        x, y = x[finite], y[finite]
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _points_on(self, crs_wkt: str) -> Points:
        """Points on the image's edges and inside, on another map."""
        steps = np.linspace(0.0, 1.0, _FOOTPRINT_POINTS)
        cols, rows = np.meshgrid(steps * self.width, steps * self.height)
        x, y = self._at(cols.ravel(), rows.ravel())
        return from_lonlat(crs_wkt, *to_lonlat(self.crs_wkt, x, y))

    def meets(self, crs_wkt: str, box: tuple[float, float, float, float]) -> bool:
        """Whether points of the image lie in a box of another map, or points of the box in the image.

        Unlike a comparison of bounding boxes, this distinguishes places on opposite sides of the Moon.

        Parameters
        ----------
        crs_wkt : of the other map. box : left, bottom, right and top in its units.
        """
        left, bottom, right, top = box
        x, y = self._points_on(crs_wkt)
        if bool(((x >= left) & (x <= right) & (y >= bottom) & (y <= top)).any()):
            return True
        x, y = np.meshgrid(
            np.linspace(left, right, _FOOTPRINT_POINTS), np.linspace(bottom, top, _FOOTPRINT_POINTS)
        )
        row, col = self.pixel_of(*to_lonlat(crs_wkt, x.ravel(), y.ravel()))
        return bool(((col >= 0) & (col <= self.width) & (row >= 0) & (row <= self.height)).any())

    def coverage(self, most: int = 512) -> Mask:
        """Subsampled mask of pixels with data, at most `most` pixels per side."""
        step = max(1, math.ceil(max(self.width, self.height) / most))
        shape = -(-self.height // step), -(-self.width // step)
        dataset = self._open()
        raw = dataset.read(1, out_shape=shape)
        known = not_missing(raw, self)
        if self._has_own_mask:
            known &= dataset.read_masks(1, out_shape=shape) == 255
        elif self.has_mask:
            known &= dataset.read(2, out_shape=shape) >= self._full
        return known

    def pixel_of(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Points:
        """Rows and columns of longitudes and latitudes, in pixels from the top-left corner of the image.

        Parameters
        ----------
        lon, lat : degrees east and north, of one shape.

        Returns
        -------
        Fractional rows and columns, of the same shape; a pixel's centre is at half a pixel. NaN where the
        projection has no such point.
        """
        u, v = from_lonlat(self.crs_wkt, lon, lat)
        turn = period(self.crs_wkt)
        if turn is not None:
            # Longitudes of the file may run to 360.
            u = (u - self.middle[0] + turn / 2) % turn - turn / 2 + self.middle[0]
        finite = np.isfinite(u) & np.isfinite(v)
        u, v, inverse = np.where(finite, u, np.nan), np.where(finite, v, np.nan), ~self.transform
        return inverse.d * u + inverse.e * v + inverse.f, inverse.a * u + inverse.b * v + inverse.c
