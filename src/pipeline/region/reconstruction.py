"""A finished region, as `pipeline.region.reconstruct` returns and `pipeline.region.outputs` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.bridge import SamplerSection
from pipeline.config.region import RegionSection
from pipeline.region.blend import Mosaic
from pipeline.region.ground import AprioriDem
from pipeline.region.place import Place
from pipeline.region.source import RegionImages


@dataclass(frozen=True)
class Origin:
    """Provenance of a region and its model, for tags and metrics; unknown entries are left out.

    Attributes
    ----------
    site : name of the piece of terrain. place : square on it.
    fingerprint : of the model's weights. key : of the stage.
    patches : (n, 2) rows and columns, in the region, of whole ``test`` and ``train`` patches.
    """

    site: str = ""
    place: Place | None = None
    fingerprint: str = ""
    key: str = ""
    patches: Mapping[str, NDArray[np.int64]] | None = None


@dataclass(frozen=True)
class Reconstruction:
    """A finished region.

    Attributes
    ----------
    apriori, images : inputs. truth : (S, S) true heights, metres, or None. mosaic : blended clones.
    section, sampler : settings. size_px : side of a window.
    images_per_window : images used in each window. images_per_pixel : (S, S) images with data.
    origin : of the region and the model.
    """

    apriori: AprioriDem
    truth: NDArray[np.floating[Any]] | None
    images: RegionImages
    mosaic: Mosaic
    section: RegionSection
    sampler: SamplerSection
    size_px: int
    images_per_window: list[int]
    images_per_pixel: NDArray[np.int32]
    origin: Origin

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the GeoTIFFs: provenance and settings."""
        return {
            "MODEL_FINGERPRINT": self.origin.fingerprint,
            "STAGE_KEY": self.origin.key,
            "MEMBERS": str(self.section.members),
            "NFE": str(self.sampler.nfe),
            "SAMPLER": self.sampler.kind,
            "FACTOR": str(self.apriori.factor),
            "WINDOW_PX": str(self.size_px),
            "STRIDE_PX": str(self.section.stride_px),
            "IMAGES": str(self.images.count),
            "SITE": self.origin.site,
            "HEIGHT_DATUM": "sphere of radius 1737400 m",
        }
