"""The pinned environment: requirements, conda file and container name the same versions, with hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[3]
ENVS = ROOT / "envs"


def blocks(name: str) -> dict[str, list[str]]:
    """Name -> its version and hashes."""
    text = "".join(line for line in (ENVS / name).open() if not line.startswith("#"))
    found = {}
    for block in re.split(r"^(?=\w)", text.replace(" \\\n", " "), flags=re.M):
        if block.strip():
            head, *hashes = block.split()
            package, version = head.split("==")
            found[normal(package)] = [version, *hashes]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINNED = blocks("requirements.txt")


@pytest.mark.parametrize("name", ["requirements.txt", "cuda.txt", "cpu.txt", "uv.txt"])
def test_every_package_has_a_version_and_hashes(name: str) -> None:
    for package, (version, *hashes) in blocks(name).items():
        assert re.fullmatch(r"[0-9][\w.+]*", version), package
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", h) for h in hashes), package


def test_torch_may_be_the_cpu_build_or_that_of_pypi() -> None:
    version, *hashes = PINNED["torch"]
    cpu_version, cpu = blocks("cpu.txt")["torch"]
    assert cpu_version == f"{version}+cpu"
    assert cpu in hashes
    assert len(hashes) > 5  # PyPI's, for several platforms


def test_what_cuda_needs_is_a_constraint_and_is_not_installed_without_it() -> None:
    cuda = blocks("cuda.txt")
    assert {"triton", "nvidia-cudnn-cu13"} <= set(cuda)
    assert not set(cuda) & set(PINNED)


def test_every_dependency_of_the_project_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for name, extra in project["optional-dependencies"].items():
        # What benchmarks compare with, an editor, and what makes the site and the packages are no part of it.
        if name in ("bench", "notebook", "docs", "dist"):
            assert all("==" in line for line in extra)
        else:
            wanted += extra
    requirements = [Requirement(line) for line in wanted]
    assert {normal(each.name) for each in requirements} - set(PINNED) == set()
    for each in requirements:
        assert each.specifier.contains(PINNED[normal(each.name)][0]), each
    assert SpecifierSet(project["requires-python"]).contains("3.11")  # of the conda file and the container


def test_conda_names_the_same_versions() -> None:
    content = yaml.safe_load((ENVS / "environment.yaml").read_text())
    [pip] = [d["pip"] for d in content["dependencies"] if isinstance(d, dict)]
    assert {normal(n): v for n, v in (p.split("==") for p in pip)} == {n: v[0] for n, v in PINNED.items()}
    assert "python=3.11" in content["dependencies"]


def test_the_container_takes_the_same_files() -> None:
    text = (ENVS / "apptainer.def").read_text()
    assert "From: python:3.11-" in text
    assert "--require-hashes -r /opt/envs/requirements.txt -c /opt/envs/cuda.txt" in text
    assert f"torch {PINNED['torch'][0]}\n" in text
    assert "libexpat1" in text and 'python -c "import embreex, rasterio, torch"' in text
    for name in re.findall(r"^ +(envs/\S+) ", text, flags=re.M):
        assert (ROOT / name).is_file()


def test_make_installs_by_hash() -> None:
    text = (ROOT / "Makefile").read_text()
    assert "HASHED = --require-hashes -r envs/requirements.txt -c envs/cuda.txt" in text
    assert "--require-hashes -r envs/uv.txt" in text


def test_nothing_local_is_named() -> None:
    for path in ENVS.iterdir():
        if path.is_file():
            assert not re.search(r"https?://|file:|--find-links|index-url", path.read_text()), path
