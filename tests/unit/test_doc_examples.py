"""The Python examples of the documentation run, and the messages that it explains are those of the code."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import CRS
from shard_files import write_tile

from saved_models import save_system

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in PAGES
    for number, text in enumerate(re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S))
]


def raster(path: Path) -> None:
    """A small DEM on a lunar south polar map."""
    path.parent.mkdir(parents=True, exist_ok=True)
    crs = CRS.from_proj4("+proj=stere +lat_0=-90 +lon_0=0 +R=1737400 +units=m +no_defs").to_wkt()
    profile = {"driver": "GTiff", "width": 8, "height": 6, "count": 1, "dtype": "float32", "crs": crs}
    transform = rasterio.transform.from_origin(-31000, 33000, 20, 20)
    with rasterio.open(path, "w", **profile, transform=transform, nodata=np.nan) as file:
        file.write(np.arange(48, dtype="f4").reshape(1, 6, 8))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small file for each that the examples open."""
    raster(tmp_path / "my" / "dems" / "site.tif")
    here = tmp_path / "results" / "here"
    raster(here / "region" / "mean.tif")
    stores = here / "store" / "patches"
    stores.mkdir(parents=True)
    tile = write_tile(tmp_path, count=2)
    tile.patches.rename(stores / "tile_000.zarr.zip")
    tile.visibility.rename(tmp_path / "tile_000.zarr.zip")
    row = {"rmse_m": 2.0, "slope_deg": 0.3, "rmse_vs_bicubic_window": 0.25}
    (here / "evaluation").mkdir()
    metrics = {"schema": "metrics/1", "systems": {"bicubic": row, "pretrained": row}}
    (here / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    mapped = tmp_path / "results" / "nobile" / "map"
    mapped.mkdir(parents=True)
    facts = {
        "check": {"verdict": "not checked"},
        "images": {"used": 1},
        "dem": {"shadows_cast_within_m": 9.0},
    }
    (mapped / "map.json").write_text(json.dumps(facts))
    header = "product,used,withheld,why,correlation_after"
    (mapped / "images.csv").write_text(f"{header}\nM126832204RE,yes,no,,0.719\n")
    save_system(tmp_path / "pretrained" / "moon", size_px=96, factor=16, lr_halo_px=32)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_examples_are_found() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_runs(text: str, folder: Path, capsys: pytest.CaptureFixture) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(text, "example", "exec"), names)
    if "mean.tif" in text:
        mean = names["mean"]
        assert mean.sel(x=-30990, y=32990).item() == 0
        assert mean.shape == (6, 8)
        assert float(mean.x[1] - mean.x[0]) == -float(mean.y[1] - mean.y[0]) == 20
    if "to_map" in text:
        x, y = names["to_map"].transform(-43.0, -88.5)
        page = (ROOT / "docs" / "tutorial.md").read_text()
        center = re.search(r"center_m: \[(.*?), (.*?)\]", page)
        assert [round(x, -1), round(y, -1)] == [float(v) for v in center.groups()]


def said(node: ast.expr) -> str:
    """A text of the code, with … for what is put in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


def texts() -> str:
    """Every text of the library's code, a line each; those of `unlike` as it puts them together."""
    out = []
    for path in sorted((ROOT / "src" / "pipeline").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        named = [n for n in nodes if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
        for node in nodes:
            if isinstance(node, ast.JoinedStr | ast.Constant):
                out.append(said(node))
            elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "unlike":
                key, expected, found = (said(last_value(arg, named)) for arg in node.args[-3:])
                out.append(f"{key}: expected {expected}, found {found}")
    return "\n".join(out)


def last_value(node: ast.expr, named: list[ast.Assign]) -> ast.expr:
    """What a name was given last before it is used; any other expression itself."""
    before = [a for a in named if ast.unparse(a.targets[0]) == ast.unparse(node) and a.lineno < node.lineno]
    return max(before, key=lambda a: a.lineno).value if before else node


def explained(page: str) -> list[str]:
    """Messages of a page's tables."""
    text = (ROOT / "docs" / page).read_text()
    tables = re.findall(r"^\| (?:message|reason) \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.M)
    found = re.findall(r"^\| (`.+?`) \|", "".join(tables), re.M)
    return [message for cell in found for message in re.findall(r"`(.+?)`", cell)]


@pytest.mark.parametrize("page", ["tutorial.md", "tutorial_map.md"])
def test_the_errors_that_a_tutorial_explains_are_those_of_the_code(page: str) -> None:
    assert len(explained(page)) >= 12
    code = texts()
    for message in explained(page):
        pattern = re.escape(message).replace("…", ".*?")
        assert re.search(pattern, code), message
