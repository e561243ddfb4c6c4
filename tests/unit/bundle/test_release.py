"""Bundles of other releases are refused in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pipeline.bundle.archive import write_archive
from pipeline.bundle.verify import RELEASE, verify

ROOT = Path(__file__).resolve().parents[3]


def bundle(folder: Path, version: str) -> Path:
    path = folder / "bundle.zip"
    write_archive(path, {"source/pyproject.toml": f'[project]\nversion = "{version}"\n'.encode()})
    return path


def test_the_verifier_knows_its_release() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version.startswith(f"{RELEASE}.")


@pytest.mark.parametrize("version", ["0.1.0", "0.20.0", "1.0.0"])
def test_another_release_is_one_finding_that_names_it(version: str, tmp_path: Path) -> None:
    (row,) = verify(bundle(tmp_path, version), tmp_path / "unpacked", evaluate=False)
    assert (row.status, row.check) == ("FAIL", "release")
    assert f"expected a bundle of release {RELEASE}, found {version};" in row.detail


def test_a_bundle_of_this_release_is_checked(tmp_path: Path) -> None:
    rows = verify(bundle(tmp_path, f"{RELEASE}.0"), tmp_path / "unpacked", evaluate=False)
    assert len(rows) > 5 and "release" not in {row.check for row in rows}
