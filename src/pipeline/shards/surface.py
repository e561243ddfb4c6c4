"""The surface from whose gradients the radiance of a patch is computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def edge_surface(dem: NDArray[np.float32], halo: int, size: int, use_halo: bool) -> NDArray[np.float32]:
    """The patch and one pixel around it, (size + 2, size + 2) metres.

    Where surrounding pixels are absent or not to be used, the surface is extrapolated linearly, so that
    central differences become one-sided.

    Parameters
    ----------
    dem : (size + 2 halo,) * 2 heights, metres, NaN where there are no data. use_halo : whether to use them
        around the patch.
    """
    patch = dem[halo : halo + size, halo : halo + size]
    out = np.full((size + 2, size + 2), np.nan, np.float32)
    out[1:-1, 1:-1] = patch
    if use_halo and halo:
        out = dem[halo - 1 : halo + size + 1, halo - 1 : halo + size + 1].copy()
    for edge, first, second in (
        (np.s_[0, :], np.s_[1, :], np.s_[2, :]),
        (np.s_[-1, :], np.s_[-2, :], np.s_[-3, :]),
        (np.s_[:, 0], np.s_[:, 1], np.s_[:, 2]),
        (np.s_[:, -1], np.s_[:, -2], np.s_[:, -3]),
    ):
        out[edge] = np.where(np.isnan(out[edge]), 2 * out[first] - out[second], out[edge])
    # Corners enter no gradient; their value is arbitrary.
    return np.nan_to_num(out, nan=0.0)
