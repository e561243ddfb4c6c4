"""Block means: a DEM on coarser pixels, as the a priori DEM sees it, and what is held beyond its edge."""

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
        If the map does not divide into blocks.
    """
    height, width = dem.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"factor: expected a divisor of the map's {height} x {width} pixels, found {factor}")
    blocks = dem.reshape(*dem.shape[:-2], height // factor, factor, width // factor, factor)
    return blocks.mean(axis=(-3, -1), dtype=dtype)


def fill_nearest(cells: NDArray[Real]) -> NDArray[Real]:
    """Replace NaN by the nearest value: the edge of the data is held, as bicubic interpolation does."""
    bad = np.isnan(cells)
    if not bad.any():
        return cells
    from scipy import ndimage  # heavy, and needed at the edge of the data alone

    nearest = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
    return cells[tuple(nearest)]
