"""Patch and random numbers of the n-th training sample: pure functions of (seed, n)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.jobs.seeds import seeded

_SHUFFLE, _SCENE, _NOISE, _FLIP = 0x5EED01, 0x5EED02, 0x5EED03, 0x5EED04
_IMPERFECTIONS, _TRANSPOSE = 0x5EED05, 0x5EED06


class DataOrder:
    """A new permutation of the patches in each epoch, independent of threads, processes and restarts.

    Parameters
    ----------
    patches : number of patches. seed : of the whole training.
    """

    def __init__(self, patches: int, seed: int) -> None:
        self.patches, self.seed = patches, seed
        self._epoch, self._order = -1, np.zeros(0, int)

    def patch(self, number: int) -> int:
        """Index of the patch of sample `number`."""
        epoch, position = divmod(number, self.patches)
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, _SHUFFLE, epoch]).permutation(self.patches)
            self._epoch = epoch
        return int(self._order[position])

    def scene_rng(self, number: int) -> np.random.Generator:
        """Random numbers for the images of sample `number`."""
        return np.random.default_rng([self.seed, _SCENE, number])

    def imperfections_rng(self, number: int) -> np.random.Generator:
        """Random numbers for the imperfections of the images of sample `number`."""
        return np.random.default_rng([self.seed, _IMPERFECTIONS, number])

    def flips(self, numbers: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each sample is mirrored along columns and along rows, (n, 2); each with probability 1/2."""
        return np.array([np.random.default_rng([self.seed, _FLIP, n]).random(2) < 0.5 for n in numbers])

    def transpositions(self, numbers: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each sample is transposed, (n,); with probability 1/2."""
        return np.array([np.random.default_rng([self.seed, _TRANSPOSE, n]).random() < 0.5 for n in numbers])

    def noise(self, number: int) -> torch.Generator:
        """Random numbers for the times and the noise of sample `number`; always on the CPU."""
        return seeded(self.seed, _NOISE, number)
