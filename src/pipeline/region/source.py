"""Interface of a region's images, rendered or taken by a camera.

A new source of a stage's images is a module with a function `open_images` and an entry in `SOURCES`; from
Python, any object with the two members of `RegionImages` can be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.config.base import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.config.stages.region import RegionStage
    from pipeline.region.ground import AprioriDem, Ground

SOURCES: Registry = {"rendered": "pipeline.region.render"}


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
        only : indices of the images; None for all images except those that have no data in the window or are
            dark all over it.
        """


def open_images(
    source: str,
    section: RegionStage,
    inputs: Mapping[str, Any],
    apriori: AprioriDem,
    ground: Ground | None = None,
) -> RegionImages:
    """Images of a region from a source of `SOURCES`.

    Parameters
    ----------
    source : its name. section : of the stage. inputs : the stage's files by name.
    apriori : a priori DEM, with the map grid that images lie on.
    ground : true terrain, if known; only ``rendered`` images need it.

    Raises
    ------
    ValueError
        If there is no such source, or it cannot use the files or the terrain.
    """
    if source not in SOURCES:
        raise ValueError(f"images: expected a source of {', '.join(SOURCES)}, found {source!r}")
    module: Any = import_module(SOURCES[source])
    images: RegionImages = module.open_images(section, inputs, apriori, ground)
    return images


def one_file(files: Any) -> str:
    """A file given as a path or as a list of at most one; '' for none."""
    if isinstance(files, str):
        return files
    return str(files[0]) if files else ""
