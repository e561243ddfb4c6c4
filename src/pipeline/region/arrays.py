"""Images of a region given as arrays on the region's pixels, for instance map-projected camera images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.region.source import WindowImages

Floats = NDArray[np.floating[Any]]


class ArrayImages:
    """Images given as arrays.

    Parameters
    ----------
    images : (N, rows, cols) radiance factor on the region's pixels, N >= 1.
    suns : (N, 3) unit vectors to the Sun, map frame (right, up on the map, zenith); or, since they vary over
        a large region, a function that returns them for a row and column (the middle of a window).
    valid : (N, rows, cols), False where an image has no data; None if such pixels are NaN.

    Raises
    ------
    ValueError
        If shapes do not fit each other, or a valid pixel is not finite.
    """

    def __init__(
        self,
        images: Floats,
        suns: Floats | Callable[[float, float], Floats],
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        valid = np.isfinite(images) if valid is None else np.asarray(valid, dtype=bool)
        if images.ndim != 3 or not len(images) or valid.shape != images.shape:
            raise ValueError(
                f"images: expected (N, rows, cols) and masks of the same shape, found {images.shape} and "
                f"{valid.shape}"
            )
        if not np.isfinite(images[valid]).all():
            raise ValueError("images: expected finite values where data are valid, found others")
        self._images = np.where(valid, images, 0).astype(np.float32)
        self._valid, self._suns = valid, suns
        self._sun(0, 0)

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self._images)

    def read(
        self, row0: int, row1: int, col0: int, col1: int, only: Sequence[int] | None = None
    ) -> WindowImages:
        """Images of a window; see `pipeline.region.source.RegionImages.read`.

        Raises
        ------
        ValueError
            If the window reaches beyond the images.
        """
        rows, cols = self._images.shape[1:]
        if not (0 <= row0 < row1 <= rows and 0 <= col0 < col1 <= cols):
            raise ValueError(
                f"images: expected a window within {rows} x {cols} px, found rows {row0} to {row1}, columns "
                f"{col0} to {col1}"
            )
        here = self._images[:, row0:row1, col0:col1]
        # Pixels without data are 0.
        shown = np.flatnonzero((here > 0).any(axis=(1, 2))) if only is None else only
        chosen = np.asarray(shown, dtype=np.int64)
        sun = self._sun((row0 + row1 - 1) / 2, (col0 + col1 - 1) / 2)[chosen]
        valid = self._valid[chosen, row0:row1, col0:col1]
        return WindowImages(torch.from_numpy(here[chosen]), torch.from_numpy(valid), torch.from_numpy(sun))

    def _sun(self, row: float, col: float) -> NDArray[np.float32]:
        suns = np.asarray(self._suns(row, col) if callable(self._suns) else self._suns, dtype=np.float32)
        if suns.shape != (self.count, 3) or np.abs(np.linalg.norm(suns, axis=1) - 1).max() > 1e-3:
            raise ValueError(
                f"suns: expected {self.count} unit vectors, found shape {suns.shape} or other lengths"
            )
        return suns
