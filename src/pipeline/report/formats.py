"""Tables as CSV, LaTeX (booktabs), HTML and Markdown, with cells escaped for each format."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.storage.templates import templates

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "°": r"$^\circ$", "–": "--", "−": r"$-$", "×": r"$\times$",
    "±": r"$\pm$", "²": r"$^2$",
}  # fmt: skip
_SPECIAL = re.compile("[" + re.escape("".join(_LATEX)) + "]")


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes
    ----------
    name : stem of its files. caption : one sentence. columns : headings. rows : one cell per column each.

    Raises
    ------
    ValueError
        If a row has another number of cells.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: expected {len(self.columns)} cells, found {list(row)}")


def latex_escaped(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return _SPECIAL.sub(lambda found: _LATEX[found[0]], text)


def as_csv(table: Table) -> str:
    """The table as CSV: headings and rows."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([table.columns, *table.rows])
    return out.getvalue()


def as_latex(table: Table) -> str:
    """A LaTeX ``table`` in the style of booktabs; the first column is left-aligned, the others right."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(latex_escaped(cell) for cell in cells) + r" \\"

    lines = [line(row) for row in table.rows]
    return "\n".join(
        (
            r"\begin{table}", r"\centering", rf"\caption{{{latex_escaped(table.caption)}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule", line(table.columns),
            r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        )
    )  # fmt: skip


def as_html(table: Table) -> str:
    """A separate HTML page with the table."""
    page = templates("pipeline.report").get_template("table.html")
    return page.render(caption=table.caption, columns=table.columns, rows=table.rows)


def as_markdown(table: Table) -> str:
    """The table in GitHub's Markdown, without the caption."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    return "\n".join((line(table.columns), f"|{'---|' * len(table.columns)}", *map(line, table.rows), ""))
