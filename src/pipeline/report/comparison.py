"""Tables, figures and page of the comparison of all systems, from metrics files only.

    python -m pipeline.report.comparison [docs/results] [--add test results/systems/evaluation/parts/*.json]

The folder contains ``metrics/<label>.json``: ``test.json`` and ``validation.json`` are metrics.json of
config/systems.yaml and config/systems_validation.yaml. The command writes ``tables/``, ``figures/`` and,
beside the folder, ``<folder>.md``. Equal files give equal bytes. ``--add LABEL PARTS`` first adds systems
that were scored one by one to ``metrics/<label>.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pipeline.report.additions import add_parts
from pipeline.report.claims import told_of
from pipeline.report.figures.systems import draw_conditions, draw_systems
from pipeline.report.formats import Table, as_csv, as_html, as_latex, as_markdown
from pipeline.report.layout import FIGURES, FORMATS, TABLES
from pipeline.report.systems import BASE, TEST, VALIDATION, Results, Row, read_results, title
from pipeline.storage.atomic import replacing, write_text
from pipeline.storage.templates import templates

#: Headings and keys of the table of the main condition.
_MAIN = (
    ("RMSE, m", "rmse_m"), ("MAE, m", "mae_m"), ("LE90, m", "le90_m"), ("slope error, °", "slope_deg"),
    ("SSIM", "ssim"), ("/ bicubic_window", "rmse_vs_bicubic_window"), ("clones", "members"), ("NFE", "nfe"),
    ("SSR, fair", "spread_skill_fair"), ("CRPS, fair, m", "crps_fair_m"), ("JS", "rank_js_distance"),
    ("in the 90 % interval", "coverage_90"),
)  # fmt: skip


def number(row: Row, key: str) -> str:
    """A number with three digits as text; empty if the row has none."""
    value = row.get(key)
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.3g}"


def _interval(row: Row) -> str:
    """The RMSE's interval over sites or, without it, over patches."""
    found = row.get("rmse_m_ci95_sites") or row.get("rmse_m_ci95")
    return f"{found[0]:.3g} to {found[1]:.3g}" if found else ""


def main_table(results: Results) -> Table:
    """All rows under the main condition; the column `state` says why scores are missing."""
    rows, found = [], results.systems(TEST)
    for name in results.names:
        row = found.get(name, {})
        cells = [number(row, key) for _, key in _MAIN]
        rows.append([title(name), cells[0], _interval(row), *cells[1:], results.state(name)])
    heads = [head for head, _ in _MAIN]
    columns = ["system", heads[0], "95 % over sites", *heads[1:], "state"]
    return Table("main", "Test patches, main condition; errors of the mean of the clones.", columns, rows)


def _under_conditions(results: Results, name: str, caption: str, key: str) -> Table:
    """One number of all systems that have it, under all conditions in which some system has it."""
    found = {label: results.systems(TEST, label) for label in results.conditions}
    labels = [label for label, rows in found.items() if any(key in row for row in rows.values())]
    rows = [
        [title(system), *(number(found[label].get(system, {}), key) for label in labels)]
        for system in results.systems(TEST)
        if any(key in found[label].get(system, {}) for label in labels)
    ]
    return Table(name, caption, ["system", *labels], rows)


def conditions_table(results: Results) -> Table:
    """RMSE under each condition."""
    return _under_conditions(results, "conditions", "RMSE in metres under each condition.", "rmse_m")


def spread_table(results: Results) -> Table:
    """Fair spread-skill ratio under each condition."""
    caption = "Spread over RMSE, fair, under each condition; 1 is reliable."
    return _under_conditions(results, "spread", caption, "spread_skill_fair")


def withheld_table(results: Results) -> Table:
    """How well renderings of the results fit withheld images, if there are any."""
    caption = "Misfit of renderings to withheld images, relative to that of the a priori DEM."
    return _under_conditions(results, "withheld", caption, "withheld_vs_prior")


def validation_table(results: Results) -> Table:
    """Errors on validation sites, which decide whether a learned rival counts as converged."""
    found = results.systems(VALIDATION)
    base = found.get(BASE, {}).get("rmse_m")
    rows = [
        [
            title(name),
            number(row, "rmse_m"),
            f"{row['rmse_m'] / base:.3g}" if base else "",
            results.state(name),
        ]
        for name, row in found.items()
    ]
    columns = ["system", "RMSE, m", f"/ {BASE}", "state"]
    return Table("validation", "Validation sites, main condition.", columns, rows)


def floors_table(results: Results) -> Table:
    """Reconstruction errors of VAEs, in all metrics files."""
    rows = [
        [label, name, number(row, "rmse_m"), number(row, "rmse_px"), number(row, "slope_deg")]
        for label, content in results.metrics.items()
        for name, row in content["floors"].items()
    ]
    columns = ["file", "floor", "RMSE, m", "RMSE, px", "slope error, °"]
    caption = "Errors of the truth and of the bicubic after encoding and decoding."
    return Table("floors", caption, columns, rows)


def challenge_table(results: Results) -> Table:
    """RMSE on independently rendered sets, by set and a priori DEM."""
    labels = list(results.challenge)
    names = dict.fromkeys(name for rows in results.challenge.values() for name in rows)
    rows = [
        [title(name), *(number(results.challenge[label].get(name, {}), "rmse_m") for label in labels)]
        for name in names
    ]
    return Table("challenge", "RMSE in metres on the challenge sets.", ["system", *labels], rows)


def claims_table(results: Results) -> Table:
    """The claims of the sources, one per row."""
    columns = ["source", "claim", "here", "numbers, or why not", "note"]
    return Table("claims", "Claims of the sources.", columns, told_of(results))


def tables_of(results: Results) -> dict[str, Table]:
    """All tables by name."""
    made = (
        main_table(results), conditions_table(results), spread_table(results), withheld_table(results),
        validation_table(results), floors_table(results), challenge_table(results), claims_table(results),
    )  # fmt: skip
    return dict(zip(TABLES, made, strict=True))


def _runs(results: Results) -> Iterator[str]:
    """One line per metrics file: numbers of systems, patches and sites, and the conditions."""
    for label, content in results.metrics.items():
        first = next(iter(content["systems"].values()))
        sites = f" of {first['n_sites']} sites" if "n_sites" in first else ""
        conditions = ", ".join(sorted(content["conditions"])) or "none"
        yield (
            f"`{label}.json`: {len(content['systems'])} systems on {first['n_patches']} patches{sites}, "
            f"conditions {conditions}"
        )


def page(results: Results, folder: str) -> str:
    """Content of ``docs/results.md``; `folder` is the path of tables and figures relative to the page."""
    shown = {name: as_markdown(table) if table.rows else "" for name, table in tables_of(results).items()}
    runs = list(_runs(results))
    return (
        templates("pipeline.report").get_template("results.md").render(tables=shown, runs=runs, folder=folder)
    )


def write_comparison(folder: Path | str) -> list[Path]:
    """Write all tables and figures into a folder, and the page beside it.

    Parameters
    ----------
    folder : with ``metrics/*.json``.

    Returns
    -------
    The files that were written.

    Raises
    ------
    ValueError
        If one of these files is no metrics file.
    """
    folder = Path(folder)
    results = read_results(folder / "metrics")
    out = []
    for name, table in tables_of(results).items():
        for suffix, form in zip(FORMATS, (as_csv, as_latex, as_html), strict=True):
            out.append(folder / "tables" / f"{name}.{suffix}")
            write_text(out[-1], form(table))
    scored, labels = results.systems(TEST), results.conditions
    rows = dict(sorted(scored.items(), key=lambda item: (item[1]["rmse_m"], item[0])))
    errors = {
        name: [results.systems(TEST, label).get(name, {}).get("rmse_m") for label in labels] for name in rows
    }
    doubtful = [name for name in rows if results.state(name)]
    pictures = draw_systems(rows, doubtful), draw_conditions(errors, labels)
    for name, picture in zip(FIGURES, pictures, strict=True):
        out.append(folder / "figures" / f"{name}.png")
        with replacing(out[-1]) as temporary:
            temporary.write_bytes(picture)
    out.append(folder.with_suffix(".md"))
    write_text(out[-1], page(results, folder.name))
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0, or exits with status 2 if a file is no metrics file."""
    parser = argparse.ArgumentParser(
        prog="comparison", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("docs/results"), help="with metrics/*.json"
    )
    parser.add_argument(
        "--add", nargs="+", metavar=("LABEL", "PART"), help="parts to add to metrics/<label>.json"
    )
    given = parser.parse_args(arguments)
    try:
        if given.add:
            add_parts(given.folder / "metrics" / f"{given.add[0]}.json", given.add[1:])
        for path in write_comparison(given.folder):
            print(path)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    main()
