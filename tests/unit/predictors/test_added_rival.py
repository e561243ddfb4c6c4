"""The rival that docs/extending.md adds: a score needs its module and its line in the registry, no more."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from shard_files import make_test_manifest

from pipeline import predictors
from pipeline.config.root import load_config
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.evaluation import CollectStage, PredictorStage
from pipeline.evaluation.collect import collect_metrics
from pipeline.evaluation.stage import evaluate
from pipeline.predictors import registry
from pipeline.provenance.digest import SOURCE
from pipeline.provenance.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
SECTION = (ROOT / "docs" / "extending.md").read_text().partition("## A rival")[2].partition("\n## ")[0]
[MODULE] = re.findall(r"^```python\n(.*?)^```$", SECTION, re.M | re.S)
[LINE] = re.findall(r"^ +(\"\w+\": Entry\(.*\),)$", SECTION, re.M)
[OVERLAY] = re.findall(r"^```yaml\n(.*?)^```$", SECTION, re.M | re.S)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package with the rival added as the page says; this process's registry has the same entry."""
    copy = tmp_path / "pipeline"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "predictors" / "smoothed.py").write_text(MODULE)
    path = copy / "predictors" / "registry.py"
    text = path.read_text()
    assert text.count("PREDICTORS = {\n") == 1
    path.write_text(text.replace("PREDICTORS = {\n", f"PREDICTORS = {{\n    {LINE}\n"))
    for name, entry in eval("{" + LINE + "}", {"Entry": registry.Entry}).items():
        monkeypatch.setitem(registry.PREDICTORS, name, entry)
    monkeypatch.setattr(predictors, "__path__", [*predictors.__path__, str(copy / "predictors")])
    yield copy
    sys.modules.pop("pipeline.predictors.smoothed", None)


def planned(folder: Path, source: Path | None = None, overlay: str = "{}") -> Plan:
    config = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text()) | yaml.safe_load(overlay)
    return Plan(load_config(config), folder, source=source)


def test_the_rival_is_one_stage_more_and_moves_no_other(tmp_path: Path, source: Path) -> None:
    before, found = planned(tmp_path), planned(tmp_path, source, OVERLAY)
    assert set(found.stages) - set(before.stages) == {"evaluation_smoothed"}
    moved = {name for name, stage in before.stages.items() if found[name].key != stage.key}
    assert moved == {"evaluation", "report", "bundle"}
    assert planned(tmp_path, source).stages == before.stages


def test_the_rival_is_scored_beside_the_others(tmp_path: Path, source: Path) -> None:
    plan = planned(tmp_path, source, OVERLAY)
    manifest = make_test_manifest(tmp_path / "shards", count=4)
    parts = []
    for name in ("bicubic", "bicubic_window", "smoothed"):
        section = PredictorStage.model_validate_json(plan[f"evaluation_{name}"].section)
        parts.append(tmp_path / f"{name}.json")
        evaluate(section, manifest, plan.files_of(name), RuntimeSection(device="cpu"), parts[-1])
    outs = [tmp_path / name for name in ("metrics.json", "metrics.csv", "patches.csv")]
    collect_metrics(CollectStage(primary="smoothed", systems=[]), parts, *outs)
    rows = json.loads(outs[0].read_text())["systems"]
    assert set(rows) == {"bicubic", "bicubic_window", "smoothed"}
    row = rows["smoothed"]
    assert row["n_patches"] == 4 and "members" not in row
    assert row["rmse_vs_bicubic_window"] == row["rmse_m"] / rows["bicubic_window"]["rmse_m"] != 1
    assert row["rmse_vs_bicubic"] < 1
