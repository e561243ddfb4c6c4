"""What the first preparation of a site's images decides for the second: what is withheld, and exposures."""

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

# Exposures of a list and of the match with the DEM that differ by more than this are told.
_APART = 0.2
# With so many lit pixels a block is compared well.
_ENOUGH = 1500
# Matches whose ratios scatter less than this are sure, and so many of them say what the set has in common.
_SURE, _LEAST_SURE, _SMALLEST_SPREAD = 0.3, 5, 0.02
# Relative error of a match whose ratios scatter by s: this times s^2 (measured on two sets whose exposures
# vary by 5 %: 0.3 at s = 0.5, hardly any at 0.1).
_ERROR = 1.2

Record = Mapping[str, Any]


def records_of(paths: Sequence[Path | str]) -> list[Record]:
    """Records of all images of prepared stores, in their order."""
    return [record for path in paths for record in store_attrs(path)["images"]]


def lit_blocks(
    values: NDArray[np.float32], box: Box, shape: tuple[int, int], level: float
) -> list[list[int]]:
    """Numbers of the blocks of a map that an image lights, and of its lit pixels in each.

    Parameters
    ----------
    values : (rows, cols) of the box of the map. shape : of the map. level : median lit radiance.
    """
    counts = by_block((values > LIT_SHARE * level).astype(np.float64), box, shape).ravel()
    return [[int(block), int(counts[block])] for block in np.flatnonzero(counts)]


def withheld_of(records: Sequence[Record], section: ImagesSection) -> set[int]:
    """Numbers of the images that the map does not see, to be compared with it.

    One of each part of the azimuths, in equal parts: the one that lights most of what those before it leave
    unlit, so that as many blocks of the map as possible are compared. An image whose brightness the DEM does
    not explain tells nothing of either DEM, and is not among them. None where too few images can be used.
    """
    used = [i for i, record in enumerate(records) if record["used"]]
    count = section.withheld_of(len(used))
    if not count:
        return set()
    telling = [i for i in used if records[i]["scatter"] <= _SURE]
    telling = telling if len(telling) >= count else used
    order = sorted(telling, key=lambda i: (records[i]["image"]["azimuth_deg"], i))
    seen: Counter[int] = Counter()
    picked = set()
    for part in np.array_split(np.array(order), count):
        best = max(part.tolist(), key=lambda i: (_gain(records[i], seen), -i))
        picked.add(int(best))
        seen.update(dict(records[best]["lit"]))
    return picked


def _gain(record: Record, seen: Counter[int]) -> int:
    """Pixels that an image adds to blocks that have not enough."""
    return sum(min(seen[block] + lit, _ENOUGH) - min(seen[block], _ENOUGH) for block, lit in record["lit"])


@dataclass(frozen=True)
class Known:
    """What is known of an image's exposure beforehand: about `scale`, off by `spread` in relative terms."""

    scale: float
    spread: float

    def with_match(self, match: Exposure) -> float:
        """The exposure, once the image was matched with the DEM: both weighted by their certainty.

        Where much of what the DEM has in light lies in shadow, the ratios scatter, and the image seems darker
        than it is.
        """
        if self.spread == 0:
            return self.scale
        own, prior = (_ERROR * match.scatter**2) ** 2, self.spread**2
        return math.exp((math.log(match.scale) * prior + math.log(self.scale) * own) / (prior + own))


def exposures_of(records: Sequence[Record]) -> list[Known | None]:
    """What the first preparation tells of every image's exposure; None where it tells nothing.

    Where a list gives exposures, its ratios are taken, in the unit that the match with the DEM has. Else the
    sure matches of the set say how bright images are, and how much they differ.
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
