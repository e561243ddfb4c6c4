"""Scores of ensembles beyond those of single pixels: intervals, and the ensemble as one field."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.floating[Any]]

#: Intervals whose coverage is counted, percent.
LEVELS = (50, 68, 90, 95)


def covered(mean: Floats, std: Floats, truth: Floats, members: int) -> NDArray[np.int64]:
    """Number of pixels whose truth lies in the central prediction interval of each level of `LEVELS`.

    ``|y - mean| <= t s sqrt(1 + 1/M)`` with t of Student's law with M - 1 degrees of freedom: where truth and
    members come from one normal distribution, this holds with exactly the level's probability at any M.
    Intervals between members cover (M - 1) / (M + 1) at most, 82 % with ten; the rank histogram shows those.

    Parameters
    ----------
    mean, std, truth : (P, P), metres; `std` with divisor M - 1. members : M.
    """
    scaled = std * np.sqrt(1 + 1 / members)
    off = np.abs(truth - mean)
    widths = (stdtrit(members - 1, 0.5 + level / 200) for level in LEVELS)
    return np.array([int((off <= width * scaled).sum()) for width in widths])


def fair_energy_score(members: Floats, truth: Floats) -> float:
    """Fair energy score of a field, metres: the CRPS with RMS differences of whole fields.

    ``mean d(x_i, y) - sum_ij d(x_i, x_j) / (2 M (M - 1))``, with d the root mean square difference over the
    pixels: the Euclidean distance divided by the root of their number (Gneiting & Raftery 2007; fair as in
    Ferro 2014).

    Parameters
    ----------
    members : (M, P, P), M >= 2, metres. truth : (P, P), metres.
    """
    m = len(members)
    away = [float(np.sqrt(np.mean((x - truth) ** 2))) for x in members]
    # One pair at a time: the members of a region are large.
    pairs = sum(float(np.sqrt(np.mean((a - b) ** 2))) for a, b in combinations(members, 2))
    return float(np.mean(away)) - pairs / (m * (m - 1))
