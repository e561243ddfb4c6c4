"""The chosen law's module belongs to the keys of the stages that render images, and no other law's does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from pipeline.config.root import load_config
from pipeline.provenance.digest import SOURCE
from pipeline.provenance.plan import Plan

CONFIG = Path(__file__).resolve().parents[3] / "config"
STAGES = [f"{system}_{b}" for system in ("published", "bridge") for b in ("fibonacci", "arcs", "missing")]
SHOWN = {"region", "report", "bundle"}
# Of the tiny config: what renders images, and what follows.
RENDERED = {
    *STAGES,
    *(f"calibration_{name}" for name in STAGES if name.startswith("bridge")),
    *(f"evaluation_{name}" for name in STAGES),
    *("evaluation", "evaluation_photometric"),
    *SHOWN,
}
TESTED = {
    *("shards_test", "manifest_test"),
    *(f"evaluation_{name}" for name in ("bicubic", "bicubic_window", "vae_truth", "vae_bicubic")),
}


def keys(source: Path, law: str, radiance: bool) -> dict[str, str]:
    config: dict[str, Any] = yaml.safe_load((CONFIG / "config.yaml").read_text())
    update_config(config, yaml.safe_load((CONFIG / "tiny.yaml").read_text()))
    update_config(config, {"photometry": {"law": law}, "shards": {"radiance": radiance}})
    plan = Plan(load_config(config), source.parent, source=source)
    return {name: stage.key for name, stage in plan.stages.items()}


def copied(folder: Path) -> Path:
    """A copy of the package, to be parsed after a change."""
    out = folder / "pipeline"
    shutil.copytree(SOURCE, out, ignore=shutil.ignore_patterns("__pycache__"))
    return out


@pytest.mark.parametrize(
    ("edited", "used", "radiance", "wanted"),
    [
        ("hapke", "hapke", False, RENDERED),
        ("hapke", "hapke", True, RENDERED | TESTED),
        ("lunar_lambert", "lunar_lambert", False, RENDERED),
        ("exponential", "exponential", False, RENDERED),
        ("hapke", "exponential", True, set()),
        ("exponential", "hapke", True, set()),
        ("lambert", "lambert", False, RENDERED),
        ("lambert", "hapke", True, set()),
    ],
)
def test_editing_a_law_moves_the_stages_that_use_it(
    edited: str, used: str, radiance: bool, wanted: set[str], tmp_path: Path
) -> None:
    before = keys(SOURCE, used, radiance)
    source = copied(tmp_path)
    assert keys(source, used, radiance) == before
    other = copied(tmp_path / "edited")
    with (other / "illumination" / "laws" / f"{edited}.py").open("a") as file:
        file.write("\nDARKER = 0.9\n")
    after = keys(other, used, radiance)
    assert {name for name, key in after.items() if key != before[name]} == wanted


def test_a_further_law_moves_nothing(tmp_path: Path) -> None:
    before = keys(SOURCE, "hapke", True)
    source = copied(tmp_path)
    (source / "illumination" / "laws" / "another.py").write_text("def radiance_factor(): ...\n")
    config = source / "config" / "photometry.py"
    text = config.read_text()
    entry = '    "hapke": "pipeline.illumination.laws.hapke",\n'
    assert entry in text
    config.write_text(text.replace(entry, entry + entry.replace("hapke", "another")))
    assert keys(source, "hapke", True) == before
