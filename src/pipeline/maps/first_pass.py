"""What the first preparation of a site's images decides for the second: what is withheld, and exposures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.images import ImagesSection
from pipeline.storage.store import store_attrs

logger = logging.getLogger(__name__)

# Exposures of a list and of the match with the DEM that differ by more than this are told.
_APART = 0.2

Record = Mapping[str, Any]


def records_of(paths: Sequence[Path | str]) -> list[Record]:
    """Records of all images of prepared stores, in their order."""
    return [record for path in paths for record in store_attrs(path)["images"]]


def withheld_of(records: Sequence[Record], section: ImagesSection) -> set[int]:
    """Numbers of the images that the map does not see, to be compared with it.

    Those that the survey picked, as far as they can be used; where the preparation refused some of them,
    others stand in, evenly over the azimuths. None where too few images can be used.
    """
    used = [i for i, record in enumerate(records) if record["used"]]
    if len(used) < section.check_from or not section.withhold:
        return set()
    wanted = min(max(section.withhold_least, round(section.withhold * len(used))), len(used) // 2)
    picked = {i for i in used if records[i]["withheld"]}
    rest = sorted((i for i in used if i not in picked), key=lambda i: records[i]["image"]["azimuth_deg"])
    more = max(0, wanted - len(picked))
    return picked | {rest[int((k + 0.5) * len(rest) / more)] for k in range(more)}


def exposures_of(records: Sequence[Record]) -> dict[int, float]:
    """Exposures by the images' numbers: ratios of a list, in the unit that the match with the DEM has."""
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
    return {i: given * unit for i, given, _ in pairs}
