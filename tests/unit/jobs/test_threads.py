"""Compiled parallel loops beside torch: its number of threads is part of the config, and must stay."""

from __future__ import annotations

import os
import subprocess
import sys

#: Numba starts its threads once per process; three of them, on any machine.
PROGRAM = """
import numpy as np, torch
from pipeline.models import refinement_kernels as kernels
from pipeline.models.nodes import spline
torch.set_num_threads(1)
images = np.ones((2, 3, 8, 8), np.float32)
lit, level = np.zeros(images.shape, bool), np.zeros(images.shape[:2])
kernels.well_lit(images, images > 0, 0.2, 0.05, lit, level)
assert lit.any() and (level == 1).all()
print(torch.get_num_threads())
spline(torch.randn(2, 16, 16), torch.ones(2, 16, 16), 24.0)
print(torch.get_num_threads())
try:
    kernels.well_lit(images)
except TypeError:
    print(torch.get_num_threads())
"""


def test_parallel_loops_leave_torchs_threads_as_they_are() -> None:
    environment = {**os.environ, "NUMBA_NUM_THREADS": "3"}
    call = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(call, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1", "1"]
