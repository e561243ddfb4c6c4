"""The tiny run that the end-to-end tests look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, snakemake: Callable) -> Path:
    """Working directory of a finished run of config/tiny.yaml; tests leave it as they found it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "config").symlink_to(ROOT / "config")
    done = snakemake(folder, "-c2", "all", "--configfile", "config/tiny.yaml")
    assert done.returncode == 0, done.text[-5000:]
    return folder
