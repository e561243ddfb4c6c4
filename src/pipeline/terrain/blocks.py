"""Block means of a DEM, which make an a priori DEM, and extrapolation beyond the edge of the data."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Maps = TypeVar("Maps", bound=Any)  # an array or a tensor
Real = TypeVar("Real", bound=np.floating[Any])


def block_mean(dem: Maps, factor: int, dtype: Any = None) -> Maps:
    """Mean over square blocks: (..., H, W) to (..., H / factor, W / factor); a block with NaN is NaN.

    Parameters
    ----------
    dem : array or tensor, in any unit of height. factor : pixels per block along each axis.
    dtype : in which means are accumulated and returned; None for that of `dem`.

    Raises
    ------
    ValueError
        If height or width is not a multiple of `factor`.
    """
    height, width = dem.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"factor: expected a divisor of the map's {height} x {width} pixels, found {factor}")
    blocks = dem.reshape(*dem.shape[:-2], height // factor, factor, width // factor, factor)
    return blocks.mean(axis=(-3, -1), dtype=dtype)


def fill_nearest(cells: NDArray[Real]) -> NDArray[Real]:
    """Replace NaN by the value of the nearest cell with data; an array without NaN is returned itself.

    Parameters
    ----------
    cells : (rows, cols), at least one of them not NaN; otherwise the result has no meaning.
    """
    bad = np.isnan(cells)
    if not bad.any():
        return cells
    from scipy import ndimage  # slow to import, and only needed at the edge of the data

    nearest = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
    return cells[tuple(nearest)]
