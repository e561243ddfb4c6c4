"""Exposures of images from lists of the Ames Stereo Pipeline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pipeline.config.base import unlike
from pipeline.imagery.suns.names import NameIndex

Value = TypeVar("Value")


def read_exposures(path: Path | str) -> dict[str, float]:
    """Exposures by image, from a file with lines ``image value`` (``*-exposures.txt``).

    Raises
    ------
    ValueError
        If the file has no lines, a line is not of this form, a value is not positive, or an image has two.
    """
    exposures: dict[str, float] = {}
    with Path(path).open(encoding="utf-8-sig", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            where = f"{path}, line {number}"
            try:
                value = float(words[1]) if len(words) == 2 else math.nan
            except ValueError:
                value = math.nan
            if not 0 < value < math.inf:
                raise ValueError(unlike(where, "an image and a number > 0", repr(line.strip())))
            if exposures.setdefault(words[0], value) != value:
                raise ValueError(
                    unlike(f"{where}: {words[0]}", "one exposure", f"{exposures[words[0]]:g} and {value:g}")
                )
    if not exposures:
        raise ValueError(unlike(str(path), "lines `image value`", "none"))
    return exposures


def of_image(values: Mapping[str, Value], path: str) -> Value | None:
    """The value of an image in a list keyed by name: by path as given, file name, or product id; or None.

    The value of the other camera's image is not used: it has its own exposure.

    Raises
    ------
    ValueError
        If there are several values for the key that matches the image.
    """
    index: NameIndex[Value] = NameIndex(lambda first, second: first == second)
    for name, value in values.items():
        index.add(name, value)
    match = next(index.find(path), None)
    return match.value if match is not None and match.kind != "exposure" else None
