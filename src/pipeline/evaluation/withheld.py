"""How well an estimate explains images that the predictor was not given.

A condition with `images` shows some of a set's images and withholds the rest. These are rendered from the
estimate and compared with the images of the truth: a test of the surface that users can make without a truth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.evaluation import Condition
from pipeline.config.photometry import PhotometrySection
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation.conditions import scene_of, withheld_of
from pipeline.illumination.photometry import radiance
from pipeline.shards.reader import Shard

#: Largest number of withheld images of a patch that are compared.
MOST = 8
# Images with a smaller share of fully lit pixels are left out.
_LEAST_LIT = 0.05


class WithheldImages:
    """Images of one patch that a condition does not show.

    Only pixels count that see the whole Sun and whose neighbours lie inside the patch, as slopes are central
    differences. Brightness is free: each rendering is scaled to its image by least squares. The images have
    none of the condition's imperfections and missing data.

    Parameters
    ----------
    truth : (P, P), metres. visible : visible share of the Sun, (n, P, P) u1.
    suns : (n, 3) unit vectors in map axes. pixel_m : pixel size, metres.
    section : the law of reflectance of the images.
    """

    def __init__(
        self,
        truth: NDArray[Any],
        visible: NDArray[np.uint8],
        suns: NDArray[np.float64],
        pixel_m: float,
        section: PhotometrySection,
    ) -> None:
        lit = visible[:, 1:-1, 1:-1] == 255
        enough = lit.mean(axis=(1, 2)) >= _LEAST_LIT
        self._lit = torch.from_numpy(lit[enough])
        self._suns = torch.from_numpy(suns[enough].astype(np.float64))
        self._pixel_m, self._section = pixel_m, section
        self._images = self._rendered(truth)

    def _rendered(self, dem: NDArray[Any]) -> Tensor:
        """(n, P-2, P-2) radiance without shadows of a DEM, (P, P) metres."""
        surface = torch.from_numpy(np.array(dem, np.float64))
        return radiance(surface, self._pixel_m, self._suns, None, self._section)[:, 1:-1, 1:-1]

    def columns(self, estimate: NDArray[Any], prior: NDArray[Any]) -> dict[str, float]:
        """Values of ``patches.csv`` for an estimate and the a priori DEM, (P, P) metres each."""
        return {
            "withheld_power": self.power,
            "withheld_misfit": self.misfit(estimate),
            "withheld_prior_misfit": self.misfit(prior),
        }

    @property
    def power(self) -> float:
        """Sum over the images of the mean square of their radiance, on the pixels that count."""
        return float(self._mean(self._images.square()).sum())

    def misfit(self, dem: NDArray[Any]) -> float:
        """Sum over the images of the mean square residual of a DEM's rendering, (P, P) metres."""
        rendered = self._rendered(dem)
        both, own = self._mean(rendered * self._images), self._mean(rendered.square())
        gain = both / own.clamp(min=1e-300)
        return float(self._mean((self._images - gain[:, None, None] * rendered).square()).sum())

    def _mean(self, maps: Tensor) -> Tensor:
        """(n,) means over the pixels that count."""
        return (maps * self._lit).sum(dim=(1, 2)) / self._lit.sum(dim=(1, 2)).clamp(min=1)


def distinct(images: NDArray[Any], left: NDArray[np.int64]) -> NDArray[np.int64]:
    """Withheld images that are neither shown nor in the list before, as draws contain a direction repeatedly.

    Parameters
    ----------
    images : (n,) numbers of the directions of a patch's draw. left : (k,) positions that are withheld.

    Returns
    -------
    (m,) of the positions `left`, m <= k, in their order.
    """
    known = set(np.delete(images, left).tolist())
    kept = []
    for position in left.tolist():
        if images[position] not in known:
            known.add(images[position])
            kept.append(position)
    return np.array(kept, np.int64)


def withheld(
    condition: Condition | None, place: tuple[Shard, int], section: PredictorStage, truth: NDArray[Any]
) -> WithheldImages | None:
    """Stored images of a patch that a condition withholds, at most `MOST`, the same for all systems.

    None where the condition shows all of them, or where they are rendered scenes, whose reflectance laws
    differ.

    Parameters
    ----------
    condition : None where the predictor is given no images. place : shard and position in it.
    section : seed of the images' order, and their reflectance law.
    truth : the patch's heights, (P, P) metres above any reference.

    Raises
    ------
    StoreError
        If the shard lacks the images that the condition names.
    """
    if condition is None or condition.images is None or condition.light != "arcs":
        return None
    shard, patch = place
    found = scene_of(condition).image_set(shard, patch, np.random.default_rng(0))
    left = distinct(found.images, withheld_of(condition, len(found.images), section, int(shard.ids[patch])))
    left = np.sort(left[-MOST:])
    visible = shard.visible(found.group, patch, found.images[left])
    return WithheldImages(truth, visible, found.suns[left], float(shard.attrs["pixel_m"]), section.photometry)
