"""Mean and standard deviation of scores over training seeds, and the figures of Yasuda (2025).

    python -m pipeline.report.seeds FILE... --out FOLDER

FILE is a ``metrics.json``, with ``patches.csv`` beside it, or a part of it, ``evaluation/parts/<name>.json``.
Systems named ``<name>seed<number>`` are trainings of one system with different seeds.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.collect import COLUMNS
from pipeline.evaluation.per_patch import Columns, read_csv
from pipeline.report.figures.scores import draw_ranks
from pipeline.report.figures.spread import Series, draw_over_nfe, draw_spread
from pipeline.storage.atomic import read_json, replacing, write_text

Row = Mapping[str, Any]
#: Rows by condition and system.
Rows = dict[str, dict[str, Row]]
Tables = dict[tuple[str, str], Columns]

_SEED = re.compile(r"(.+?)seed\d+")
_NFE = re.compile(r"nfe_\d+")
LOSS = "member_ssim_loss"
#: Scores that are drawn over the number of evaluations, and labels of their axes.
OVER_NFE = (("member_rmse_case_mean_m", "RMSE of single clones, m"), (LOSS, "SSIM loss of single clones"))


def read_scores(paths: Sequence[Path | str]) -> tuple[Rows, Tables]:
    """Read pooled scores, and scores of single patches.

    Parameters
    ----------
    paths : ``metrics.json`` or parts of one.

    Raises
    ------
    ValueError
        If a file is neither, or two files have the same system under the same condition.
    """
    rows, tables = Rows(), Tables()

    def put(path: Path | str, label: str, name: str, row: Row) -> None:
        here = rows.setdefault(label, {})
        if name in here:
            raise ValueError(f"{path}: expected each system once, found {name} under {label} again")
        here[name] = row if "member_ssim" not in row else {**row, LOSS: 1 - row["member_ssim"]}

    for path in paths:
        content = read_json(path)
        schema = content.get("schema")
        if schema == "evaluation_part/2":
            for label, row in content["rows"].items():
                put(path, label, content["name"], row)
                tables[label, content["name"]] = content["patches"][label]
        elif schema == "metrics/1":
            found = {label: entry["systems"] for label, entry in content["conditions"].items()}
            for label, systems in {**found, "main": content["systems"]}.items():
                for name, row in systems.items():
                    put(path, label, name, row)
            beside = Path(path).with_name("patches.csv")
            tables |= read_csv(beside) if beside.is_file() else {}
        else:
            raise ValueError(f"{path}: expected schema metrics/1 or evaluation_part/2, found {schema!r}")
    return rows, tables


def over_seeds(systems: Mapping[str, Row]) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Mean, standard deviation (divisor n - 1; 0 if n = 1) and number of seeds n of each score, by system.

    Parameters
    ----------
    systems : rows of one condition; those of different seeds are grouped, others are groups of one.
    """
    groups: dict[str, list[Row]] = {}
    for name, row in systems.items():
        match = _SEED.fullmatch(name)
        groups.setdefault(f"{match[1]} over seeds" if match else name, []).append(row)
    out: dict[str, dict[str, tuple[float, float, int]]] = {}
    for name, rows in groups.items():
        for key in (*COLUMNS, LOSS):
            values = np.array([row[key] for row in rows if row.get(key) is not None], float)
            if len(values) == len(rows):
                std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
                out.setdefault(name, {})[key] = float(values.mean()), std, len(values)
    return out


def table_of(rows: Rows) -> str:
    """CSV: one row per condition and system, with the number of seeds, and mean and ``_std`` of scores."""
    keys = (*COLUMNS, LOSS)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("condition", "system", "seeds", *(name for key in keys for name in (key, f"{key}_std"))))
    for label, systems in rows.items():
        for name, found in over_seeds(systems).items():
            count = max(n for _, _, n in found.values())
            cells = [
                f"{value:.6g}" if key in found else ""
                for key in keys
                for value in found.get(key, (0.0, 0.0, 0))[:2]
            ]
            writer.writerow((label, name, count, *cells))
    return out.getvalue()


def spread_and_error(table: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean standard deviation, with divisor M as in Yasuda (2025), and RMSE of each patch, (n,) metres."""
    members = len(table["ranks"][0].split()) - 1
    spread = np.array(table["std_m"]) * np.sqrt((members - 1) / members)
    return spread, np.sqrt(np.array(table["mse_m2"]))


def nfe_series(rows: Rows, key: str) -> dict[str, Series]:
    """Mean and standard deviation over seeds of one score, by system and network evaluations per clone."""
    out: dict[str, dict[int, tuple[float, float]]] = {}
    for label, systems in rows.items():
        if _NFE.fullmatch(label):
            for name, found in over_seeds(systems).items():
                if key in found and "nfe" in found:
                    out.setdefault(name, {})[round(found["nfe"][0])] = found[key][:2]
    return dict(out)


def write_seeds(paths: Sequence[Path | str], out: Path | str) -> list[Path]:
    """Write ``seeds.csv`` and, if there are data, ``spread.png``, ``ranks_<name>.png`` and ``nfe.png``.

    Parameters
    ----------
    paths : see `read_scores`. out : folder.

    Returns
    -------
    The files that were written.

    Raises
    ------
    ValueError
        As `read_scores`.
    """
    rows, tables = read_scores(paths)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "seeds.csv", table_of(rows))
    pictures: dict[str, bytes] = {}
    drawing = {n: r for n, r in rows.get("main", {}).items() if "members" in r and not _SEED.fullmatch(n)}
    pairs = {n: spread_and_error(tables["main", n]) for n in drawing if ("main", n) in tables}
    if pairs:
        pictures["spread.png"] = draw_spread(pairs)
    for name, row in drawing.items():
        title = f"{name}: Jensen-Shannon distance from flat {row['rank_js_distance']:.3f}"
        pictures[f"ranks_{name}.png"] = draw_ranks(row["rank_histogram"], title)
    panels = [(label, nfe_series(rows, key)) for key, label in OVER_NFE]
    if all(series for _, series in panels):
        pictures["nfe.png"] = draw_over_nfe(panels)
    for name, png in pictures.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(png)
    return [folder / "seeds.csv", *(folder / name for name in pictures)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of the module."""
    parser = argparse.ArgumentParser(
        prog="pipeline.report.seeds", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("files", nargs="+", help="metrics.json, or evaluation/parts/<name>.json")
    parser.add_argument("--out", required=True, help="folder for the table and the figures")
    asked = parser.parse_args(arguments)
    try:
        written = write_seeds(asked.files, asked.out)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    for path in written:
        print(path)


if __name__ == "__main__":
    main()
