"""Stage `scenes` in the plan: there where its section is, and only training depends on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plan_table import BASE, after, leaves, moved_between, plan, with_leaves

from pipeline.config.root import ConfigError, load_config
from pipeline.config.scenes import RenderedScenes

OTHERS = {
    "laws": ["hapke"],
    "suns.latitude": [50, 60],
    "suns.declination": [0, 1],
    "suns.elevation": [2, 9],
    "theta_deg": [3, 4],
    "limb": [1, 1],
    "relief": [0.5, 0.6],
    "gentle": 0.5,
}


def with_scenes(tmp_path: Path, scenes: dict[str, Any], **changes: Any) -> Any:
    return plan(with_leaves(scenes=scenes, **changes), tmp_path)


def other(path: str, value: Any) -> dict[str, Any]:
    """The section with one key changed."""
    if path in OTHERS:
        changed: Any = OTHERS[path]
    elif isinstance(value, bool):
        changed = not value
    else:
        changed = value + 1 if isinstance(value, int) else value / 2
    *parents, last = path.split(".")
    out: dict[str, Any] = {last: changed}
    for parent in reversed(parents):
        out = {parent: out}
    return out


def test_a_run_has_the_stage_where_it_has_the_section(tmp_path: Path) -> None:
    base, found = plan(BASE, tmp_path), with_scenes(tmp_path, {})
    assert "scenes" not in base.stages and "scenes" not in base["shards"].inputs
    assert set(found.stages) == {*base.stages, "scenes"}
    assert found["scenes"].inputs == ("patches", "split")
    assert found["shards"].inputs == ("patches", "split", "visibility", "scenes")
    same = {name: stage for name, stage in found.stages.items() if name in base.stages}
    moved = {name for name, stage in same.items() if stage.key != base[name].key}
    assert moved == after("shards") & set(base.stages)
    assert not {"shards_test", "visibility", "manifest_test"} & moved


def test_each_key_of_what_is_rendered_moves_the_stage_and_what_is_made_of_it(tmp_path: Path) -> None:
    found = with_scenes(tmp_path, {})
    follows = {"scenes", *after("shards")} & set(found.stages)
    paths = dict(leaves(RenderedScenes().model_dump(mode="json")))
    assert len(paths) == 19
    for path, value in paths.items():
        name = ".".join(path)
        assert moved_between(found, with_scenes(tmp_path, other(name, value))) == follows, name


def test_the_halo_and_far_terrain_are_those_of_illumination(tmp_path: Path) -> None:
    found = with_scenes(tmp_path, {})
    assert "scenes" in moved_between(found, with_scenes(tmp_path, {}, illumination__halo_px=8))
    assert "scenes" not in moved_between(found, with_scenes(tmp_path, {}, illumination__fibonacci=31))
    far = with_scenes(tmp_path, {}, illumination__far_m=9000.0, illumination__far_cell_px=8)
    assert far["scenes"].inputs == ("patches", "split", "far")


def test_a_mistake_in_the_section_names_its_key() -> None:
    with pytest.raises(ConfigError, match=r"scenes\.suns\.shadow: unknown key"):
        load_config(with_leaves(scenes={"suns": {"shadow": 1}}))
    with pytest.raises(ConfigError, match=r"scenes\.mesh: .* 8"):
        load_config(with_leaves(scenes={"mesh": 9}))


def test_a_condition_with_scenes_makes_those_of_the_test_patches(tmp_path: Path) -> None:
    """Without a training on scenes, and with nothing else of the run moved but what reads them."""
    label = "evaluation__conditions"
    base = plan(with_leaves(scenes={"gentle": 0.5}), tmp_path)
    conditions = {**BASE["evaluation"]["conditions"], "real": {"light": "scenes", "apriori": "altimetry"}}
    found = plan(with_leaves(scenes={"gentle": 0.5}, **{label: conditions}), tmp_path)
    assert set(found.stages) == {*base.stages, "scenes_test"}
    assert found["scenes_test"].inputs == ("patches", "split")
    assert found["shards_test"].inputs == ("patches", "split", "visibility", "arcs", "masks", "scenes_test")
    section = json.loads(found["scenes_test"].section)
    assert section["splits"] == ["test"] and section["scenes"]["gentle"] == 0.0
    moved = {name for name, stage in base.stages.items() if stage.key != found[name].key}
    assert moved == after("shards_test") & set(base.stages)
    drawn = json.loads(found["evaluation_photometric"].section)
    assert drawn["scenes"]["altimetry"]["shifted"] == 0 and drawn["scenes"]["cell_error_share"] == 0
    assert json.loads(found["evaluation_bicubic"].section)["scenes"] is None
    wider = {"spread_deg": {"low": 2.0, "high": 3.0}}
    other_tracks = plan(with_leaves(scenes={"gentle": 0.5}, altimetry=wider, **{label: conditions}), tmp_path)
    moved = moved_between(found, other_tracks)
    assert "evaluation_photometric" in moved and not {"shards_test", "evaluation_bicubic"} & moved


def test_a_condition_with_scenes_needs_their_section() -> None:
    conditions = {**BASE["evaluation"]["conditions"], "real": {"light": "scenes"}}
    words = r"scenes: expected a section, for evaluation\.conditions\.real\.light: scenes, found null"
    with pytest.raises(ConfigError, match=words):
        load_config(with_leaves(evaluation__conditions=conditions))
