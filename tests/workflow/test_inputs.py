"""Rules read what the plan says: for every shipped config, stage by stage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from forked import Forks
from map_sites import write_site
from pipeline.config.root import load_config
from pipeline.provenance.plan import Plan

pytestmark = pytest.mark.xdist_group("inputs")
ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = {
    "config": [],
    "conditions": ["conditions"],
    "demo": ["demo"],
    "tiny": ["tiny"],
    "light": ["demo", "light"],
    "lola40": ["lola40"],
    "lola40_ablation": ["lola40", "lola40_ablation"],
    "lola40_nfe": ["lola40", "lola40_nfe"],
    "lola40_published": ["lola40", "lola40_published"],
    "lola40_published_gpu": ["lola40", "lola40_published_gpu"],
    "lola40_published_residual": ["lola40", "lola40_published", "lola40_published_residual"],
    "evaluate": ["evaluate"],
    "map": ["map"],
    "map_1500": ["map_1500"],
    "moon": ["moon"],
    "moon_first": ["moon", "moon_first"],
    "moon_second": ["moon", "moon_second"],
    "moon_gpu": ["moon", "moon_gpu"],
    "rivals": ["lola40", "rivals"],
    "yasuda": ["lola40", "yasuda"],
    "yasuda_nfe": ["lola40", "yasuda", "yasuda_nfe"],
    "systems": ["systems"],
    "systems_validation": ["systems", "systems_validation"],
}
WINDOW = {"inputs": {"dem": "resources/lola_40m/window.tif"}}
SITE = {"site": {"dem": "my/ldem.tif", "images": "my/nac/*.tif", "suns": "my/index.csv", "pixel_m": 20}}
# Image sets under true light, which no shipped config but those for real images asks for, none in tests;
# index files, which no shipped one does.
INDEX = {split: f"{split}.txt" for split in ("train", "validation", "test")}
SCENES = {
    "scenes": {"images": 3},
    "illumination": {"far_m": 9000, "far_cell_px": 8},
    "split": {"method": "index", "index": INDEX},
    "evaluation": {"conditions": {"real": {"light": "scenes"}}},
}
PLANNED = {**OVERLAYS, "tiny_scenes": ["tiny"]}
USERS = {"evaluate": "window.yaml", "map": "site.yaml", "tiny_scenes": "scenes.yaml"}
USERS |= dict.fromkeys(("systems", "systems_validation"), "window.yaml")
RUN_FILES = (
    (r"evaluation/parts/(\w+?)(?:\.examples\.zarr\.zip|\.json)", "evaluation_{}"),
    (r"evaluation/\w+\.(?:json|csv)", "evaluation"),
    (r"region/\w+\.\w+", "region"),
    (r"map/\w+\.\w+", "map"),
    (r"report\.html", "report"),
    (r"bundle\.zip", "bundle"),
)


def test_every_shipped_config_is_looked_at() -> None:
    assert set(OVERLAYS) == {path.stem for path in (ROOT / "config").glob("*.yaml")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the shipped configs and weights, and a window; only its bytes count."""
    folder = tmp_path_factory.mktemp("plans")
    for name in ("config", "pretrained"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "resources" / "lola_40m").mkdir(parents=True)
    (folder / WINDOW["inputs"]["dem"]).write_text("heights")
    (folder / "window.yaml").write_text(yaml.safe_dump(WINDOW))
    (folder / "scenes.yaml").write_text(yaml.safe_dump(SCENES))
    for number, name in enumerate(INDEX.values()):
        (folder / name).write_text(f"{number}\n")
    (folder / "my").mkdir()
    write_site(folder / "my")
    (folder / "site.yaml").write_text(yaml.safe_dump(SITE))
    return folder


def files(name: str) -> list[str]:
    more = [USERS[name]] if name in USERS else []
    return [*(f"config/{overlay}.yaml" for overlay in PLANNED[name]), *more]


@pytest.fixture(scope="module")
def planned(folder: Path, forks: Forks) -> dict[str, str]:
    """What a dry run of each config prints."""
    words = ("snakemake", "-s", str(ROOT / "Snakefile"), "-n", "all", "--nolock")
    done = {
        name: forks(folder, [*words, *(["--configfile", *files(name)] if files(name) else [])])
        for name in PLANNED
    }
    return {name: text for name, (code, text) in done.items() if code == 0}


def stage_of(path: str, run: str) -> str | None:
    """The stage that a file belongs to; None for inputs and records."""
    stored = re.match(r"results/store/(\w+)/", path)
    if stored:
        return stored[1]
    inside = path.removeprefix(f"results/{run}/")
    for pattern, stage in RUN_FILES:
        found = re.fullmatch(pattern, inside)
        if inside != path and found:
            return stage.format(*found.groups())
    return None


def read_by_rules(text: str, run: str) -> dict[str, set[str]]:
    """Stage -> stages whose files its rule's inputs name, from the jobs that a dry run prints."""
    out: dict[str, set[str]] = {}
    for block in re.split(r"^(?:local)?rule \w+:$", text, flags=re.M)[1:]:
        named = dict(re.findall(r"^    (input|output): (.*)$", block, flags=re.M))
        outputs = {stage_of(path, run) for path in named.get("output", "").split(", ")} - {None}
        inputs = {stage_of(path, run) for path in named.get("input", "").split(", ")} - {None}
        for stage in outputs:
            out.setdefault(str(stage), set()).update(str(name) for name in inputs)
    return out


def behind(plan: Plan, stage: str) -> set[str]:
    """All stages that enter a stage's key."""
    direct = set(plan[stage].inputs)
    return direct.union(*(behind(plan, name) for name in direct))


@pytest.mark.parametrize("name", PLANNED)
def test_a_rules_inputs_are_the_plans(
    name: str, planned: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every input of the plan is read, and nothing is read that does not enter the key."""
    monkeypatch.chdir(folder)
    raw: dict[str, Any] = yaml.safe_load(Path("config/config.yaml").read_text())
    for path in files(name):
        update_config(raw, yaml.safe_load(Path(path).read_text()))
    config = load_config(raw)
    plan, found = Plan(config), read_by_rules(planned[name], config.run)
    assert set(found) == set(plan.stages)
    for stage in plan.stages:
        assert set(plan[stage].inputs) <= found[stage] <= behind(plan, stage), stage


def test_what_keeps_a_map_from_being_made_is_one_message(folder: Path, forks: Forks) -> None:
    """The images are looked at in a dry run only, after the config is read."""
    site = SITE["site"] | {"images": "my/nac/broken.tif"}
    (folder / "broken.yaml").write_text(yaml.safe_dump({"site": site}))
    words = ("snakemake", "-s", str(ROOT / "Snakefile"), "-n", "map", "--nolock", "--configfile")
    code, text = forks(folder, [*words, "config/map.yaml", "broken.yaml"])
    assert code != 0
    assert "config: site.images: expected" in text and "Traceback" not in text
    assert len([line for line in text.splitlines() if line.strip()]) < 12
