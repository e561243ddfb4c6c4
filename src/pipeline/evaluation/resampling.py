"""Bootstrap weights for intervals of pooled scores: sites and blocks of patches in them are resampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_SITES = 0x517E5
#: Side of a block of patches, in patches.
BLOCK = 4


def block_of(row: int, col: int, size_px: int) -> str:
    """Name of the block of `BLOCK` x `BLOCK` patches that a patch lies in, within its site.

    Parameters
    ----------
    row, col : of the patch's first pixel. size_px : its side, pixels.
    """
    return f"r{row // (BLOCK * size_px)}c{col // (BLOCK * size_px)}"


def site_weights(sites: Sequence[int], blocks: Sequence[str], bootstrap: int, seed: int) -> Floats:
    """How often each patch is drawn in each resample of a two-stage bootstrap.

    Sites are drawn with replacement, as many as there are; in each drawn site its blocks, as many as it has;
    a block counts with all of its patches. Neighbouring patches are correlated, so intervals over single
    patches are too narrow for statements about other terrain.

    Parameters
    ----------
    sites, blocks : of each patch; blocks of different sites differ. bootstrap : resamples.
    seed : of the draws.

    Returns
    -------
    (bootstrap, patches).
    """
    rng = np.random.default_rng([seed, _SITES])
    numbers, site = np.unique(np.asarray(sites), return_inverse=True)
    drawn = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=bootstrap)
    weights = np.zeros((bootstrap, len(site)))
    names = np.asarray(blocks)
    for number in range(len(numbers)):
        here = np.flatnonzero(site == number)
        kinds, block = np.unique(names[here], return_inverse=True)
        times = rng.multinomial(drawn[:, number] * len(kinds), np.full(len(kinds), 1 / len(kinds)))
        weights[:, here] = times[:, block]
    return weights


def weighted_means(weights: Floats, values: Sequence[float]) -> Floats:
    """Mean of the patches' values (patches,) in each resample, (bootstrap,)."""
    means: Floats = np.einsum("bp,p->b", weights, np.asarray(values, float)) / weights.sum(axis=1)
    return means
