"""What the reconstruction asks of images, whether they are rendered or taken by a camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class WindowImages:
    """Images of one window of the region, on the host.

    Attributes
    ----------
    images : (n, rows, cols) float32 radiance factor; 0 where data are missing.
    valid : (n, rows, cols) bool, False where an image has no data.
    sun : (n, 3) float32 unit vectors to the Sun, map frame (right, up on the map, zenith).
    """

    images: Tensor
    valid: Tensor
    sun: Tensor

    def __len__(self) -> int:
        return len(self.images)


class RegionImages(Protocol):
    """Images that cover (parts of) a region, on its pixels."""

    @property
    def count(self) -> int:
        """Number of images of the whole region."""

    def read(
        self, row0: int, row1: int, col0: int, col1: int, only: Sequence[int] | None = None
    ) -> WindowImages:
        """Images of a window of the region.

        Parameters
        ----------
        row0, row1, col0, col1 : half-open window in the region, pixels.
        only : exactly these images; None for all that show something there: images without data in the
            window, or dark all over it, are left out.
        """
