"""Fixtures of the unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from shard_files import make_manifest

# How long an example takes depends on what else the machine does.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of two training and two validation shards of 5 + 5 and 1 + 1 patches; not to be changed."""
    return make_manifest(tmp_path_factory.mktemp("shards"))
