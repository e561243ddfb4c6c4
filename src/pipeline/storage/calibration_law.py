"""How much wider clones must be spread than a network's own draws: curves and tails.

A draw's departure from the estimate is multiplied, pixel by pixel, by exp(level(s) + log_spread z): s is the
standard deviation that the network itself expects at the pixel, z one standard normal a clone. The level is
piecewise linear in log s: a network that was trained for hours is surest of itself where it knows least. The
clones are then a scale mixture, as Student's t is one of Gaussians, with heavy tails. Above the last knot,
beyond what validation patches showed, clones are spread as at the knot. Pixels that no image lights have a
curve of their own: a network remembers the ground in the shadows of its training terrain, and expects too
little error there elsewhere. There is a law for clean images and one for noisy ones, of which a network is
less sure; networks that refine have one for each kind of what is known of the heights, with images and
without. And where no law can know, on a patch that lies all in the dark, clones are no further apart, over
the whole patch, than terrain is from the a priori DEM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.storage.atomic import read_json

SCHEMA = "calibration/4"
#: Name of the file beside given weights.
FILE = "calibration.json"
#: What is known of the heights before the images, and whether there are none: names of laws, by their index.
BLIND = " without images"
HEIGHTS = ("exact block means", "block means with errors", "altimetry")
KINDS = (*HEIGHTS, *(name + BLIND for name in HEIGHTS))


@dataclass(frozen=True)
class Curve:
    """The level of the factor's logarithm over the expected spread.

    Attributes
    ----------
    spreads_px : rising standard deviations, pixels of height, where the level is given; one alone holds
        for all.
    log_scales : the levels there.
    """

    spreads_px: tuple[float, ...] = (1.0,)
    log_scales: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class Law:
    """The law of the factor on a draw's departure from the estimate.

    Attributes
    ----------
    lit, unlit : where images light the pixel, and where none does.
    log_spread : standard deviation of the factor's logarithm.
    """

    lit: Curve = Curve()
    unlit: Curve = Curve()
    log_spread: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Laws for image sets of some noise, or for kinds of what is known of the heights.

    Attributes
    ----------
    noises : rising; `pipeline.models.photometric.set_radiance` measures it; between them laws are
        interpolated in its logarithm. Empty where laws are of kinds. laws : one for each.
    most_px : largest root mean square, over a patch, of the departures that a law expects, pixels of height.
    kinds : names of `KINDS`, one for each law; empty where laws are of noises.
    """

    noises: tuple[float, ...]
    laws: tuple[Law, ...]
    most_px: float = math.inf
    kinds: tuple[str, ...] = ()


def read_calibration(path: Path | str, fingerprint: str) -> Calibration:
    """Read what the stage ``calibration`` fitted for the model of the given fingerprint.

    Raises
    ------
    ValueError
        If the file is absent, is no calibration, holds impossible numbers, or is another model's.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: expected a calibration, found no file")
    content = read_json(path, SCHEMA)
    if content.get("model") != fingerprint:
        raise ValueError(
            f"{path}: expected the calibration of the model {fingerprint}, found that of "
            f"{content.get('model')!r}"
        )
    rows = content.get("laws")
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        raise ValueError(f"{path}: expected laws, one or more, found {rows}")
    kinds: Any = [row["kind"] for row in rows if "kind" in row]
    noises: Any = [row.get("noise") for row in rows]
    if kinds:
        if len({*kinds} & {*KINDS}) != len(rows):
            raise ValueError(f"{path}: expected laws of different kinds of {KINDS}, found {kinds}")
        noises = []
    elif not _rising(noises):
        raise ValueError(f"{path}: expected laws whose noise rises from above 0, found {noises}")
    most: Any = content.get("most_px")
    if isinstance(most, bool) or not isinstance(most, int | float) or not 0 < most < math.inf:
        raise ValueError(f"{path}: expected most_px, a number above 0, found {most}")
    laws = tuple(_law(path, row) for row in rows)
    return Calibration(tuple(map(float, noises)), laws, float(most), tuple(kinds))


def _law(path: Path | str, row: dict[str, Any]) -> Law:
    tail: Any = row.get("log_spread")
    if not (_numbers([tail]) and tail >= 0):
        raise ValueError(f"{path}: expected log_spread from 0 to 10, found {tail}")
    return Law(_curve(path, row, "lit"), _curve(path, row, "unlit"), float(tail))


def _curve(path: Path | str, row: dict[str, Any], name: str) -> Curve:
    found: Any = row.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {name}: expected a curve, found {found}")
    spreads: Any = found.get("spreads_px")
    scales: Any = found.get("log_scales")
    if not _rising(spreads):
        raise ValueError(f"{path}: {name}: expected spreads_px that rise from above 0, found {spreads}")
    if not (_numbers(scales) and len(scales) == len(spreads)):
        raise ValueError(
            f"{path}: {name}: expected log_scales, one for each of spreads_px and of at most 10, "
            f"found {scales}"
        )
    return Curve(tuple(map(float, spreads)), tuple(map(float, scales)))


def _rising(values: Any) -> bool:
    """Whether these are one or more numbers that rise from above 0."""
    return _numbers(values) and values[0] > 0 and all(a < b for a, b in pairwise(values))


def _numbers(values: Any) -> bool:
    """Whether these are one or more numbers of at most 10."""
    whole = isinstance(values, list) and bool(values)
    return whole and all(type(value) in (int, float) and abs(value) <= 10 for value in values)
