"""Keys: a change reruns exactly the stages that depend on it, and nothing else."""

from __future__ import annotations

import copy
import json
import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from plan_table import (
    BASE,
    BRIDGES,
    EVERYWHERE,
    LEAVES,
    NOTHING,
    ROOT,
    TESTED,
    after,
    also_changed,
    changed,
    depends,
    moved_between,
    plan,
    resolved,
    with_leaves,
)

from pipeline.config.predictors import LEARNED
from pipeline.config.root import ConfigError, load_config
from pipeline.provenance.plan import Plan
from pipeline.provenance.stages import DECLARATIONS


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan(BASE, tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("leaf", TESTED)
def test_a_leaf_moves_the_keys_of_the_stages_that_depend_on_it(leaf: str, base: Plan, tmp_path: Path) -> None:
    found = plan(changed(leaf), tmp_path)
    same = {name: base.stages.get(name, stage) for name, stage in found.stages.items()}
    own = {name for name, stage in found.stages.items() if stage.section != same[name].section}
    moved = {name for name, stage in found.stages.items() if stage.key != same[name].key}
    if any(fnmatchcase(leaf, pattern) for pattern in NOTHING):
        assert moved == own == set()
        return
    holders = {stage for name in (leaf, *also_changed(leaf)) for stage in depends(name)}
    if leaf in ("systems", "bridge.space"):
        holders |= {"evaluation"}  # its section holds the systems
    other_inputs = {"region"} if leaf in ("primary", "bridge.calibrate") else set()
    if leaf == "bridge.calibrate":
        other_inputs |= {f"evaluation_bridge_{b}" for b in BRIDGES}
    if leaf == "predictors.scored":
        other_inputs |= {"evaluation"}
    assert own == (holders | EVERYWHERE) & set(found.stages)
    assert moved == after(*holders, *other_inputs) & set(found.stages)


def test_every_leaf_of_the_config_is_tested() -> None:
    """A new key must be added to the table before it can be used."""
    assert len(TESTED) > 150
    assert {leaf for leaf in LEAVES if leaf not in TESTED and not leaf.startswith("site.")} == {
        "inputs.dem",
        "inputs.count",
        "inputs.far",
        "split.index",
        "vae.lpips_weights",
        "pretrained.weights",
        "pretrained.vae",
        "predictors.bridges",
        *(f"predictors.{rival}.weights" for rival in LEARNED),
        *(f"{s}.init" for s in ("published", "bridge")),
        *(f"{s}.stages.{r}" for s in ("published", "bridge") for r in ("real", "real_2", "real_3")),
        "evaluation.conditions.main.apriori",
        "evaluation.conditions.main.draw",
        "evaluation.conditions.main.systems",
        "evaluation.conditions.missing.apriori",
        "evaluation.conditions.missing.draw",
        "scenes",
    }


@pytest.mark.parametrize(
    ("systems", "wanted"),
    [
        ("all", {f"{s}_{b}" for s in ("published", "bridge") for b in BRIDGES}),
        ("last", {"published_missing", "bridge_missing"}),
        ("primary", {"bridge_missing"}),
    ],
)
def test_a_condition_is_for_the_systems_that_it_names(systems: str, wanted: set[str], tmp_path: Path) -> None:
    config = copy.deepcopy(BASE)
    config["evaluation"]["conditions"]["extra"] = {"light": "arcs", "draw": "main", "systems": systems}
    found = plan(config, tmp_path)
    held = {
        name
        for name in found.systems
        if "extra" in json.loads(found[f"evaluation_{name}"].section)["conditions"]
    }
    assert held == wanted
    assert "extra" in json.loads(found["evaluation_photometric"].section)["conditions"]  # for any images
    assert json.loads(found["evaluation_bicubic"].section)["conditions"] == {}


def test_variants_are_systems_with_stages_of_their_own(base: Plan, tmp_path: Path) -> None:
    config = copy.deepcopy(BASE)
    config["variants"] = {"wide": {"base": 16}, "other": {"base": 4}}
    config["systems"] = [*config["systems"], "wide"]
    found = plan(config, tmp_path)
    new = {f"wide_{b}" for b in BRIDGES}
    assert set(found.stages) - set(base.stages) == {
        *new, *(f"calibration_{n}" for n in new), *(f"evaluation_{n}" for n in new)
    }  # fmt: skip
    assert moved_between(base, plan_of_same(base, found)) == {"evaluation", "report", "bundle"}
    assert json.loads(found["wide_arcs"].section)["bridge"]["base"] == 16
    assert found["wide_arcs"].inputs == ("manifest", "wide_fibonacci")


def test_a_declaration_names_as_inputs_what_is_declared_before_it() -> None:
    """A stage that a run lacks is left out of the inputs, so a mistyped one would be, too."""
    before = {"{}"}
    for declared in DECLARATIONS:
        assert set(declared.inputs) <= before, declared.name
        before.add(declared.name)
    # Trained systems and learned rivals have stages of their own names.
    assert sorted(d.name for d in DECLARATIONS) == sorted([*before, "{}"]) and len(before) > 20


def plan_of_same(base: Plan, found: Plan) -> Plan:
    """`found` with the stages of `base` alone."""
    alike = copy.copy(found)
    alike.stages = {name: stage for name, stage in found.stages.items() if name in base.stages}
    return alike


def test_far_terrain_is_a_stage_of_its_own(base: Plan, tmp_path: Path) -> None:
    """It is made of the terrain and the blocks' side alone: how far shadows are traced does not remake it."""
    far = {"illumination__far_m": 9000.0, "illumination__far_cell_px": 8}
    on = plan(with_leaves(**far), tmp_path)
    assert set(on.stages) == {*base.stages, "far"}
    assert on["far"].inputs == ("terrain",)
    for stage in ("visibility", "region"):
        assert "far" in on[stage].inputs and "far" not in base[stage].inputs
    farther = plan(with_leaves(**{**far, "illumination__far_m": 30000.0}), tmp_path)
    shaded = after("visibility", "region") & set(on.stages)
    assert moved_between(on, farther) == shaded
    finer = plan(with_leaves(**{**far, "illumination__far_cell_px": 4}), tmp_path)
    assert moved_between(on, finer) == shaded | {"far"}
    with pytest.raises(ConfigError, match=r"halo_px: expected at least 2 x illumination\.far_cell_px = 32"):
        load_config(with_leaves(illumination__far_m=9000.0))


def test_photometry_enters_test_shards_that_hold_images(base: Plan, tmp_path: Path) -> None:
    plain, images = (
        [plan(with_leaves(shards__radiance=on, photometry__albedo=a), tmp_path) for a in (0.1, 0.3)]
        for on in (False, True)
    )
    assert plain[0].stages == base.stages
    assert "shards_test" not in moved_between(*plain)
    assert moved_between(*images) == moved_between(*plain) | after("shards_test") & set(base.stages)
    assert not {"shards", "manifest", "vae"} & (moved_between(*images) | moved_between(base, images[0]))


def test_swaths_read_where_the_patches_lie(base: Plan, tmp_path: Path) -> None:
    found = plan(with_leaves(masks__test__kind="nac"), tmp_path)
    assert found["masks"].inputs == ("arcs", "patches")
    assert base["masks"].inputs == ("arcs",)


def test_the_label_of_a_run_moves_nothing_in_the_store(base: Plan, tmp_path: Path) -> None:
    found = plan(changed("run"), tmp_path)
    in_store = {name for name, s in base.stages.items() if s.folder.startswith("results/store/")}
    assert len(in_store) == len(base.stages) - 15
    for name in in_store:
        assert found[name].folder == base[name].folder
    assert found["region"].folder == "results/second/region"


def test_two_configs_share_what_they_have_in_common(base: Plan, tmp_path: Path) -> None:
    """The same light, different bridges: one folder for what is the same, nothing is copied."""
    config = copy.deepcopy(BASE)
    config["run"], config["bridge"]["base"] = "second", 16
    found = plan(config, tmp_path)
    own = {f"{kind}bridge_{b}" for kind in ("", "calibration_") for b in BRIDGES}
    stored = {name for name, stage in found.stages.items() if stage.folder.startswith("results/store/")}
    assert {name for name in stored if found[name].folder != base[name].folder} == own
    assert {"terrain", "patches", "visibility", "shards", "vae", "published_missing"} <= stored - own


def test_keys_do_not_depend_on_the_order_of_keys(base: Plan, tmp_path: Path) -> None:
    def backwards(value: Any) -> Any:
        return {k: backwards(v) for k, v in reversed(value.items())} if isinstance(value, dict) else value

    assert plan(backwards(BASE), tmp_path).stages == base.stages


def test_defaults_and_their_explicit_values_are_one(tmp_path: Path, base: Plan) -> None:
    assert plan(resolved("tiny"), tmp_path).stages == base.stages


def test_code_moves_keys(base: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.provenance import plan as module

    real = module.code_digest
    monkeypatch.setattr(
        module,
        "code_digest",
        lambda names, *source: real(names, *source) + ("x" if "pipeline.region.reconstruct" in names else ""),
    )
    found = plan(BASE, tmp_path)
    moved = {name for name, stage in found.stages.items() if stage.key != base[name].key}
    assert moved == {"region", *EVERYWHERE}


def test_versions_of_numeric_packages_move_keys(
    base: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.provenance import found as module

    monkeypatch.setattr(module, "versions", lambda: {"torch": "9.9"})
    assert all(stage.key != base[name].key for name, stage in plan(BASE, tmp_path).stages.items())


# --- files ----------------------------------------------------------------------------------------------


@pytest.fixture
def rasters(tmp_path: Path) -> Path:
    """Two DEMs and their counts."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("dem_a.tif", "dem_b.tif", "count_a.tif", "count_b.tif"):
        (folder / name).write_text(name)
    return folder


def with_files(dem: Any, count: Any, **inputs: Any) -> dict[str, Any]:
    config = copy.deepcopy(BASE)
    config["inputs"] |= {"dem": dem, "count": count, **inputs}
    return config


def test_a_file_that_moved_changes_nothing_downstream(tmp_path: Path, rasters: Path) -> None:
    before = plan(with_files("data/dem_*.tif", "data/count_*.tif"), tmp_path)
    rasters.rename(tmp_path / "elsewhere")
    absolute = str(tmp_path / "elsewhere")
    found = plan(with_files(f"{absolute}/dem_*.tif", f"{absolute}/count_*.tif"), tmp_path)
    moved = {name for name, stage in found.stages.items() if stage.key != before[name].key}
    assert moved == {"terrain", *EVERYWHERE}  # the terrain's index names paths; the report shows the config
    assert found["terrain"].identity == before["terrain"].identity


def test_a_file_with_other_bytes_changes_everything(tmp_path: Path, rasters: Path) -> None:
    config = with_files("data/dem_*.tif", "data/count_*.tif")
    before = plan(config, tmp_path)
    path = rasters / "count_b.tif"
    stamp = path.stat()
    path.write_text("COUNT_B.tif")  # the same size, a little later
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1000))
    found = plan(config, tmp_path)
    assert all(found[name].key != stage.key for name, stage in before.stages.items())


def test_the_label_beside_a_pds_image_counts(tmp_path: Path, rasters: Path) -> None:
    (rasters / "a.IMG").write_text("pixels")
    (rasters / "a.LBL").write_text("label")
    config = with_files("data/a.IMG", None)
    config["coverage"]["min_share"] = 0
    before = plan(config, tmp_path)
    assert [name for _, name, _ in before.files.identity] == ["a.IMG", "a.LBL"]
    (rasters / "a.LBL").write_text("another")
    assert plan(config, tmp_path)["terrain"].identity != before["terrain"].identity


@pytest.mark.parametrize(
    ("dem", "count", "pins", "message"),
    [
        (
            "data/none.tif",
            "data/count_a.tif",
            {},
            r"inputs\.dem: expected a file, a glob or a URL, found no file",
        ),
        (
            "data/dem_a.tif",
            "data/none*",
            {},
            r"inputs\.count: expected a file, .*found no file 'data/none\*'",
        ),
        (
            "data/dem_*.tif",
            "data/count_a.tif",
            {},
            r"inputs\.count: expected 2 files, one for each DEM, found 1",
        ),
        (
            "data/dem_a.tif",
            "data/count_a.tif",
            {"dem_a.tif": "0" * 64},
            r"inputs\.sha256: data/dem_a\.tif: expected 0{64}, found [0-9a-f]{64}",
        ),
        (
            ["https://a/x.tif", "https://b/x.tif"],
            ["data/count_a.tif", "data/count_b.tif"],
            {},
            r"two URLs end in 'x\.tif'",
        ),
    ],
)
def test_mistakes_in_files_are_named(
    tmp_path: Path, rasters: Path, dem: Any, count: Any, pins: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(with_files(dem, count, sha256=pins), tmp_path)


def test_a_download_counts_by_url_and_pin_and_is_held_to_its_pin(tmp_path: Path) -> None:
    url = "https://example.org/lola/dem.tif"
    config = with_files(url, None)
    config["coverage"]["min_share"] = 0
    before = plan(config, tmp_path)
    assert before.files.dem == ("resources/downloads/dem.tif",)
    landed = tmp_path / "resources" / "downloads" / "dem.tif"
    landed.parent.mkdir(parents=True)
    landed.write_text("heights")
    assert plan(config, tmp_path).stages == before.stages
    config["inputs"]["sha256"] = {"dem.tif": "0" * 64}
    with pytest.raises(ConfigError, match=r"resources/downloads/dem\.tif: expected 0{64}, found"):
        plan(config, tmp_path)


def test_weights_of_the_perceptual_loss_count_by_their_bytes(tmp_path: Path, base: Plan) -> None:
    config = copy.deepcopy(BASE)
    plans = []
    for name, text in (("a", "weights"), ("b", "weights"), ("b", "others")):
        (tmp_path / name).write_text(text)
        config["vae"]["lpips_weights"] = name
        plans.append(plan(config, tmp_path))
    assert plans[0]["vae"].key == plans[1]["vae"].key
    assert len({p["vae"].key for p in (base, *plans)}) == 3
    config["vae"]["lpips_weights"] = "none"
    with pytest.raises(
        ConfigError, match=r"vae\.lpips_weights: expected a safetensors file, found no file 'none'"
    ):
        plan(config, tmp_path)


def test_index_files_of_a_split_count_by_their_bytes(tmp_path: Path, base: Plan) -> None:
    config = copy.deepcopy(BASE)
    config["split"]["method"] = "index"
    plans = []
    for name, text in (("a", "1 2"), ("b", "1 2"), ("b", "3 4")):
        for split in ("train", "validation", "test"):
            (tmp_path / f"{name}_{split}.txt").write_text(f"{text} {split}")
        config["split"]["index"] = {s: f"{name}_{s}.txt" for s in ("train", "validation", "test")}
        plans.append(plan(config, tmp_path))
    assert moved_between(plans[0], plans[1]) == EVERYWHERE  # they show the config, paths and all
    assert "split" in moved_between(base, plans[0]) and "split" in moved_between(plans[1], plans[2])
    assert plans[2]["split"].section != plans[1]["split"].section
    again = Plan(load_config(config), tmp_path, json.loads(plans[2].record_json))
    assert again.stages == plans[2].stages
    config["split"]["index"]["test"] = "none"
    with pytest.raises(ConfigError, match=r"split\.index: expected a file, found no file 'none'"):
        plan(config, tmp_path)


# --- the record -----------------------------------------------------------------------------------------


def test_the_record_names_every_stage_and_no_machine(base: Plan) -> None:
    record = json.loads(base.record_json)
    assert record["schema"] == "stages/1"
    assert set(record["stages"]) == set(base.stages)
    assert "runtime" not in record["config"]
    for name, stage in record["stages"].items():
        assert (stage["key"], stage["inputs"]) == (base[name].key, list(base[name].inputs))
        assert set(stage["inputs"]) <= set(record["stages"])
        json.loads(stage["section"])


def test_every_run_config_plans(tmp_path: Path) -> None:
    """Configs of real data plan where the data are; the others everywhere."""
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    for path in sorted((ROOT / "config").glob("*.yaml")):
        if path.stem in ("evaluate", "map"):  # their DEM is the user's: test_pretrained.py, test_map_plan.py
            continue
        config = load_config(resolved(path.stem))
        if config.inputs.synthetic or all(e.startswith("https://") for e in config.inputs.dem_entries):
            assert len(Plan(config, tmp_path).stages) > (15 if config.systems else 5)
