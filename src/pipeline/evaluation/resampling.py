"""Intervals of pooled scores by resampling sites and blocks of patches in them."""

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

    Sites are drawn with replacement, as many as there are; of each drawn site its blocks, as many as it has;
    a block brings all of its patches. Near patches are alike, so intervals over single patches are too narrow
    for claims about other ground.

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
    """Mean of the patches' values in each resample, (bootstrap,)."""
    found: Floats = np.einsum("bp,p->b", weights, np.asarray(values, float)) / weights.sum(axis=1)
    return found
