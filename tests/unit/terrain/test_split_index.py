"""Splits that files give by the ids of their patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.split import SplitSection
from pipeline.config.stages.terrain import SplitStage
from pipeline.terrain.split import split_patches
from pipeline.terrain.split_index import SplitError, read_index

SIZE = 16
SITE = {"name": "a", "files": ["a"], "pole": -1, "lon0": 0.0, "scale": 1.0, "anchor": [0, 0], "pixel_m": 20.0}
SECTION = SplitSection.model_validate(
    {"method": "index", "index": {"train": "a", "validation": "b", "test": "c"}}
)


def squares_of(rows: int, cols: int, step: int = SIZE) -> list[dict[str, Any]]:
    """Patches column by column, `step` px apart; those on whole patches are on the grid."""
    return [
        {
            "id": col * rows + row, "row": row * step, "col": col * step, "site": 0,
            "on_grid": row * step % SIZE == 0 and col * step % SIZE == 0,
            "x0": 20.0 * (col * step + SIZE / 2), "y0": -20.0 * (row * step + SIZE / 2),
            "coverage": None, "kept": True, "reason": None,
        }
        for col in range(cols)
        for row in range(rows)
    ]  # fmt: skip


def split(folder: Path, patches: list[dict[str, Any]], *ids: list[int]) -> dict[str, Any]:
    index = [folder / f"{name}.npy" for name in ("train", "validation", "test")]
    for path, values in zip(index, ids, strict=True):
        np.save(path, np.array(values, dtype=np.int32))
    out = folder / "split.json"
    tiles = [folder / f"{t}.json" for t in (0, 1)]
    for t, path in enumerate(tiles):
        head = {"schema": "selected/1", "tile": t, "size_px": SIZE, "pixel_m": 20.0, "sites": [SITE]}
        path.write_text(json.dumps({**head, "patches": patches[t::2]}))
    split_patches(tiles, SplitStage(split=SECTION, size_px=SIZE), out, index)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_files_name_the_patches_of_each_split(tmp_path: Path) -> None:
    patches = squares_of(3, 4)
    patches[5] = {**patches[5], "kept": False, "reason": "coverage 0.1 < 0.2"}
    found = split(tmp_path, patches, [7, 0, 5], [1], [3, 11])
    assert found["patches"] == {
        str(i): {0: "train", 7: "train", 1: "validation", 3: "test", 11: "test"}.get(i, "dropped")
        for i in range(12)
        if i != 5
    }
    assert found["counts"] == {"train": 2, "validation": 1, "test": 2, "dropped": 6}
    assert found["dropped"] == {"named in no index file": 6}
    assert found["not_kept"] == 1


def test_named_training_patches_share_no_pixel_with_held_out_ones(tmp_path: Path) -> None:
    patches = squares_of(1, 7, step=SIZE // 2)  # seven in a row, neighbours overlap
    found = split(tmp_path, patches, [0, 1, 6], [4], [2])
    assert found["patches"]["1"] == "dropped" and found["patches"]["0"] == "train"
    assert found["counts"]["train"] == 2


def test_a_file_may_be_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("3\n1\n\n12\n")
    (tmp_path / "b.txt").write_text("")
    first, second = read_index([tmp_path / "a.txt", tmp_path / "b.txt"])
    assert first.tolist() == [3, 1, 12] and len(second) == 0


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (([0], [1], [2, 99]), r"test\.npy: expected ids of the terrain's patches, found 1 others, first 99"),
        (
            ([0], [1], [2, 1]),
            r"test\.npy: expected each patch in one split, once, found 1 in .*validation\.npy",
        ),
        (([0, 0], [1], [2]), r"train\.npy: expected each patch in one split, once, found 0 in .*train\.npy"),
        (([0], [1], []), r"split: expected patches in all splits, found none in test .*method 'index'"),
        (([-1], [1], [2]), r"train\.npy: expected ids of patches, whole numbers from 0 on, found -1"),
    ],
)
def test_mistakes_name_the_file_and_the_patch(tmp_path: Path, ids: Any, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        split(tmp_path, squares_of(2, 2), *ids)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"1\n2.5\n", r"x\.txt: expected ids .*, one per line, found '2\.5'"),
        ("x.txt", b"1\n" + b"9" * 20, r"x\.txt: expected ids .*, one per line, found '9{20}'"),
        ("x.npy", b"1\n2\n", r"x\.npy: expected ids .*, found no such array"),
        ("x.npy", b"", r"x\.npy: expected ids .*, found"),
        ("x.txt", b"\xff\xfe", r"x\.txt: expected ids .*, found a file that cannot be read"),
    ],
)
def test_what_is_no_index_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SplitError, match=message):
        read_index([tmp_path / name])


def test_an_array_of_another_kind_is_refused(tmp_path: Path) -> None:
    for array in (np.array([0.5]), np.zeros((2, 2), int), np.array(["a"]), np.array([None])):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(SplitError, match=r"x\.npy: expected ids of patches"):
            read_index([tmp_path / "x.npy"])
    with pytest.raises(SplitError, match=r"none\.npy: .* found a file that cannot be read"):
        read_index([tmp_path / "none.npy"])


@pytest.mark.parametrize(
    "keys", [{"method": "index"}, {"index": {"train": "a", "validation": "b", "test": "c"}}]
)
def test_index_files_belong_to_their_method(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="index: expected index files with method 'index', and only with it"):
        SplitSection.model_validate(keys)
