"""Altimetry coverage filter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.coverage import CoverageSection
from pipeline.storage.store import StoreWriter
from pipeline.terrain.coverage import CoverageError, select_tile


def store(path: Path, covered: list[int] | None, n: int = 0, gaps: list[int] | None = None) -> Path:
    """Patches with that many covered pixels (None: no count map), the first `gaps` of them missing."""
    n = n if covered is None else len(covered)
    size = 96
    attrs = {
        "pixel_m": 20.0, "size_px": size, "halo_px": 0, "crs_wkt": "", "tile": 3, "sites": [{"name": "a"}],
    }  # fmt: skip
    with StoreWriter(path, "patches", attrs) as w:
        w.write("dem", np.zeros((n, size, size), "f4"), ("patch", "y", "x"))
        for name, dtype in {"id": "i8", "site": "i4", "row": "i4", "col": "i4"}.items():
            w.write(name, np.arange(n).astype(dtype), ("patch",))
        for name in ("x0", "y0", "lon", "lat"):
            w.write(name, np.arange(n, dtype="f8"), ("patch",))
        w.write("on_grid", np.ones(n, bool), ("patch",))
        w.write("halo", np.zeros((n, 4), "i4"), ("patch", "side"))
        w.write("pole", np.full(n, -1, "i1"), ("patch",))
        if covered is not None:
            count = np.zeros((n, size * size), "f4")
            for i, k in enumerate(covered):
                count[i, :k] = 1 + np.arange(k) % 5
                count[i, : (gaps or [0] * n)[i]] = np.nan
            w.write("count", count.reshape(n, size, size), ("patch", "py", "px"))
    return path


def select(tmp_path: Path, patch_store: Path, least: float) -> dict:
    select_tile(patch_store, CoverageSection(min_share=least), tmp_path / "selected.json")
    return json.loads((tmp_path / "selected.json").read_text())


def test_published_threshold_is_2242_of_9216_pixels(tmp_path: Path) -> None:
    path = store(tmp_path / "p", [0, 2241, 2242, 9216])
    select_tile(path, CoverageSection(), tmp_path / "s.json")
    found = json.loads((tmp_path / "s.json").read_text())
    assert [p["kept"] for p in found["patches"]] == [False, False, True, True]
    assert found["patches"][1]["reason"] == "coverage 0.243 < 0.243"
    assert [p["code"] for p in found["patches"][:3]] == ["low_coverage", "low_coverage", None]
    assert found["min_share"] == 2242 / 9216
    assert found["patches"][0]["reason"] == "coverage 0.000 < 0.243"
    assert [p["coverage"] for p in found["patches"]] == [0, 2241 / 9216, 2242 / 9216, 1]
    assert (found["schema"], found["tile"], found["sites"]) == ("selected/1", 3, [{"name": "a"}])
    assert found["patches"][2] | {"coverage": 0} == {
        "id": 2, "row": 2, "col": 2, "site": 2, "on_grid": True, "x0": 2.0, "y0": 2.0,
        "coverage": 0, "kept": True, "code": None, "reason": None,
    }  # fmt: skip


def test_a_missing_count_is_no_altimetry(tmp_path: Path) -> None:
    path = store(tmp_path / "p", [9216, 9216], gaps=[0, 1])
    found = select(tmp_path, path, 1.0)["patches"]
    assert [p["kept"] for p in found] == [True, False]
    assert found[1]["coverage"] == 9215 / 9216


def test_without_a_count_map(tmp_path: Path) -> None:
    path = store(tmp_path / "p", None, n=2)
    with pytest.raises(
        CoverageError, match=r"coverage\.min_share = 0\.5 needs a count map \(inputs\.count\)"
    ):
        select(tmp_path, path, 0.5)
    assert not (tmp_path / "selected.json").exists()
    found = select(tmp_path, path, 0.0)
    assert [(p["kept"], p["coverage"]) for p in found["patches"]] == [(True, None)] * 2


def test_an_empty_tile(tmp_path: Path) -> None:
    assert select(tmp_path, store(tmp_path / "p", []), 0.2)["patches"] == []
