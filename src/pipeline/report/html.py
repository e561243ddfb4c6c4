"""HTML pieces of the report: every text that goes in is escaped here, every picture is inlined."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_CSS = """
:root { --ink: #1a1a1a; --quiet: #555; --line: #d5d8dd; --back: #f5f6f8; --accent: #00507d; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, nav ul, footer { max-width: 1200px; margin: 0 auto; padding: 0 24px; }
h1 { font-size: 1.75rem; margin: 1.2rem 0 .1rem; overflow-wrap: anywhere; line-height: 1.25; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .5rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { max-width: 78ch; margin: .5rem 0; }
.lead { color: var(--quiet); margin: 0 0 .9rem; }
nav { background: var(--back); border-top: 1px solid var(--line); border-bottom: 1px solid var(--line);
  margin-top: 1rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; padding-top: .5rem;
  padding-bottom: .5rem; }
a { color: var(--accent); }
figure { margin: 1rem 0 1.4rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: .875rem; text-align: left; max-width: 96ch; }
figcaption { margin-top: .4rem; }
.keys { display: block; margin-top: .15rem; }
code { font: .85em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  background: var(--back); padding: 0 .25em; border-radius: 3px; overflow-wrap: anywhere; color: var(--ink); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px;
  margin: 1rem 0; padding: 0; }
.cards div { background: var(--back); border-left: 4px solid var(--accent); padding: .5rem .75rem; }
.cards dt { font-size: .85rem; color: var(--quiet); }
.cards dd { margin: 0; font-size: 1.4rem; font-weight: 650; line-height: 1.25; }
.cards dd small { display: block; font-size: .8rem; font-weight: 400; color: var(--quiet); }
.wide { overflow-x: auto; margin: .4rem 0 1.6rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; font-weight: 600; }
th[scope=row] { text-align: left; font-weight: 500; white-space: nowrap; }
thead th:first-child, .text { text-align: left; }
th small, td small { display: block; font-weight: 400; color: var(--quiet); white-space: nowrap; }
tr.primary th, tr.primary td { background: #eef5fa; }
tr.primary th[scope=row] { font-weight: 700; }
details { margin: .6rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { background: var(--back); padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
.note { border-left: 4px solid var(--line); padding: .2rem .8rem; color: var(--quiet); }
footer { color: var(--quiet); font-size: .85rem; padding-top: 1.5rem; padding-bottom: 2rem; }
@media (max-width: 900px) {
  main, header, nav ul, footer { padding: 0 14px; }
  th, td { padding: .28rem .45rem; }
}
@media print {
  @page { margin: 14mm; }
  body { font-size: 10.5pt; }
  nav { display: none; }
  main, header, footer { max-width: none; padding: 0; }
  tr, .cards div { break-inside: avoid; }
  h2, h3, .wide { break-after: avoid; }
  figure.picture { display: inline-block; width: 100%; }
  figcaption { break-inside: avoid; break-after: avoid; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .15rem .35rem; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 7pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


@dataclass(frozen=True)
class Part:
    """A section of the page: its anchor, heading and content (HTML)."""

    anchor: str
    heading: str
    body: str


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes
    ----------
    key : in the rows. heading, unit : shown above. best : ``low``, ``high``, ``one`` (closest to 1) or
        ``none``; the best value of the table is bold.
    """

    key: str
    heading: str
    unit: str = ""
    best: str = "none"


class Keys:
    """Config keys with their values, as captions show them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def __call__(self, *paths: str) -> str:
        """A line that names keys and their values; a key that the config lacks is left out."""
        shown = [f"<code>{escape(text)}</code>" for p in paths if (text := self._text(p)) is not None]
        return f'<span class="keys">Config: {", ".join(shown)}</span>' if shown else ""

    def _text(self, path: str) -> str | None:
        value: Any = self.config
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                return None
            value = value[name]
        text = json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)
        if len(text) > 150:
            text = text[:148].rpartition(", ")[0] + ", …"
        return f"{path}: {text}"


def _plain(value: Any) -> Any:
    """Ranges as people write them in YAML: ``[low, high]``, or one number."""
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"low", "high"}:
        low, high = (int(v) if float(v).is_integer() else v for v in (value["low"], value["high"]))
        return low if low == high else [low, high]
    return {k: _plain(v) for k, v in value.items()}


def number(value: Any) -> str:
    """A number with four significant digits; whole numbers as they are; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:#.4g}"
    return text.rstrip(".") if "e" not in text else f"{value:.3g}"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>\n' if kind else f"<p>{escape(text)}</p>\n"


def note(text: str) -> str:
    """A sentence that stands where something is not there."""
    return paragraph(text, "note")


def picture(png: bytes, alt: str, caption: str, keys: str = "") -> str:
    """A PNG inside the page.

    Parameters
    ----------
    png : file content. alt, caption : plain text. keys : HTML made by `Keys`.
    """
    width, height = struct.unpack(">II", png[16:24])
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure class="picture">\n'
        f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}">\n<figcaption>{escape(caption)}{keys}</figcaption>\n</figure>\n'
    )


def score_table(
    caption: str,
    columns: Sequence[Column],
    rows: Mapping[str, Mapping[str, Any]],
    keys: str = "",
    primary: str | None = None,
) -> str:
    """A table of scores, one row a system; ``<data value>`` holds every number in full.

    Rows may hold ``<key>_ci95``, shown below the value. Columns that no row fills are left out.
    """
    used = [c for c in columns if any(row.get(c.key) is not None for row in rows.values())]
    best = {c.key: _best(c, rows) for c in used}
    head = "".join(
        f'<th scope="col">{_breakable(c.heading)}'
        + (f"<small>{escape(c.unit)}</small>" if c.unit else "")
        + "</th>"
        for c in used
    )
    body = []
    for name, row in rows.items():
        cells = "".join(_cell(row, c.key, name in best[c.key]) for c in used)
        kind = ' class="primary"' if name == primary else ""
        body.append(f'<tr{kind}><th scope="row">{escape(name)}</th>{cells}</tr>\n')
    return (
        f"<figure>\n<figcaption>{escape(caption)}{keys}</figcaption>\n"
        f'<div class="wide"><table>\n<thead><tr><th scope="col">system</th>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(body)}</tbody>\n</table></div>\n</figure>\n"
    )


def _breakable(text: str) -> str:
    """Escaped text that may break after an underscore."""
    return escape(text).replace("_", "_<wbr>")


def _best(column: Column, rows: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Names of the rows with the best value, where there is something to compare."""
    found = {name: row[column.key] for name, row in rows.items() if row.get(column.key) is not None}
    if column.best == "none" or len(found) < 2:
        return set()
    measure = {"low": lambda v: v, "high": lambda v: -v, "one": lambda v: abs(v - 1)}[column.best]
    least = min(measure(v) for v in found.values())
    return {name for name, v in found.items() if measure(v) == least}


def _cell(row: Mapping[str, Any], key: str, best: bool) -> str:
    value = row.get(key)
    if value is None:
        return "<td>–</td>"
    shown = f'<data value="{value!r}">{escape(number(value))}</data>'
    if best:
        shown = f"<strong>{shown}</strong>"
    interval = row.get(f"{key}_ci95")
    if interval:
        shown += f"<small>[{number(interval[0])}, {number(interval[1])}]</small>"
    return f"<td>{shown}</td>"


def text_table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[Any]], keys: str = "") -> str:
    """A table of texts; the first column heads the rows; numbers are set to the right."""
    rows = list(rows)
    texts = [bool(rows) and isinstance(value, str) for value in (rows[0] if rows else headings)]
    head = "".join(
        f'<th scope="col"{" class=text" if is_text else ""}>{escape(h)}</th>'
        for h, is_text in zip(headings, texts, strict=True)
    )
    body = []
    for first, *others in rows:
        cells = "".join(
            f"<td>{escape(number(v))}</td>"
            if isinstance(v, (int, float))
            else f'<td class="text">{escape(str(v))}</td>'
            for v in others
        )
        body.append(f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>\n')
    return (
        f"<figure>\n<figcaption>{escape(caption)}{keys}</figcaption>\n"
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(body)}</tbody>\n</table></div>\n</figure>\n"
    )


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """Headline numbers: (name, value, small print)."""
    body = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(small)}</small></dd></div>\n"
        for name, value, small in items
    )
    return f'<dl class="cards">\n{body}</dl>\n'


def collapsed(title: str, value: Any) -> str:
    """JSON behind a heading that opens it."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    return f"<details><summary>{escape(title)}</summary>\n<pre>{escape(text)}</pre></details>\n"


def page(title: str, lead: str, parts: Sequence[Part], foot: str) -> str:
    """The whole document; the first part comes before the list of contents."""
    links = "".join(f'<li><a href="#{p.anchor}">{escape(p.heading)}</a></li>\n' for p in parts[1:])
    first, *others = parts
    sections = "".join(
        f'<section id="{p.anchor}" aria-labelledby="{p.anchor}-title">\n'
        f'<h2 id="{p.anchor}-title">{escape(p.heading)}</h2>\n{p.body}</section>\n'
        for p in others
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        f'<header id="{first.anchor}">\n<h1>{escape(title)}</h1>\n{paragraph(lead, "lead")}{first.body}'
        "</header>\n"
        f'<nav aria-label="Contents"><ul>\n{links}</ul></nav>\n<main>\n{sections}</main>\n'
        f"<footer>{escape(foot)}</footer>\n</body>\n</html>\n"
    )
