"""The comparison of systems: states and claims follow from numbers, and every format holds the same cells."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.claims import CLAIMS, HELD, NOT, UNTOLD, told_of
from pipeline.report.comparison import main, tables_of, write_comparison
from pipeline.report.formats import Table, as_csv, as_html, as_latex, as_markdown
from pipeline.report.layout import FIGURES, FORMATS, TABLES
from pipeline.report.systems import SYSTEMS, Results, read_results

ROOT = Path(__file__).resolve().parents[3]


def row(rmse_m: float, **more: Any) -> dict[str, Any]:
    around = [0.9 * rmse_m, 1.1 * rmse_m]
    found = {"rmse_m": rmse_m, "rmse_px": rmse_m / 40, "slope_deg": 1.5, "n_patches": 8, "n_sites": 3}
    return {**found, "rmse_m_ci95": around, "rmse_m_ci95_sites": around, **more}


def metrics(systems: dict[str, Any], **conditions: dict[str, Any]) -> dict[str, Any]:
    labels = {label: {"settings": {}, "systems": rows} for label, rows in conditions.items()}
    floors = {"vae_truth_published": row(4.0)}
    return {"schema": "metrics/1", "primary": "pretrained", "systems": systems, "floors": floors,
            "conditions": {"main": {"settings": {}, "systems": systems}, **labels}, "models": {}}  # fmt: skip


BASES = {"bicubic": row(16.0), "bicubic_window": row(9.0)}


def results(validation: float = 6.0, **more: Any) -> Results:
    """`published` beside the bicubics, under several lights."""
    found = row(7.0, **more)
    test = metrics({**BASES, "published": found}, images_75={"published": row(6.5, **more)},
                   images_5={"published": row(14.0)}, latitude_45_60={"published": row(7.5)})  # fmt: skip
    return Results({"test": test, "validation": metrics({**BASES, "published": row(validation)})})


def answers(found: Results) -> dict[str, str]:
    return {f"{source}: {text}": answer for source, text, answer, *_ in told_of(found)}


def test_claims_are_told_by_the_numbers() -> None:
    told = answers(results())
    repasky = [answer for claim, answer in told.items() if claim.startswith("Repasky")]
    assert repasky == [HELD, HELD, HELD, NOT, HELD]
    assert {answer for claim, answer in told.items() if not claim.startswith("Repasky")} == {UNTOLD}
    assert (
        answers(results(slope_deg=2.5))[
            "Repasky et al. 2026: the mean slope error is under 2° with 75 images"
        ]
        == NOT
    )


@pytest.mark.parametrize(
    ("validation", "state"), [(8.9, ""), (9.0, "not converged"), (20.0, "not converged")]
)
def test_what_is_no_better_than_bicubic_window_supports_no_claim(validation: float, state: str) -> None:
    found = results(validation)
    assert found.state("published") == state
    told = {answer for claim, answer in answers(found).items() if claim.startswith("Repasky")}
    assert told == ({UNTOLD} if state else {HELD, NOT})
    assert any(state in cells for cells in tables_of(found)["main"].rows if cells[0].startswith("published:"))


def test_without_validation_nothing_is_told() -> None:
    found = Results({"test": results().metrics["test"]})
    assert (found.state("published"), found.state("siran"), found.state("bicubic")) == (
        "not validated", "not yet trained", "")  # fmt: skip
    assert set(answers(found).values()) == {UNTOLD}


def test_every_claim_has_rows_of_known_systems_and_every_answer_can_come() -> None:
    for claim in CLAIMS:
        assert {name for _, name in claim.rows} <= set(SYSTEMS)
        keys = ("spread_skill_yasuda", "rank_js_distance", "crps_plain_m", "member_rmse_case_mean_m")
        one, two = (row(v, slope_deg=v, **dict.fromkeys(keys, v)) for v in (1.0, 50.0))
        orders = [(one, two), (two, one)] if len(claim.rows) == 2 else [(one,), (two,)]
        held = [claim.told(*rows)[0] for rows in [*orders, (one, one)[: len(claim.rows)]]]
        assert set(held) >= {True, False}, claim.text


class Cells(HTMLParser):
    """Texts of a page's cells."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("td", "th"):
            self.inside = True
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1] += data


def test_all_formats_hold_the_same_cells() -> None:
    table = Table(
        "t_1", "50 % & more", ["a_b", "c|d", "<e>"], [["x & y", "1°", '"q"'], ["#1", "{2}", "a\\b"]]
    )
    wanted = [*table.columns, *(cell for each in table.rows for cell in each)]
    assert [cell for line in csv.reader(io.StringIO(as_csv(table))) for cell in line] == wanted
    page = Cells()
    page.feed(as_html(table))
    assert page.found == wanted
    latex = as_latex(table)
    assert r"a\_b & c\textbar{}d & \textless{}e\textgreater{} \\" in latex
    assert r"\caption{50 \% \& more}" in latex and r"\#1 & \{2\} & a\textbackslash{}b \\" in latex
    assert [rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [True] * 3
    assert not re.search(r"(?<!\\)[%#]", latex)
    assert as_markdown(table).splitlines()[0] == r"| a_b | c\|d | <e> |"
    with pytest.raises(ValueError, match=r"table t: expected 2 cells, found \['1'\]"):
        Table("t", "", ["a", "b"], [["1"]])


def test_files_are_written_and_the_same_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    (folder / "metrics").mkdir(parents=True)
    for label, content in results().metrics.items():
        (folder / "metrics" / f"{label}.json").write_text(json.dumps(content))
    sets = {"malapert, prior_640m": {"bicubic_window": row(8.6), "published": row(7.7)}}
    (folder / "metrics" / "challenge.json").write_text(json.dumps({"schema": "challenge/1", "sets": sets}))
    written = write_comparison(folder)
    names = {path.relative_to(tmp_path).as_posix() for path in written}
    assert names == {
        *(f"results/tables/{name}.{suffix}" for name in TABLES for suffix in FORMATS),
        *(f"results/figures/{name}.png" for name in FIGURES),
        "results.md",
    }
    before = {path: path.read_bytes() for path in written}
    assert main([str(folder)]) == 0
    assert {path: path.read_bytes() for path in written} == before
    tables = tables_of(results(spread_skill_fair=0.9))
    assert tables["spread"].columns == ["system", "main", "images_75"]
    assert tables["spread"].rows == [["published: published bridge", "0.9", "0.9"]]
    assert not tables["withheld"].rows
    page = (tmp_path / "results.md").read_text()
    assert "published: published bridge | 7 | 6.3 to 7.7 |" in page and "| 7.7 |" in page
    (folder / "metrics" / "other.json").write_text('{"schema": "other/1"}')
    with pytest.raises(
        ValueError, match=r"other\.json: expected schema metrics/1 or challenge/1, found 'other"
    ):
        read_results(folder / "metrics")


def test_the_kept_page_is_that_of_the_kept_metrics(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    (folder / "metrics").mkdir(parents=True)
    for path in sorted((ROOT / "docs" / "results" / "metrics").glob("*.json")):
        (folder / "metrics" / path.name).write_bytes(path.read_bytes())
    for path in write_comparison(folder):
        if path.suffix != ".png":
            kept = ROOT / "docs" / path.relative_to(tmp_path)
            assert kept.read_bytes() == path.read_bytes(), (
                f"{kept}: run `python -m pipeline.report.comparison`"
            )


def test_scores_of_ensembles_are_compared_for_as_many_members_only() -> None:
    def told(members: int) -> dict[str, str]:
        scores = {"member_rmse_case_mean_m": 4.0, "spread_skill_yasuda": 0.8, "rank_js_distance": 0.1}
        one = row(4.0, members=16, crps_plain_m=2.0, **scores)
        other = one | {"members": members, "spread_skill_yasuda": 0.5, "rank_js_distance": 0.2}
        rows = {**BASES, "yasuda": one, "diffusion": other}
        found = answers(Results({"test": metrics(rows), "validation": metrics(rows)}))
        return {claim.split(": ")[1]: answer for claim, answer in found.items() if claim.startswith("Yas")}

    assert list(told(16).values()) == [HELD, HELD, HELD, UNTOLD]  # the same CRPS
    assert list(told(4).values()) == [HELD, UNTOLD, UNTOLD, UNTOLD]


@pytest.mark.parametrize(
    ("siran", "answer"), [(5.9, HELD), (6.4, HELD), (6.7, UNTOLD), (7.0, UNTOLD), (7.3, UNTOLD), (7.4, NOT)]
)
def test_differences_that_seeds_make_tell_nothing(siran: float, answer: str) -> None:
    rows = {**BASES, "siran": row(siran), "guided": row(7.0)}
    found = answers(Results({"test": metrics(rows), "validation": metrics(rows)}))
    assert found["Paul & Gupta 2024: better than a guided kernel network"] == answer
