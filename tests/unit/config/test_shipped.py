"""Where the workflow and the trained weights are found: in a checkout, and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline
from pipeline.config import shipped as module
from pipeline.config.shipped import installed, project, shipped
from saved_models import save_system

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a wheel carries, with one model; the working directory is an empty one."""
    folder = tmp_path / "site-packages" / "pipeline" / "_project"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "config.yaml").write_text("{}")
    save_system(folder / "pretrained" / "small", size_px=32, factor=8)
    monkeypatch.setattr(module, "CARRIED", folder)
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    return folder


def test_a_checkout_has_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not installed() and project() == ROOT and (project() / "Snakefile").is_file()
    monkeypatch.chdir(tmp_path)
    assert shipped("pretrained/moon") == Path("pretrained/moon")


def test_a_wheel_brings_the_workflow_and_its_weights(wheel: Path) -> None:
    assert installed() and project() == wheel
    assert shipped("pretrained/small") == wheel / "pretrained" / "small"
    assert pipeline.load("pretrained/small").size_px == 32


def test_the_users_own_files_come_first(wheel: Path, tmp_path: Path) -> None:
    save_system(tmp_path / "root" / "pretrained" / "small", size_px=64, factor=8)
    assert shipped("pretrained/small", tmp_path / "root") == Path("pretrained/small")
    assert shipped(tmp_path / "root" / "pretrained" / "small") == tmp_path / "root" / "pretrained" / "small"


@pytest.mark.parametrize(
    "path", ["config/config.yaml", "pretrained/../config/config.yaml", "pretrained/absent"]
)
def test_nothing_but_weights_is_looked_up_in_a_wheel(wheel: Path, path: str) -> None:
    assert shipped(path) == Path(path)


def test_an_absent_model_is_named_as_given(wheel: Path) -> None:
    with pytest.raises(ValueError, match=r"pretrained/absent"):
        pipeline.load("pretrained/absent")
