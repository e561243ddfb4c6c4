"""Scores of single patches: what the pooled scores are made of, as a table that anyone can pool again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.metrics import PatchScores

# Of every estimate, then of ensembles alone; `docs/formats.md` says what they mean.
ALWAYS = ("mse_m2", "mae_m", "slope_deg")
ENSEMBLE = ("variance_m2", "crps_m", "member_mse_m2", "std_m", "std_error_m2")
HEAD = ("condition", "system", "patch", "computed_on")
TABLE = (*HEAD, *ALWAYS, *ENSEMBLE, "ranks")

Columns = dict[str, list[Any]]


def columns(scores: PatchScores, ids: Sequence[int], computed_on: str) -> Columns:
    """The patches of a `PatchScores` as JSON-able columns.

    Parameters
    ----------
    scores : filled. ids : of its patches, in order. computed_on : see `pipeline.jobs.machine`.
    """
    out: Columns = {
        "patch": [int(i) for i in ids],
        "computed_on": [computed_on] * len(ids),
        "mse_m2": list(scores.squared),
        "mae_m": list(scores.absolute),
        "slope_deg": list(scores.slope),
    }
    if scores.counts:
        out |= {
            "variance_m2": list(scores.variance),
            "crps_m": list(scores.crps),
            "member_mse_m2": list(scores.member_squared),
            "std_m": [float(row[0]) for row in scores.moments],
            "std_error_m2": [float(row[4]) for row in scores.moments],
            "ranks": [" ".join(str(int(n)) for n in row) for row in scores.counts],
        }
    return out


def pooled(table: Columns, pixel_m: float, bootstrap: int, seed: int) -> dict[str, Any]:
    """What `PatchScores.summary` says of the patches of a table."""
    scores = PatchScores(pixel_m)
    scores.squared, scores.absolute, scores.slope = (list(table[name]) for name in ALWAYS)
    if table.get("ranks"):
        scores.variance, scores.crps, scores.member_squared = (list(table[name]) for name in ENSEMBLE[:3])
        scores.counts = [np.array([int(n) for n in row.split()], np.int64) for row in table["ranks"]]
        scores.histogram = np.sum(scores.counts, axis=0)
        scores.members = len(scores.histogram) - 1
        scores.moments = list(
            zip(table["std_m"], scores.absolute, scores.variance, scores.squared, table["std_error_m2"])
        )
    return scores.summary(bootstrap, seed)


def as_csv(found: Mapping[tuple[str, str], Columns]) -> str:
    """A table by (condition, system) as CSV text; numbers keep every digit."""
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
    """Names and values of a row's filled cells, but for its condition and system."""
    for name, text in list(zip(TABLE, row))[2:]:
        if not text:
            continue
        try:
            value: Any = text
            if name == "patch":
                value = int(text)
            elif name == "ranks":
                value = " ".join(str(int(n)) for n in text.split())
            elif name != "computed_on":
                value = float(text)
        except ValueError:
            raise ValueError(f"{where}: {name}: expected a number, found {text!r}") from None
        yield name, value
