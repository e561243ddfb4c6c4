"""Percentiles of absolute errors over any number of pixels, from counts in fine bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.int64]

# Bins per doubling, and powers of two, in pixels, between which they lie: 1.5e-5 to 64.
_FINE, _LOW, _HIGH = 16, -16, 6
BINS = _FINE * (_HIGH - _LOW)


def count_errors(error: Floats, pixel_m: float) -> str:
    """Pixels by their absolute error, in bins of 2^(1/16) each.

    Parameters
    ----------
    error : metres. pixel_m : pixel size, metres.

    Returns
    -------
    Number of the first bin that holds some, then the counts from it to the last one that does.
    """
    with np.errstate(divide="ignore"):
        place = np.floor(_FINE * (np.log2(np.abs(error) / pixel_m) - _LOW))
    counts = np.bincount(np.clip(place, 0, BINS - 1).astype(np.int64).ravel(), minlength=BINS)
    some = np.flatnonzero(counts)
    first, last = (int(some[0]), int(some[-1])) if len(some) else (0, 0)
    return " ".join(map(str, (first, *counts[first : last + 1])))


def read_counts(text: str) -> Counts:
    """All bins' counts, (BINS,), of what `count_errors` returned.

    Raises
    ------
    ValueError
        If there are other numbers than it gives.
    """
    first, *numbers = (int(word) for word in text.split())
    if not (0 <= first and first + len(numbers) <= BINS and min(numbers, default=-1) >= 0):
        raise ValueError(f"expected a bin below {BINS} and counts from it on, found {text!r}")
    out = np.zeros(BINS, np.int64)
    out[first : first + len(numbers)] = numbers
    return out


def percentiles_m(counts: Counts, percents: Sequence[float], pixel_m: float) -> list[float]:
    """Percentiles of the absolute error, metres; within about 0.5 % of those of the pixels themselves.

    Between the edges of a bin the logarithm of the error is taken as uniform.

    Parameters
    ----------
    counts : (BINS,) of all pixels. percents : 0 to 100. pixel_m : pixel size, metres.
    """
    below = np.concatenate([[0], np.cumsum(counts)])
    edges = _LOW + np.arange(BINS + 1) / _FINE
    out = []
    for percent in percents:
        wanted = below[-1] * percent / 100
        place = min(max(int(np.searchsorted(below, wanted, "left")) - 1, 0), BINS - 1)
        share = (wanted - below[place]) / max(1, counts[place])
        # The first bin holds the errors below it too, down to none.
        found = 2.0 ** (edges[place] + share / _FINE) if place else share * 2.0 ** edges[1]
        out.append(float(found * pixel_m))
    return out
