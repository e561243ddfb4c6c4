"""Ways into the workflow: its two Snakefiles, a module of another, the catalogue's; captions of a report."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from docutils.core import publish_string
from jinja2 import StrictUndefined, Template

from forked import Forks

pytestmark = pytest.mark.xdist_group("entries")
ROOT = Path(__file__).resolve().parents[2]
TINY = ("--configfile", str(ROOT / "config" / "tiny.yaml"))
MODULE = """\
configfile: "{checkout}/config/config.yaml"
module lunar:
    snakefile: "{checkout}/{snakefile}"
    config: config
use rule * from lunar as lunar_*
"""


def snakefile(folder: Path, entry: str, checkout: Path = ROOT) -> Path:
    """One of the two Snakefiles, or one elsewhere that imports it as a module."""
    kind, _, name = entry.rpartition(":")
    if not kind:
        return checkout / name
    path = folder / "elsewhere" / "Snakefile"
    path.parent.mkdir()
    path.write_text(MODULE.format(checkout=checkout, snakefile=name))
    return path


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Callable[..., dict[str, str]]:
    """Jobs of a dry run, but for its target: rule and outputs, which hold the stage's key, and inputs."""

    def plan(entry: str, *targets: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("entry")
        (folder / "config").symlink_to(ROOT / "config")
        words = ["snakemake", "-s", str(snakefile(folder, entry)), "-n", *targets, *TINY]
        code, text = forks(folder, words)
        assert code == 0, text[-3000:]
        jobs = re.split(r"^(?:local)?rule (?:lunar_)?(\w+):$", text, flags=re.M)[1:]
        return {
            f"{name} {output[1]}": found[1] if (found := re.search(r"^    input: (.*)$", body, re.M)) else ""
            for name, body in zip(jobs[::2], jobs[1::2])
            if (output := re.search(r"^    output: (.*)$", body, re.M))
        }

    return plan


def test_all_entries_plan_the_same_jobs_with_and_without_a_target(planned: Callable) -> None:
    wanted = planned("Snakefile", "all")
    assert len(wanted) == 45
    assert planned("Snakefile") == wanted
    assert planned("workflow/Snakefile") == wanted
    assert planned("workflow/Snakefile", "all") == wanted
    assert planned("module:workflow/Snakefile") == wanted


def test_the_catalogue_finds_a_graph_in_the_test_folder(tmp_path: Path, forks: Forks) -> None:
    """By this command; its pages show the graph."""
    shutil.copytree(ROOT / ".test" / "config", tmp_path / ".test" / "config")
    words = ["snakemake", "-s", str(ROOT / "workflow" / "Snakefile"), "-c", "1", "-d", ".test"]
    code, text = forks(tmp_path, [*words, "--forceall", "--rulegraph"])
    assert code == 0, text[-3000:]
    assert 'label = "vae_train"' in text and 'label = "bundle_write"' in text


def test_what_the_catalogue_asks_for_is_there() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    profile = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text())
    assert profile[usage["mandatory-flags"]["flags"].removeprefix("--")] is True


@pytest.mark.parametrize("entry", ["workflow/Snakefile", "module:Snakefile"])
def test_the_package_of_another_checkout_is_refused(tmp_path: Path, forks: Forks, entry: str) -> None:
    """The process has imported this one's; one checkout's code must not run under another's rules."""
    checkout = tmp_path / "checkout"
    (checkout / "src" / "pipeline").mkdir(parents=True)
    for name in ("Snakefile", "config", "workflow"):
        (checkout / name).symlink_to(ROOT / name)
    words = ["snakemake", "-s", str(snakefile(tmp_path, entry, checkout)), "-n", *TINY]
    code, text = forks(tmp_path, words)
    assert code != 0
    assert f"expected the package of {checkout}/src, found that of {ROOT}/src" in text
    assert "Traceback" not in text


def test_a_workflow_without_its_package_is_refused(tmp_path: Path, forks: Forks) -> None:
    for name in ("Snakefile", "config", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    code, text = forks(tmp_path, ["snakemake", "-n", *TINY])
    assert code != 0
    assert f"expected the package beside the workflow, found no {tmp_path}/src/pipeline; clone" in text
    assert "Traceback" not in text


def test_a_modules_jobs_run_this_checkouts_package(tmp_path: Path) -> None:
    """Whatever else the path names."""
    (tmp_path / "other" / "pipeline").mkdir(parents=True)
    (tmp_path / "other" / "pipeline" / "__init__.py").write_text("raise ImportError('another checkout')\n")
    words = ["-s", str(snakefile(tmp_path, "module:Snakefile")), "-c1", "lunar_run_record", *TINY]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "other")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results" / "tiny" / "stages.json").is_file()


CAPTIONS = sorted((ROOT / "workflow" / "report").glob("*.rst"))


def test_every_caption_is_that_of_an_output() -> None:
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    named = set(re.findall(r'"([\w ]+)"', rules))
    assert {path.stem.replace("_", " ") for path in CAPTIONS} - {"workflow"} <= named


@pytest.mark.parametrize("path", CAPTIONS, ids=lambda path: path.stem)
def test_a_caption_is_restructured_text_without_a_mistake(path: Path) -> None:
    job = SimpleNamespace(config={"run": "tiny"}, params=SimpleNamespace(key="0123456789ab"))
    text = Template(path.read_text(), undefined=StrictUndefined).render(snakemake=job)
    assert publish_string(text, writer="html5", settings_overrides={"halt_level": 2})
