"""The plan of a run that makes a map: its stages, and which of them a key of the config moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plan_table import resolved

from map_sites import write_site
from pipeline.config.root import ConfigError, load_config
from pipeline.provenance.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
SITE = {"dem": "ldem.tif", "images": "nac/*.tif", "suns": "index.csv", "pixel_m": 20}
PREPARED = {
    "map_images_first",
    "map_clones_first",
    "map_first",
    "map_images",
    "map_clones",
    "map_check",
    "map",
}
CLONES = {"map_clones_first", "map_first", "map_images", "map_clones", "map_check", "map"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_site(folder)
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    return folder


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Plan:
    monkeypatch.chdir(folder)
    config = resolved("map")
    config["site"] = SITE | changes.pop("site", {})
    for path, value in changes.items():
        section, _, key = path.partition("__")
        config.setdefault(section, {})[key] = value
    return Plan(load_config(config))


def test_a_map_has_its_own_stages_and_no_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(folder, monkeypatch)
    assert set(plan.stages) == {"map_site", *PREPARED}
    assert plan["map"].folder == "results/map/map"


def test_a_map_without_images_prepares_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(folder, monkeypatch, site={"images": None, "suns": None})
    assert set(plan.stages) == {"map_site", "map_clones", "map_check", "map"}


def test_withheld_images_may_join_the_final_clones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(folder, monkeypatch, map__use_all=True)
    assert "map_clones_all" in plan.stages and "map_clones_all" in plan["map"].inputs
    assert plan["map_clones"].key == planned(folder, monkeypatch)["map_clones"].key


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"map__steep_deg": 20.0}, {"map", "map_check"}),
        ({"map__members": 8}, {"map_clones", "map_check", "map"}),
        ({"map__seed": 1}, CLONES),
        ({"map__fallback": "none"}, {"map_check", "map"}),
        ({"photometry__law": "lunar_lambert"}, PREPARED),
        ({"images__shift_sigma_m": 5.0}, {"map_site", *PREPARED}),
        ({"site": {"pixel_m": 40}}, {"map_site", *PREPARED}),
        ({"runtime__workers": 1}, set()),
    ],
)
def test_a_key_moves_the_stages_that_depend_on_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], moved: set[str]
) -> None:
    before, after = planned(folder, monkeypatch), planned(folder, monkeypatch, **changes)
    changed = {name for name in before.stages if before[name].key != after[name].key}
    assert changed - {"map"} == moved - {"map"}
    assert ("map" in changed) == bool(moved)


def test_other_bytes_of_an_image_move_everything_and_another_place_nothing_that_follows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = planned(folder, monkeypatch)
    write_site(tmp_path)
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    same = planned(tmp_path, monkeypatch)
    assert {name: stage.key for name, stage in same.stages.items()} == {
        name: stage.key for name, stage in before.stages.items()
    }
    (tmp_path / "nac" / "broken.tif").write_bytes(b"other bytes")
    other = planned(tmp_path, monkeypatch)
    assert all(other[name].key != before[name].key for name in before.stages)


def test_a_recorded_plan_is_made_again_without_the_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(folder, monkeypatch)
    monkeypatch.chdir(tmp_path)
    again = Plan(plan.config, recorded=plan.record())
    assert {n: s.key for n, s in again.stages.items()} == {n: s.key for n, s in plan.stages.items()}


def test_a_map_needs_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"pretrained\.weights: expected weights, since site\.dem is given"):
        monkeypatch.chdir(folder)
        bridge = {"primary": "bridge_missing", "systems": ["bridge"], "pretrained": {"weights": None}}
        load_config({**resolved("map"), **bridge, "site": SITE})
