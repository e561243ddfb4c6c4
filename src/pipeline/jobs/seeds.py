"""Random numbers that depend on seeds only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from pipeline.config.base import Range


def seeded(*entropy: int) -> torch.Generator:
    """A torch generator whose stream depends on all the given numbers."""
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


def log_uniform(rng: np.random.Generator, within: Range, size: int | None = None) -> Any:
    """A log-uniform number within a range above 0; an array ``(size,)`` of them, if `size` is given."""
    return np.exp(rng.uniform(np.log(within.low), np.log(within.high), size))
