"""Numerical fingerprint of the machine; equal fingerprints mean bit-identical results.

Instruction sets and libraries order sums differently. The fingerprint is the digest of a fixed computation of
the kind that networks do: it tells whether two machines round alike, without naming either.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import torch
from torch.nn import functional

_SHAPES = ((2, 1, 16, 96), (3, 8, 8, 32), (1, 24, 48, 24))  # batch, channels in, channels out, side


def arithmetic(device: torch.device | str = "cpu") -> str:
    """Fingerprint of a device: ``cpu:`` or ``cuda:`` and 12 hex digits that depend on how it rounds.

    It depends on the number of torch threads: set that first, as the stages do.
    """
    return _arithmetic(torch.device(device).type, torch.get_num_threads())


@cache
@torch.no_grad()
def _arithmetic(kind: str, threads: int) -> str:
    """`arithmetic`; `threads` is only a key of the cache."""
    digest = hashlib.sha256()
    rng = np.random.default_rng(20)

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(np.asarray(rng.standard_normal(shape), np.float32)).to(kind)

    for batch, inner, outer, side in _SHAPES:
        x = functional.conv2d(draw(batch, inner, side, side), draw(outer, inner, 3, 3), padding=1)
        x = functional.silu(functional.group_norm(x, 4))
        tokens = x.flatten(2).transpose(1, 2)[:, :144]
        wide = functional.layer_norm(tokens @ draw(outer, 128), (128,))
        x = functional.softmax(wide @ wide.transpose(1, 2) / 11, dim=-1) @ functional.gelu(wide)
        digest.update(x.cpu().numpy().tobytes())
    numbers = rng.standard_normal(10_007)
    # No product by BLAS: its sums depend on the threads that the job's environment gives it.
    digest.update(np.array([numbers.mean(), np.exp(numbers).sum(), np.square(numbers).sum()]).tobytes())
    return f"{kind}:{digest.hexdigest()[:12]}"
