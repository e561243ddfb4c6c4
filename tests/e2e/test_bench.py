"""`make bench-light` says what its documentation promises; how fast it is, is not a test's business."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_last_line_of_the_benchmark_of_light_is_one_json_object() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "light.py"), "--parts", "engines", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    ratios = {f"{ours}_vs_{theirs}" for ours in ("embree", "horizon") for theirs in ("trimesh", "embreex")}
    assert set(answer) >= ratios | {"agreement", "embree_agreement"}
    assert all(answer[name] > 0 for name in ratios)
    assert answer["agreement"] >= 0.9999
    assert answer["embree_agreement"] == 1
