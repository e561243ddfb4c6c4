"""Calibration of the clones' spread: a law that scales a network's own draws, and its file.

A draw's departure from the estimate is multiplied at each pixel by exp(level(s) + log_spread z), with s the
standard deviation that the network expects at the pixel and z one standard normal number per clone. The level
is piecewise linear in log s, since a network trained for hours is most overconfident where it has the least
information. The clones are thus a scale mixture with heavy tails (as Student's t is one of Gaussians). Above
the last knot, beyond the range of the validation patches, clones have the spread at the knot. Pixels that no
image lights have a separate curve: a network memorises the shadowed ground of its training terrain, and
expects too small errors in shadows elsewhere. There are separate laws for clean and for noisy images;
networks that refine have one for each kind of a priori heights, with images and without. On a patch that is
entirely dark, where no law can be fitted, the clones' departures over the whole patch are limited to the
error of the a priori DEM. In pixels with altimetry, networks that refine may keep only a share of their
change of the refined DEM.
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
#: Kinds of a priori heights, with or without images: names of laws, by their index.
BLIND = " without images"
HEIGHTS = ("exact block means", "block means with errors", "altimetry")
KINDS = (*HEIGHTS, *(name + BLIND for name in HEIGHTS))


@dataclass(frozen=True)
class Curve:
    """Level of the factor's logarithm as a function of the expected spread.

    Attributes
    ----------
    spreads_px : knots: rising standard deviations in units of a pixel; with a single one, the level is
        constant.
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
    """Laws for image sets by their noise, or by the kind of a priori heights.

    Attributes
    ----------
    noises : rising noise of each law's image sets, as `pipeline.models.photometric.set_radiance` measures it;
        laws are interpolated in its logarithm. Empty if there are `kinds`.
    laws : one for each noise or kind.
    most_px : largest expected root mean square of departures over a patch, in units of a pixel.
    kinds : entries of `KINDS`, one for each law; empty if there are `noises`.
    hit_share : share of the network's change of the refined DEM that clones keep in pixels with altimetry.
    """

    noises: tuple[float, ...]
    laws: tuple[Law, ...]
    most_px: float = math.inf
    kinds: tuple[str, ...] = ()
    hit_share: float = 1.0


def read_calibration(path: Path | str, fingerprint: str) -> Calibration:
    """Read the calibration of the model with the given fingerprint.

    Raises
    ------
    ValueError
        If the file is absent, is no calibration, has numbers out of range, or is of another model.
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
    share: Any = content.get("hit_share", 1.0)
    if not (_numbers([share]) and 0 <= share <= 1):
        raise ValueError(f"{path}: expected hit_share from 0 to 1, found {share}")
    laws = tuple(_law(path, row) for row in rows)
    return Calibration(tuple(map(float, noises)), laws, float(most), tuple(kinds), float(share))


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
    """Whether these are one or more positive, strictly rising numbers."""
    return _numbers(values) and values[0] > 0 and all(a < b for a, b in pairwise(values))


def _numbers(values: Any) -> bool:
    """Whether these are one or more numbers of at most 10."""
    whole = isinstance(values, list) and bool(values)
    return whole and all(type(value) in (int, float) and abs(value) <= 10 for value in values)
