"""The commands of docs/tutorial_map.md, as they stand there, on a rendered image set beside the project."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import from_bounds

pytestmark = pytest.mark.xdist_group("tutorial")
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial_map.md"
PARTS = ("src", "workflow", "config", "Snakefile", "pretrained", "envs", "pyproject.toml", "notebooks")


def commands() -> Iterator[str]:
    """Commands of the page, in its order."""
    for text in re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        yield from re.sub(r"\\\n *", "", text).splitlines()


SELECT, PLAN, MAP = (line for line in commands() if line.startswith("lunar-bridge"))


@pytest.fixture(scope="module")
def challenge(shared_data: Path) -> Path:
    folder = shared_data / "challenge" / "nobile_rim_1"
    if not folder.is_dir():
        pytest.skip("the image set challenge/nobile_rim_1 is not beside the project (../shared/data)")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, challenge: Path) -> Path:
    """A copy of the project with the set's files where the tutorial's would be; results go there."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in PARTS:
        (folder / name).symlink_to(ROOT / name)
    (folder / "my").mkdir()
    for name, given in (("ldem.tif", "prior_640m.tif"), ("index.csv", "index.csv")):
        (folder / "my" / name).symlink_to(challenge / given)
    return folder


def start(project: Path, command: str) -> str:
    """Run a command of the page; returns what it prints."""
    words = shlex.split(command)
    assert words[0] == "lunar-bridge"
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *words[1:]],
        cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def chosen(project: Path, challenge: Path) -> list[str]:
    """Images that the tutorial's first command chooses, which are then there."""
    text = start(project, SELECT)
    assert "what the set lacks" in text
    with (project / "my" / "wanted.csv").open(newline="") as stream:
        names = [row["image"] for row in csv.DictReader(stream) if row["rank"]]
    (project / "my" / "nac").mkdir()
    for name in names:
        (project / "my" / "nac" / f"{name}.tif").symlink_to(challenge / "images" / f"{name}.tif")
    # What the page shows is what is printed.
    for line in re.findall(r"^ +\d+ +\d.*$", PAGE.read_text(), re.M):
        assert line.split()[-1] in names
    return names


def test_images_are_chosen_and_the_plan_lists_them(project: Path, chosen: list[str]) -> None:
    assert len(chosen) == 16
    text = start(project, PLAN)
    assert "16 given" in text and all(f"{name}.tif" in text for name in chosen)
    assert "bounds:  x 79800.0 to 87480.0" in text and "min on 2 cores" in text
    assert not (project / "results" / "nobile").exists()


def test_the_notebook_gives_the_commands_of_the_page() -> None:
    texts = {
        node.value
        for node in ast.walk(ast.parse((ROOT / "notebooks" / "map.py").read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {SELECT, PLAN} <= texts and PLAN.removesuffix(" --dry-run") == MAP


def test_the_notebook_runs_up_to_the_button(
    project: Path, chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("marimo", reason="marimo is not installed (lunar-bridge[notebook])")
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project / "src"), *sys.path]))
    app = runpy.run_path(str(ROOT / "notebooks" / "map.py"))["app"]
    _, found = app.run()
    assert "what the set lacks" in found["ranked"] and "16 given" in found["planned"]
    made = (project / "results" / "nobile" / "map" / "map.json").is_file()
    assert ("facts" in found and "figure" in found) == made


@pytest.mark.slow
def test_the_map_is_better_than_the_dem_as_the_page_says(
    project: Path, chosen: list[str], challenge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(project, MAP)
    folder = project / "results" / "nobile" / "map"
    facts = json.loads((folder / "map.json").read_text())
    assert "withheld images better than the a priori DEM" in facts["check"]["verdict"]
    error = {}
    for name in ("mean", "prior"):
        with (
            rasterio.open(folder / f"{name}.tif") as file,
            rasterio.open(challenge / "truth_40m.tif") as true,
        ):
            truth = true.read(1, window=from_bounds(*file.bounds, true.transform))
            error[name] = float(np.sqrt(np.mean((file.read(1) - truth) ** 2)))
    before, after = re.search(r"from\s+([\d.]+) m \(bicubic.*?\) to ([\d.]+) m", PAGE.read_text()).groups()
    assert error["prior"] == pytest.approx(float(before), abs=0.1)
    assert error["mean"] == pytest.approx(float(after), abs=0.3)
    monkeypatch.chdir(project)
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        exec(compile(text, "tutorial", "exec"), {"__name__": "example"})
