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
    """Histogram of absolute errors in bins of a factor 2^(1/16), as text.

    Parameters
    ----------
    error : any shape, metres. pixel_m : pixel size, metres.

    Returns
    -------
    Index of the first bin that is not empty, then the counts from it to the last one that is not.
    """
    with np.errstate(divide="ignore"):
        index = np.floor(_FINE * (np.log2(np.abs(error) / pixel_m) - _LOW))
    counts = np.bincount(np.clip(index, 0, BINS - 1).astype(np.int64).ravel(), minlength=BINS)
    some = np.flatnonzero(counts)
    first, last = (int(some[0]), int(some[-1])) if len(some) else (0, 0)
    return " ".join(map(str, (first, *counts[first : last + 1])))


def read_counts(text: str) -> Counts:
    """Counts of all bins, (BINS,), from the text that `count_errors` returned.

    Raises
    ------
    ValueError
        If the text is no such histogram.
    """
    first, *numbers = (int(word) for word in text.split())
    if not (0 <= first and first + len(numbers) <= BINS and min(numbers, default=-1) >= 0):
        raise ValueError(f"expected a bin below {BINS} and counts from it on, found {text!r}")
    out = np.zeros(BINS, np.int64)
    out[first : first + len(numbers)] = numbers
    return out


def percentiles_m(counts: Counts, percents: Sequence[float], pixel_m: float) -> list[float]:
    """Percentiles of the absolute error, metres; accurate to about 0.5 %.

    Within a bin the logarithm of the error is taken as uniformly distributed.

    Parameters
    ----------
    counts : (BINS,) of all pixels. percents : 0 to 100. pixel_m : pixel size, metres.
    """
    below = np.concatenate([[0], np.cumsum(counts)])
    edges = _LOW + np.arange(BINS + 1) / _FINE
    out = []
    for percent in percents:
        wanted = below[-1] * percent / 100
        index = min(max(int(np.searchsorted(below, wanted, "left")) - 1, 0), BINS - 1)
        share = (wanted - below[index]) / max(1, counts[index])
        # The first bin also holds all smaller errors, down to 0.
        error_px = 2.0 ** (edges[index] + share / _FINE) if index else share * 2.0 ** edges[1]
        out.append(float(error_px * pixel_m))
    return out
