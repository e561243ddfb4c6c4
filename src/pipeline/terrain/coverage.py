"""Stage ``selected``: keep the patches with enough altimetry."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.coverage import CoverageSection
from pipeline.storage.atomic import write_json
from pipeline.storage.store import read_store

logger = logging.getLogger(__name__)

SCHEMA = "selected/1"
#: Code of patches with too few spots; the entry `reason` explains it in words.
LOW_COVERAGE = "low_coverage"
_CHUNK = 256


class CoverageError(ValueError):
    """Patches that cannot be selected by coverage."""


def select_tile(patch_store: Path | str, coverage: CoverageSection, out_json: Path | str) -> None:
    """Write which patches of a tile are kept, and why others are not.

    A patch's coverage is its share of pixels with at least one LOLA spot (count > 0; a missing count is
    zero). A patch is kept if this is at least ``coverage.min_share``.

    Parameters
    ----------
    patch_store : store made by `extract_tile`.
    coverage : section ``coverage``.
    out_json : JSON to write, schema ``selected/1``.

    Raises
    ------
    CoverageError
        If ``coverage.min_share`` is above 0 and there is no count map.
    """
    ds = read_store(patch_store, schema="patches")
    n = ds["id"].shape[0]
    share: NDArray[np.float64] | None = None
    if "count" in ds:
        share = np.zeros(n)
        for start in range(0, n, _CHUNK):
            part = slice(start, start + _CHUNK)
            share[part] = np.mean(ds["count"][part] > 0, axis=(1, 2))
    elif coverage.min_share > 0:
        raise CoverageError(
            f"{patch_store}: coverage.min_share = {coverage.min_share:.6g} needs a count map "
            "(inputs.count), found none; give one or set coverage.min_share to 0"
        )
    table = {k: ds[k].values for k in ("id", "row", "col", "site", "on_grid", "x0", "y0")}
    entries = [_entry(table, share, i, coverage.min_share) for i in range(n)]
    kept = sum(e["kept"] for e in entries)
    logger.info("tile %d: %d of %d patches have enough altimetry", ds.attrs["tile"], kept, n)
    write_json(
        out_json,
        {
            "schema": SCHEMA,
            **{key: ds.attrs[key] for key in ("tile", "size_px", "pixel_m", "sites")},
            "min_share": coverage.min_share,
            "patches": entries,
        },
    )


def _entry(
    table: dict[str, NDArray], share: NDArray[np.float64] | None, i: int, least: float
) -> dict[str, Any]:
    own = None if share is None else float(share[i])
    low = own is not None and own < least
    return {
        **{name: values[i].item() for name, values in table.items()},
        "coverage": own,
        "kept": not low,
        "code": LOW_COVERAGE if low else None,
        "reason": f"coverage {own:.3f} < {least:.3f}" if low else None,
    }
