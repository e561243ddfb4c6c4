"""The key of a config section that a user probably meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin

from pipeline.config.base import Section


def nearest_key(section: type[Section], path: Sequence[str | int]) -> str | None:
    """The known key most like the last one of `path`, in the section that holds it; None if none is like it.

    Parameters
    ----------
    section : from which the path starts. path : keys, names of entries and positions in lists.
    """
    kinds: list[Any] = [section]
    for part in path[:-1]:
        # A path also names the member of a union, which is no key: there nothing is entered.
        kinds = [inner for kind in kinds for inner in _entered(kind, part)] or kinds
    known = [name for kind in kinds if _is_section(kind) for name in kind.model_fields]
    return next(iter(get_close_matches(str(path[-1]), known, 1)), None)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _entered(kind: Any, part: str | int) -> Iterator[Any]:
    """Types of a value under a key of a section, a name of a mapping, or a position of a list."""
    if _is_section(kind):
        if part in kind.model_fields:
            yield from _members(kind.model_fields[part].annotation)
    elif get_origin(kind) in (dict, list):
        yield from _members(get_args(kind)[-1])


def _members(annotation: Any) -> Iterator[Any]:
    """Members of a union, at any depth; another type alone."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (dict, list) or not get_args(annotation):
        yield annotation
    else:
        for member in get_args(annotation):
            yield from _members(member)
