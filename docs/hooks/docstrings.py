"""Extension of griffe: the project's docstrings in the form that mkdocstrings reads.

In ``Parameters`` and ``Attributes`` the project writes ``name : what it is``, where NumPy's style has a type
after the colon and the description below; types are annotations here. ``Returns`` is plain text.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_NAMED = ("Parameters", "Attributes")
_NAME = re.compile(r"(\w+(?:, \w+)*) : ")


class Docstrings(griffe.Extension):
    """Rewrites the docstring of each object that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring in place."""
        if obj.docstring is not None:
            returns = getattr(obj, "returns", None) if obj.is_function else None
            obj.docstring.value = numpy_style(obj.docstring.value, "" if returns is None else str(returns))


def numpy_style(text: str, returns: str = "") -> str:
    """A docstring with names, and `returns` as the type of what is returned, on lines of their own."""
    head, *sections = re.split(r"^(?=\w+\n-{3,}$)", text, flags=re.M)
    return head + "".join(_section(each, returns) for each in sections)


def _section(text: str, returns: str) -> str:
    title, rule, *lines = text.rstrip("\n").split("\n")
    if title in _NAMED:
        lines = [row for line in lines for row in _items(line)]
    elif title == "Returns" and returns and any(lines):
        lines = [returns, *(f"    {line}".rstrip() for line in lines)]
    return "\n".join([title, rule, *lines]) + "\n\n"


def _items(line: str) -> list[str]:
    """Rows of one line: it may begin an item, go on with one, and hold several."""
    first, *more = re.split(r"(?<=[.;)]) (?=[a-z]\w*(?:, \w+)* : )", line)
    rows: list[str] = []
    for k, part in enumerate([first, *more]):
        found = _NAME.match(part)
        rows += [found[1], f"    {part[found.end() :]}"] if found else [part if k == 0 else f"    {part}"]
    return rows
