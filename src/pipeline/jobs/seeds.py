"""Random numbers that depend on seeds alone."""

from __future__ import annotations

import numpy as np
import torch


def seeded(*entropy: int) -> torch.Generator:
    """A torch generator whose stream depends on all the given numbers."""
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))
