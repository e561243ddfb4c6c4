"""How much wider clones must be spread than a network's own draws: a curve and a tail.

A draw's departure from the estimate is multiplied, pixel by pixel, by exp(level(s) + log_spread z): s is the
standard deviation that the network itself expects at the pixel, z one standard normal a clone. The level is
piecewise linear in log s: a network that was trained for hours is surest of itself where it knows least. The
clones are then a scale mixture, as Student's t is one of Gaussians, with heavy tails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.atomic import read_json

SCHEMA = "calibration/2"
#: Name of the file beside given weights.
FILE = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """The law of the factor on a draw's departure from the estimate.

    Attributes
    ----------
    spreads_px : rising standard deviations, pixels of height, where the level is given; beyond them it stays.
    log_scales : the levels there. log_spread : standard deviation of the factor's logarithm.
    """

    spreads_px: tuple[float, ...] = (1.0,)
    log_scales: tuple[float, ...] = (0.0,)
    log_spread: float = 0.0


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
    spreads, scales, tail = (content.get(k) for k in ("spreads_px", "log_scales", "log_spread"))
    if not (_numbers(spreads) and spreads[0] > 0 and all(a < b for a, b in pairwise(spreads))):
        raise ValueError(f"{path}: expected spreads_px that rise from above 0, found {spreads}")
    if not (_numbers(scales) and len(scales) == len(spreads) and _numbers([tail]) and tail >= 0):
        raise ValueError(
            f"{path}: expected log_scales, one for each of spreads_px, and log_spread, of at most 10, "
            f"found {scales} and {tail}"
        )
    return Calibration(tuple(map(float, spreads)), tuple(map(float, scales)), float(tail))


def _numbers(values: Any) -> bool:
    """Whether these are one or more numbers of at most 10."""
    plain = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
    return plain and bool(values) and all(math.isfinite(v) and abs(v) <= 10 for v in values)
