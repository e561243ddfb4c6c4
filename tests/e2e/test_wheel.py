"""The wheel in an environment of its own: the command, the shipped weights and a map, without the checkout.

Packages that the library needs are those of the tests' environment, put on the new one's path; the installed
wheel comes before them, and the checkout is on no path.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from map_sites import write_site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]
ROOT = Path(__file__).resolve().parents[2]
BACKEND = "from setuptools import build_meta; print('made', build_meta.build_{}({!r}))"


def built(kind: str, folder: Path, source: Path = ROOT) -> Path:
    """An sdist, a wheel or an editable wheel of a source tree, as `make dist` and `make env` make them."""
    code = BACKEND.format(kind, str(folder))
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / re.search(r"^made (\S+)$", done.stdout, re.M).group(1)


def run(words: list[str | Path], cwd: Path) -> str:
    """What a program prints, without anything of the checkout in its environment."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        words, cwd=cwd, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built of the unpacked sdist."""
    folder = tmp_path_factory.mktemp("dist")
    sdist = built("sdist", folder)
    subprocess.run(["tar", "xzf", sdist, "-C", folder], check=True)
    return built("wheel", folder, folder / sdist.name.removesuffix(".tar.gz"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new environment that has the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    own = folder / "bin" / "python"
    install = ("install", "--quiet", "--no-deps", "--no-index", wheel)
    run([sys.executable, "-m", "pip", "--python", own, *install], folder)
    [packages] = (folder / "lib").glob("python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib"))
    return own


def test_it_carries_the_project_and_an_editable_one_does_not(wheel: Path, tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [ROOT / "Snakefile", ROOT / "envs" / "environment.yaml"]
    for folder in ("workflow", "config", "profiles", "pretrained/moon", "pretrained/lola40"):
        files += [file for file in (ROOT / folder).rglob("*") if file.is_file() and file.suffix != ".pyc"]
    for file in files:
        assert f"pipeline/_project/{file.relative_to(ROOT).as_posix()}" in names
    editable = built("editable", tmp_path)
    assert not [name for name in zipfile.ZipFile(editable).namelist() if "_project" in name]


def test_the_command_says_what_it_can_do(python: Path, tmp_path: Path) -> None:
    text = run([python.with_name("lunar-bridge"), "--help"], tmp_path)
    assert "map" in text and "export-asp" in text


def test_the_shipped_weights_are_loaded(python: Path, tmp_path: Path) -> None:
    code = "import pipeline, sys; s = pipeline.load(sys.argv[1]); print(s.size_px, pipeline.__file__)"
    for weights in ("pretrained/moon", "pretrained/lola40"):
        size, file = run([python, "-c", code, weights], tmp_path).split()
        assert size == "96" and Path(file).is_relative_to(python.parents[1])


def test_a_map_has_the_keys_that_it_has_in_the_checkout(
    python: Path, tmp_path: Path, snakemake: Callable
) -> None:
    write_site(tmp_path)
    words = ["map", "--dem", "ldem.tif", "--images", "nac/*.tif", "--suns", "index.csv", "--pixel", "40"]
    # A folder of the user's that has the package's name is not it.
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise RuntimeError('not this one')")
    # The shipped weights take 16 cells to a pixel; the site's DEM, with 8, is resampled.
    # What the command's plan leaves out, the jobs, has the keys.
    all_jobs = (
        "import sys; from pipeline.cli import main as cli; run, quiet = cli._finished, "
        "('--quiet', 'rules', 'progress', 'host', 'reason'); cli._finished = lambda command, *where: "
        "run([word for word in command if word not in quiet], *where); sys.exit(cli.main(sys.argv[1:]))"
    )
    text = run([python, "-P", "-c", all_jobs, *words, "--out", "results/one", "-n"], tmp_path)
    theirs = set(re.findall(r"results/store/\w+/[0-9a-f]{12}/", text))
    assert {path.split("/")[2] for path in theirs} >= {"map_site", "map_images", "map_clones", "map_check"}
    assert f"{python.parents[1]}" in text and str(ROOT) not in text
    for name in ("config", "pretrained"):
        (tmp_path / name).symlink_to(ROOT / name)
    # The command names files by absolute paths, which enter the folder's name of the stage that keeps them.
    site = {"dem": f"{tmp_path}/ldem.tif", "images": [f"{tmp_path}/nac/*.tif"], "pixel_m": 40}
    site |= {"suns": f"{tmp_path}/index.csv"}
    ours = snakemake(
        tmp_path, "-n", "map", "--configfile", "config/map.yaml",
        "--config", "run=one", f"site={json.dumps(site)}",
    )  # fmt: skip
    assert ours.returncode == 0, ours.text[-5000:]
    assert set(re.findall(r"results/store/\w+/[0-9a-f]{12}/", ours.text)) == theirs
