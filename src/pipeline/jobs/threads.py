"""Compiled functions whose loops run in threads, beside torch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import numba
import torch

P = ParamSpec("P")


def with_torchs_threads(kernel: Callable[P, None]) -> Callable[P, None]:
    """Run a parallel numba function with as many threads as torch has, and leave torch's as they are.

    Where both use OpenMP, the first parallel call of numba sets the number of threads of all later torch
    operations to that of the machine's cores, and their sums would depend on the machine.
    """

    @wraps(kernel)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        count = torch.get_num_threads()
        most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        numba.set_num_threads(min(count, most))
        try:
            kernel(*arguments, **options)
        finally:
            if torch.get_num_threads() != count:
                torch.set_num_threads(count)

    return run
