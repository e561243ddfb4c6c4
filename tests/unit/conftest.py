"""Fixtures of the unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from shard_files import make_manifest


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of two training and two validation shards of 5 + 5 and 1 + 1 patches; not to be changed."""
    return make_manifest(tmp_path_factory.mktemp("shards"))
