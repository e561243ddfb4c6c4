"""Tiles, cores and kills do not change a byte of a map's products.

``MAP_KILLS=3 pytest -m slow tests/e2e/test_map_kills.py`` tries it with three; ``KILLS_SEED`` draws others.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_kills import SEED, disturbed
from test_map import ROOT, SMALL, given, made

from map_sites import FACTOR, write_site
from saved_models import save_system

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("map")]

KILLS = int(os.environ.get("MAP_KILLS", "10"))
JOBS = 17
MANY = ('map={"tile_px": 80}', 'images={"per_job": 5}')


def working_directory(folder: Path) -> Path:
    """The configs, a site and small weights."""
    folder.mkdir(exist_ok=True)
    (folder / "config").symlink_to(ROOT / "config")
    (folder / "small.yaml").write_text(SMALL)
    write_site(folder)
    save_system(folder / "weights", size_px=32, factor=FACTOR, noise=0.002)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return working_directory(tmp_path_factory.mktemp("map"))


@pytest.fixture(scope="module")
def many(site: Path, snakemake: Callable) -> dict[str, str]:
    """Digests of a map made in tiles and chunks by two jobs at a time."""
    run = made(snakemake, site, "map", *MANY)
    assert run.returncode == 0, run.text[-5000:]
    found = digests(site)
    shutil.rmtree(site / "results")
    return found


def digests(folder: Path, keys: bool = True) -> dict[str, str]:
    """Digests of all products' bytes; without `keys`, of the bytes but for the keys that name their stage.

    Keys are digests of the configuration, which says how large tiles are.
    """
    products = folder / "results" / "map" / "map"
    facts = json.loads((products / "map.json").read_text())
    found = {}
    for path in products.iterdir():
        data = path.read_bytes()
        for key in () if keys else (facts["key"], facts["config"]):
            data = data.replace(key.encode(), b"0" * len(key))
        found[path.name] = hashlib.sha256(data).hexdigest()
    return found


def test_one_core_gives_the_bytes_of_two(many: dict[str, str], site: Path, snakemake: Callable) -> None:
    run = made(snakemake, site, "map", *MANY, cores=1)
    assert run.returncode == 0, run.text[-5000:]
    assert digests(site) == many and len(many) >= 15
    tiles = digests(site, keys=False)
    shutil.rmtree(site / "results")
    run = made(snakemake, site, "map")
    assert run.returncode == 0, run.text[-5000:]
    assert digests(site, keys=False) == tiles
    assert digests(site) != many  # the keys, and nothing else


def test_any_number_of_kills_changes_nothing(
    many: dict[str, str], tmp_path: Path, snakemake: Callable
) -> None:
    rng, left, run = random.Random(SEED), KILLS, 0
    while left > 0:
        folder = working_directory(tmp_path / f"run_{run}")
        left -= disturbed(folder, left, rng, snakemake, "map", given("map", *MANY), 0, JOBS)
        assert digests(folder) == many
        run += 1
