"""Helpers of the report's templates: sections, config keys, columns, numbers, embedded pictures."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from pipeline.drawing.relief import LIGHT
from pipeline.report.data import ReportData
from pipeline.storage.templates import templates


@dataclass(frozen=True)
class Part:
    """A section of the page: its anchor, heading and content (HTML)."""

    anchor: str
    heading: str
    body: Markup


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes
    ----------
    key : of the rows. heading, unit : shown above. best : which value is bold: ``low``, ``high``, ``one``
        (closest to 1) or ``none``.
    """

    key: str
    heading: str
    unit: str = ""
    best: str = "none"

    def values(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Values by name of the row; rows without one are left out."""
        return {name: row[self.key] for name, row in rows.items() if row.get(self.key) is not None}

    def leading(self, rows: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Names of the rows with the best value; none if fewer than two rows have one."""
        found = self.values(rows)
        if self.best == "none" or len(found) < 2:
            return set()
        measure = {"low": lambda v: v, "high": lambda v: -v, "one": lambda v: abs(v - 1)}[self.best]
        least = min(measure(v) for v in found.values())
        return {name for name, v in found.items() if measure(v) == least}


class Keys:
    """Formats config keys with their values for captions."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def __call__(self, *paths: str) -> Markup:
        """A line of keys and their values; keys that the config lacks are left out."""
        texts = [text for path in paths if (text := self._text(path)) is not None]
        shown = Markup(", ").join(Markup("<code>{}</code>").format(text) for text in texts)
        return Markup('<span class="keys">Config: {}</span>').format(shown) if texts else Markup()

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
    """Ranges as written in YAML: ``[low, high]``, or one number."""
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


def note(text: str) -> Markup:
    """A sentence in the place of absent content."""
    return Markup('<p class="note">{}</p>\n').format(text)


def _inlined(png: bytes) -> Markup:
    """Attributes of an ``img`` element with an embedded PNG."""
    width, height = struct.unpack(">II", png[16:24])
    data = base64.b64encode(png).decode("ascii")
    return Markup('src="data:image/png;base64,{}" width="{}" height="{}"').format(data, width, height)


@cache
def report_templates() -> Environment:
    """The templates, with the filters and functions that they use."""
    environment = templates("pipeline.report")
    environment.filters.update(number=number, inlined=_inlined)
    environment.globals.update(note=note, light=LIGHT)
    return environment


def fill(template: str, **values: Any) -> Markup:
    """A template filled with values, which are escaped."""
    return Markup(report_templates().get_template(template).render(values))  # noqa: S704


def part(anchor: str, heading: str, data: ReportData, **values: Any) -> Part:
    """A section of the page from the template ``<anchor>.html``, with `values`, `data` and config keys."""
    return Part(anchor, heading, fill(f"{anchor}.html", data=data, keys=Keys(data.config), **values))
