"""Scores of single patches as a table, from which anyone can compute the pooled scores again."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.errors import read_counts
from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.surfaces import BAND_NAMES

# Of every estimate, then of ensembles only; `docs/formats.md` explains them.
ALWAYS = (
    "mse_m2", "mae_m", "slope_deg", "bias_m", "slope_angle_deg", "aspect_deg", "truth_slope", "roughness_m",
    "truth_roughness_m", "ssim", "psnr_db", *(f"truth_power_{band}" for band in BAND_NAMES),
    *(f"power_{band}" for band in BAND_NAMES), "prior_mse_m2", "cells_mse_m2",
    "withheld_power", "withheld_misfit", "withheld_prior_misfit",
)  # fmt: skip
ENSEMBLE = (
    "variance_m2", "crps_m", "member_mse_m2", "std_m", "std_error_m2", "member_mae_m", "member_rmse_m",
    "member_ssim", "energy_m", *(f"member_power_{band}" for band in BAND_NAMES),
)  # fmt: skip
#: Counts of pixels as text.
COUNTS = ("errors", "ranks", "covered")
HEAD = ("condition", "system", "patch", "computed_on", "site", "block")
TABLE = (*HEAD, *ALWAYS, *ENSEMBLE, *COUNTS)
#: Columns whose values may nearly cancel, and the column whose size is their tolerance's scale instead.
AGAINST = {
    "bias_m": "mae_m",
    "cells_mse_m2": "mse_m2",
    "withheld_misfit": "withheld_power",
    "withheld_prior_misfit": "withheld_power",
    **{f"{of}power_{band}": f"truth_power_{band}" for of in ("", "member_") for band in BAND_NAMES},
}

Columns = dict[str, list[Any]]
# All other cells are floats.
_READERS: dict[str, Callable[[str], Any]] = {
    "patch": int,
    "computed_on": str,
    "site": int,
    "block": str,
    **dict.fromkeys(COUNTS, lambda text: " ".join(str(int(n)) for n in text.split())),
}


def columns(scores: PatchScores, ids: Sequence[int], computed_on: str) -> Columns:
    """The patches of a `PatchScores` as JSON-able columns.

    Parameters
    ----------
    scores : filled. ids : of its patches, in order. computed_on : see `pipeline.jobs.machine`.
    """
    return {"patch": [int(i) for i in ids], "computed_on": [computed_on] * len(ids), **scores.table}


def as_csv(found: Mapping[tuple[str, str], Columns]) -> str:
    """Tables by (condition, system) as CSV text; numbers keep every digit."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(TABLE)
    for (condition, system), table in found.items():
        for row in range(len(table["patch"])):
            values = (table[name][row] if name in table else "" for name in TABLE[2:])
            writer.writerow((condition, system, *(repr(v) if isinstance(v, float) else v for v in values)))
    return out.getvalue()


def read_csv(path: Path | str) -> dict[tuple[str, str], Columns]:
    """Invert `as_csv`.

    Raises
    ------
    ValueError
        If the file has other columns, or a cell is no number; the message names file, line and column.
    """
    path = Path(path)
    found: dict[tuple[str, str], Columns] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.reader(stream)
        head = tuple(next(rows, ()))
        if head != TABLE:
            raise ValueError(f"{path}: expected the columns {', '.join(TABLE)}, found {', '.join(head)}")
        for number, row in enumerate(rows, start=2):
            if len(row) != len(TABLE):
                raise ValueError(f"{path}: line {number}: expected {len(TABLE)} cells, found {len(row)}")
            table = found.setdefault((row[0], row[1]), {})
            for name, value in _cells(row, f"{path}: line {number}"):
                table.setdefault(name, []).append(value)
    for (condition, system), table in found.items():
        if len({len(values) for values in table.values()}) > 1:
            raise ValueError(f"{path}: {condition}, {system}: expected the same cells in every row")
    return found


def _cells(row: Sequence[str], where: str) -> Iterator[tuple[str, Any]]:
    """Names and values of a row's filled cells, except its condition and system."""
    for name, text in zip(TABLE[2:], row[2:]):
        try:
            value = _READERS.get(name, float)(text) if text else None
        except ValueError:
            raise ValueError(f"{where}: {name}: expected a number, found {text!r}") from None
        if text:
            yield name, value


def moved(name: str, one: str, two: str) -> float:
    """Fraction of pixels that two cells of a column of `COUNTS` count differently; 1 if lengths differ."""
    read = read_counts if name == "errors" else lambda text: np.array([int(n) for n in text.split()])
    a, b = read(one), read(two)
    return 1.0 if len(a) != len(b) else float(np.abs(a - b).sum() / (2 * max(1, int(b.sum()))))
