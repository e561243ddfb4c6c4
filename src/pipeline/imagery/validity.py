"""Valid pixels of an image: exclusion of no-data, special and saturated values, and of their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipeline.imagery.raster import ImageFile

Mask = NDArray[np.bool_]

# ISIS special pixels of signed 16-bit files (NULL, LRS, LIS, HIS, HRS and the reserved range above them).
_SPECIAL_INT16 = (-32768, -32752)
# NULL, LRS, LIS, HIS and HRS of floating-point files are near -3.4e38; nothing measured is as large.
_LARGEST = 1e30
# Written by several programs for "no data", with or without a tag that says so.
_SENTINELS = (-32768.0, -9999.0)


def valid_mask(raw: NDArray, file: ImageFile, mask: Mask | None = None) -> Mask:
    """Pixels that hold a measurement.

    Excluded are: the no-data value; pixels that the file's own mask or alpha band excludes; NaN and
    infinities; special pixels; common no-data values without a tag; 0 in unsigned files that do not mark
    missing pixels; and the greatest value of 8- and 16-bit files, which is saturated. Negative values and
    values clipped at 0 of calibrated files are measurements.

    Parameters
    ----------
    raw : values as stored, before scale and offset, any shape.
    file : the image they come from.
    mask : pixels that the file's mask and alpha band accept, of the shape of `raw`; None for all.
    """
    valid = not_missing(raw, file) & ~saturated(raw)
    return valid if mask is None else valid & mask


def not_missing(raw: NDArray, file: ImageFile) -> Mask:
    """Pixels whose stored value is not a no-data value; saturated pixels are included."""
    out = np.ones(raw.shape, dtype=bool)
    if raw.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            out &= np.isfinite(raw) & (np.abs(raw) <= _LARGEST)
        for value in _SENTINELS:
            out &= raw != value
    elif raw.dtype == np.int16:
        low, high = _SPECIAL_INT16
        out &= (raw < low) | (raw > high)
    elif raw.dtype in (np.uint8, np.uint16) and file.nodata is None and not file.has_mask:
        out &= raw != 0
    if file.nodata is not None and np.isfinite(file.nodata):
        # A float32 file's tag may have the digits of a double.
        tag = raw.dtype.type(file.nodata) if raw.dtype.kind == "f" else file.nodata
        out &= raw != tag
    return out


def saturated(raw: NDArray) -> Mask:
    """Pixels at the greatest value that an 8- or 16-bit file can hold."""
    if raw.dtype in (np.uint8, np.int16, np.uint16):
        return np.asarray(raw == np.iinfo(raw.dtype).max)
    return np.zeros(raw.shape, dtype=bool)


def erode(valid: Mask) -> Mask:
    """Remove every pixel that has an invalid one among its eight neighbours, or lies at the border.

    When the image was projected, resampling mixed its edge pixels with no data; so are the file's borders.

    Parameters
    ----------
    valid : (H, W).

    Returns
    -------
    (H, W); the outermost rows and columns are False.
    """
    out = np.zeros_like(valid)
    if min(valid.shape) >= 3:
        rows = valid[:-2] & valid[1:-1] & valid[2:]
        out[1:-1, 1:-1] = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return out
