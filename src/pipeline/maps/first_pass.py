"""Results of the first preparation of a site's images for the second: withheld images, and exposures."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.images import ImagesSection
from pipeline.imagery.exposure import Exposure
from pipeline.maps.blocks import Box, by_block
from pipeline.maps.images import LIT_SHARE
from pipeline.storage.store import store_attrs

logger = logging.getLogger(__name__)

# Relative difference between exposures of a list and of the match with the DEM that is reported.
_APART = 0.2
# Number of lit pixels from which the comparison of a block is reliable.
_ENOUGH = 1500
# Largest scatter of a reliable match, least number of them for a common exposure, least spread of exposures.
_SURE, _LEAST_SURE, _SMALLEST_SPREAD = 0.3, 5, 0.02
# Relative error of a match whose ratios scatter by s: this times s^2 (measured on two sets whose exposures
# vary by 5 %: 0.3 at s = 0.5, hardly any at 0.1).
_ERROR = 1.2
# Largest scatter of the ratios to the rendering at which an image's exposure is determined by itself.
_UNSURE = 0.6
# A prior is not used where it differs from the match by more than this, in their common standard deviation.
_CONTRADICTS = 4.0

Record = Mapping[str, Any]


def records_of(paths: Sequence[Path | str]) -> list[Record]:
    """Records of all images of prepared stores, in their order."""
    return [record for path in paths for record in store_attrs(path)["images"]]


def lit_blocks(
    values: NDArray[np.float32], box: Box, shape: tuple[int, int], level: float
) -> list[list[int]]:
    """Pairs of the index of a block of a map that an image lights, and the number of its lit pixels there.

    Parameters
    ----------
    values : (rows, cols) of the box of the map. shape : of the map. level : median lit radiance.
    """
    counts = by_block((values > LIT_SHARE * level).astype(np.float64), box, shape).ravel()
    return [[int(block), int(counts[block])] for block in np.flatnonzero(counts)]


def withheld_of(records: Sequence[Record], section: ImagesSection) -> set[int]:
    """Indices of the images that are withheld from the map, for its check.

    The images are divided by azimuth into equal parts. From each part, the image is withheld that adds most
    lit pixels to blocks that the previous ones do not light enough, so that as many blocks as possible are
    compared. Images whose brightness the DEM does not explain are left out, as they cannot rate a DEM. Empty
    where too few images are usable.
    """
    used = [i for i, record in enumerate(records) if record["used"]]
    count = section.withheld_of(len(used))
    if not count:
        return set()
    reliable = [i for i in used if records[i]["scatter"] <= _SURE]
    reliable = reliable if len(reliable) >= count else used
    order = sorted(reliable, key=lambda i: (records[i]["image"]["azimuth_deg"], i))
    lit: Counter[int] = Counter()
    picked = set()
    for part in np.array_split(np.array(order), count):
        best = max(part.tolist(), key=lambda i: (_gain(records[i], lit), -i))
        picked.add(int(best))
        lit.update(dict(records[best]["lit"]))
    return picked


def _gain(record: Record, before: Counter[int]) -> int:
    """Number of lit pixels that an image adds to blocks with fewer than `_ENOUGH`."""
    return sum(min(before[block] + n, _ENOUGH) - min(before[block], _ENOUGH) for block, n in record["lit"])


@dataclass(frozen=True)
class Known:
    """Prior of an image's exposure: `scale`, with the relative standard deviation `spread`."""

    scale: float
    spread: float

    def with_match(self, match: Exposure) -> float:
        """The exposure after the match with the DEM: the mean of both logarithms, by inverse variances.

        Where much of the terrain that the DEM predicts as lit lies in shadow, the ratios scatter and the
        image seems darker than it is.
        """
        if self.spread == 0:
            return self.scale
        own, prior = self._variances(match)
        return math.exp((math.log(match.scale) * prior + math.log(self.scale) * own) / (prior + own))

    def contradicts(self, match: Exposure) -> bool:
        """Whether both differ by far more than their errors: the image has another unit or camera setting."""
        apart = abs(math.log(match.scale / self.scale))
        return self.spread > 0 and apart > _CONTRADICTS * math.sqrt(sum(self._variances(match)))

    def _variances(self, match: Exposure) -> tuple[float, float]:
        """Of the logarithms of the match and of the prior."""
        return (_ERROR * match.scatter**2) ** 2, self.spread**2


def settle(match: Exposure, known: Known | None, path: str) -> tuple[float, str]:
    """An image's exposure, and the reason why it cannot be used; '' where it can.

    Parameters
    ----------
    match : with the DEM. known : prior; None if there is none. path : of the image, for the log.
    """
    if known is not None and known.contradicts(match):
        logger.warning(
            "%s: exposure %.4g by the match with the DEM, %.4g +- %.0f %% by the other images; theirs is not "
            "used: is this image in another unit?", path, match.scale, known.scale, 100 * known.spread,
        )  # fmt: skip
        known = None
    if known is not None:
        return known.with_match(match), ""
    if match.scatter <= _UNSURE:
        return match.scale, ""
    why = f"its exposure is uncertain: ratios to the DEM's rendering scatter by {match.scatter:.2f}"
    return match.scale, f"{why}, at most {_UNSURE:g} is allowed"


def exposures_of(records: Sequence[Record]) -> list[Known | None]:
    """Prior of every image's exposure from the first preparation; None where there is none.

    Where a list gives exposures, its values are used, scaled to the unit of the match with the DEM. Otherwise
    the prior is the median and spread of the reliable matches of the set.
    """
    listed = _listed(records)
    common = None if listed else _common(records)
    return [listed.get(i, common) for i in range(len(records))]


def _listed(records: Sequence[Record]) -> dict[int, Known]:
    pairs = [
        (i, record["image"]["exposure"], record["exposure"])
        for i, record in enumerate(records)
        if record["used"] and record["image"].get("exposure") and record["exposure"]
    ]
    if not pairs:
        return {}
    unit = float(np.median([matched / given for _, given, matched in pairs]))
    for i, given, matched in pairs:
        if abs(matched / (given * unit) - 1) > _APART:
            logger.warning(
                "%s: exposure %.4g by site.exposures, %.4g by the match with the DEM; the list's is used",
                records[i]["path"], given * unit, matched,
            )  # fmt: skip
    listed = {i: record["image"].get("exposure") for i, record in enumerate(records)}
    return {i: Known(given * unit, 0.0) for i, given in listed.items() if given}


def _common(records: Sequence[Record]) -> Known | None:
    sure = [r["exposure"] for r in records if r["exposure"] and r["scatter"] <= _SURE]
    if len(sure) < _LEAST_SURE:
        return None
    logs = np.log(sure)
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), _SMALLEST_SPREAD)
    return Known(math.exp(middle), spread)
