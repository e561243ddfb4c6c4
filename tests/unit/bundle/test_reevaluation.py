"""Shipped patches: they read as in the run, hold plain numbers alone, and their scores agree as is said."""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_files import make_test_manifest

from pipeline.bundle.reevaluation import BETWEEN_CPUS, _compare, _furthest, check_store
from pipeline.evaluation.per_patch import Columns
from pipeline.shards.scene import AllFibonacciScene, StoredScene
from pipeline.shards.shard_set import ShardSet
from pipeline.shards.subset import write_subset

PICKED = [6, 0, 3]

TABLE: Columns = {
    "patch": [3, 8],
    "computed_on": ["cpu:a", "cpu:a"],
    "mse_m2": [4.0, 9.0],
    "mae_m": [1.0, 2.0],
    "slope_deg": [0.5, 0.25],
    "variance_m2": [1.0, 1.0],
    "crps_m": [0.5, 0.6],
    "member_mse_m2": [5.0, 6.0],
    "std_m": [1.0, 1.1],
    "std_error_m2": [0.3, 0.4],
    "ranks": ["10 20 70", "0 50 50"],
}


def changed(name: str, row: int, value: Any) -> Columns:
    table = copy.deepcopy(TABLE)
    table[name][row] = value
    return table


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Two test shards; their draws hold different numbers of images."""
    return ShardSet(make_test_manifest(tmp_path_factory.mktemp("whole"), tiles=2, count=4), "test")


@pytest.fixture(scope="module")
def store(whole: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patches of both shards as one."""
    folder = tmp_path_factory.mktemp("few")
    write_subset(whole, PICKED, folder)
    return folder / "test.zarr.zip"


def test_shipped_patches_read_as_in_the_run(whole: ShardSet, store: Path, tmp_path: Path) -> None:
    few = ShardSet(store.with_name("manifest.json"), "test")
    assert few.manifest["patches"] == {"test": 3}
    assert few.manifest["grid"] == whole.manifest["grid"]
    for place, index in enumerate(PICKED):
        (shard, patch), (other, row) = few.at(place), whole.at(index)
        assert shard.ids[patch] == other.ids[row]
        np.testing.assert_array_equal(shard.dem(patch), other.dem(row))
        for one, two in zip(shard.fibonacci_suns(patch), other.fibonacci_suns(row)):
            np.testing.assert_array_equal(one, two)
        for scene in (StoredScene("main", True), AllFibonacciScene()):
            rng = np.random.default_rng(0)
            one, two = scene.image_set(shard, patch, rng), scene.image_set(other, row, rng)
            np.testing.assert_array_equal(one.images, two.images)
            np.testing.assert_array_equal(one.suns, two.suns)
            assert (one.strips is None) == (two.strips is None)
            if one.strips is not None:
                np.testing.assert_array_equal(one.strips, two.strips)
            seen = [s.visible(one.group, p, one.images) for s, p in ((shard, patch), (other, row))]
            np.testing.assert_array_equal(*seen)
    write_subset(whole, PICKED, tmp_path)
    assert (tmp_path / "test.zarr.zip").read_bytes() == store.read_bytes()


def rewritten(store: Path, out: Path, entry: str, changes: dict[str, Any]) -> Path:
    with zipfile.ZipFile(store) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == entry:
                data = json.dumps(json.loads(data) | changes).encode()
            new.writestr(name, data)
    return out


def test_a_plain_store_is_read(store: Path) -> None:
    check_store(store)


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": [{"id": "pickle"}]},
        {"dtype": "|O"},
        {"compressor": {"id": "blosc"}},
        {"chunks": [2**20, 2**20]},
    ],
)
def test_anything_else_is_refused(store: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = rewritten(store, tmp_path / "x.zip", "lon/.zarray", changes)
    with pytest.raises(ValueError, match=r"x\.zip: lon/\.zarray: expected"):
        check_store(path)


def test_what_the_consolidated_metadata_say_is_looked_at_too(store: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(store) as archive:
        metadata = json.loads(archive.read(".zmetadata"))["metadata"]
    metadata["lon/.zarray"]["filters"] = [{"id": "pickle"}]
    path = rewritten(store, tmp_path / "x.zip", ".zmetadata", {"metadata": metadata})
    with pytest.raises(ValueError, match=r"\.zmetadata: lon/\.zarray: expected plain numbers"):
        check_store(path)


def test_equal_scores_are_equal() -> None:
    assert _furthest(TABLE, copy.deepcopy(TABLE), 0.0) == (0.0, "")


@pytest.mark.parametrize(
    ("claimed", "tolerance", "words"),
    [
        (changed("mse_m2", 1, 9.0 * (1 + 1e-15)), 0.0, "patch 8: mse_m2 claimed"),
        (changed("crps_m", 0, 0.5 * 1.002), BETWEEN_CPUS, "patch 3: crps_m claimed 0.501, found 0.5"),
        (changed("slope_deg", 0, float("nan")), BETWEEN_CPUS, "patch 3: slope_deg claimed nan"),
        (changed("patch", 0, 4), BETWEEN_CPUS, "patch 3: expected its row"),
        (changed("ranks", 0, "13 17 70"), BETWEEN_CPUS, "patch 3: ranks of 3.0% of the pixels"),
        (changed("ranks", 0, "10 20 70 0"), BETWEEN_CPUS, "patch 3: ranks"),
    ],
)
def test_a_score_beyond_the_tolerance_is_named(claimed: Columns, tolerance: float, words: str) -> None:
    assert words in _furthest(claimed, TABLE, tolerance)[1]


def test_rounding_within_the_tolerance_passes() -> None:
    assert _furthest(changed("mse_m2", 1, 9.0 * (1 + 5e-4)), TABLE, BETWEEN_CPUS)[1] == ""


@pytest.mark.parametrize(("here", "status"), [("cpu:a", "FAIL"), ("cpu:b", "PASS")])
def test_machines_that_round_alike_must_agree_to_the_last_digit(here: str, status: str) -> None:
    claimed = {("main", "s"): changed("mse_m2", 1, 9.0 * (1 + 1e-9))}
    again = copy.deepcopy(TABLE) | {"computed_on": [here, here]}
    [row] = _compare("s", {"main": again}, claimed, [3, 8])
    assert row.status == status, row
