"""Keys: a change reruns exactly the stages that depend on it, and nothing else."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from pipeline.config.root import ConfigError, load_config
from pipeline.provenance.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
BRIDGES = ("fibonacci", "arcs", "missing")


def resolved(name: str) -> dict[str, Any]:
    """A config as Snakemake merges it."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    overlays = [] if name == "config" else [name]
    if "_" in name:  # lola40_ablation overlays lola40
        overlays.insert(0, name.split("_")[0])
    for overlay in overlays:
        update_config(config, yaml.safe_load((ROOT / "config" / f"{overlay}.yaml").read_text()))
    return config


def full(name: str = "tiny") -> dict[str, Any]:
    """The whole config with every default filled in."""
    return load_config(resolved(name)).model_dump(mode="json")


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf of the resolved config; a range counts as one."""
    if isinstance(value, Mapping) and value and set(value) != {"low", "high"}:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


# What a leaf's value becomes, where adding one (or turning the boolean) would not be allowed.
OTHERS: dict[str, Any] = {
    "run": "second",
    "systems": ["bridge"],
    "primary": "bridge_arcs",
    "inputs.pixel_m": 20.0,
    "inputs.sha256": {"nothing.tif": "0" * 64},
    "synthetic.hurst": 0.8,
    "synthetic.depth_diameter": 0.19,
    "synthetic.surface_age_ga": 3.8,
    "patches.size_px": 64,
    "patches.factor": 4,
    "patches.halo_px": 32,
    "patches.stride_px": 16,
    "coverage.min_share": 0.2,
    "split.method": "random",
    "split.validation": 0.2,
    "split.test": 0.3,
    "split.gap_px": 8,
    "illumination.engine": "horizon",
    "illumination.halo_px": 8,
    "illumination.sun": "disc",
    "arcs.tolerance": 0.2,
    "arcs.*.latitude": {"low": 70.0, "high": 80.0},
    "arcs.*.longitude": {"low": 10.0, "high": 20.0},
    "arcs.*.images": {"low": 5.0, "high": 7.0},
    "arcs.*.declination": {"low": -1.5, "high": 1.5},
    "arcs.*.place": "true",
    "ephemeris.start": "2010-02-01",
    "ephemeris.stop": "2010-03-01T12:00:00Z",
    "masks.*.kind": "nac",
    "masks.*.half_width_px": {"low": 10.0, "high": 20.0},
    "masks.*.width_m": {"low": 1000.0, "high": 2000.0},
    "masks.*.inclination_deg": {"low": 90.0, "high": 91.0},
    "masks.*.seam_px": {"low": 2.0, "high": 4.0},
    "masks.*.seam_share": 0.1,
    "masks.*.blocks.size_px": {"low": 2.0, "high": 3.0},
    "masks.*.share": 0.4,
    "photometry.law": "lambert",
    "photometry.phase_unit": "degrees",
    "photometry.albedo": 0.2,
    "photometry.hapke.w": 0.3,
    "photometry.hapke.[bc]": 0.4,
    "imperfections.*.share": 0.5,
    "imperfections.*.noise.*": 50.0,
    "imperfections.*.quantise_bits": 12,
    "training.precision": "bf16",
    "*.decay": "cosine",
    "vae.target": "residual",
    "*.height_unit": "other",
    "vae.multipliers": [1, 2, 2],
    "vae.betas": [0.4, 0.9],
    "*.ema": 0.5,
    "bridge.space": "latent",
    "bridge.target": "dem",
    "*.process": "interpolant",
    "*.conditioning": "aligned",
    "*.network": "other",
    "*.lr_halo_px": 8,
    "*.width": 64,
    "*.heads": 4,
    "*.beta_max": 0.2,
    "*.noise": 0.1,
    "*.weighting": "score",
    "*.state_scale": 2.0,
    "*.start_share": 0.2,
    "published.augmentation": "square",
    "bridge.augmentation": "flips",
    "variants": {"other": {"seed": 5}},
    "*.sampler.kind": "ode",
    "*.sampler.eta": 0.5,
    "pretrained.sampler.grid": "uniform",
    "*.sampler.grid": "quadratic",
    "bridge.score": "squared",
    "published.score": "crps",
    "evaluation.conditions.*.light": "fibonacci",
    "evaluation.conditions.*.systems": "primary",
    "evaluation.conditions.*.nfe": 1,
    "evaluation.max_patches": 4,
    "region.size_px": 128,
    "region.center_m": [0.0, 0.0],
    "region.stride_px": 8,
    "region.light.place": "true",
    "region.light.latitude": {"low": 70.0, "high": 80.0},
    "region.light.longitude": {"low": 10.0, "high": 20.0},
    "region.light.declination": {"low": -1.5, "high": 1.5},
    "region.masks.kind": "nac",
    "region.masks.share": 0.4,
    "region.masks.width_m": {"low": 1000.0, "high": 2000.0},
    "region.masks.inclination_deg": {"low": 90.0, "high": 91.0},
    "region.masks.seam_px": {"low": 2.0, "high": 4.0},
    "region.masks.seam_share": 0.1,
    "region.masks.blocks.share": 0.4,
    "region.masks.blocks.size_px": {"low": 2.0, "high": 3.0},
    "bundle.published": "2027-01-31",
    "runtime.device": "auto",
    "runtime.processes": 2,
    "runtime.log_level": "DEBUG",
}
# Changes that must be made together with another to be a config that can be run.
TOGETHER: dict[str, dict[str, Any]] = {
    "systems": {"primary": "bridge_missing"},
    "split.validation_sites": {"split.method": "site", "split.test_sites": ["b"]},
    "split.test_sites": {"split.method": "site", "split.validation_sites": ["a"]},
    "vae.target": {"published.target": "residual"},
    "published.target": {"vae.target": "residual"},
    "published.space": {"published.sampler.kind": "posterior"},
    "bridge.space": {"bridge.posterior_mean": False, "bridge.keep_block_means": False,
                     "bridge.calibrate": False, "vae.target": "residual", "systems": ["bridge"]},
    "*.process": {"*.sampler.kind": "euler", "*.start_share": 0.0},
    "published.score": {"published.conditioning": "aligned"},
    "published.posterior_mean": {"published.space": "pixel", "published.conditioning": "aligned"},
    "published.calibrate": {"published.space": "pixel", "published.conditioning": "aligned",
                            "published.posterior_mean": True},
    "published.keep_block_means": {"published.space": "pixel"},
    "bridge.posterior_mean": {"bridge.calibrate": False},
    "bridge.conditioning": {"bridge.posterior_mean": False, "bridge.calibrate": False,
                            "bridge.score": "squared"},
    "evaluation.conditions.*.imperfections": {"imperfections.test.exposure": 0.05},
    "evaluation.conditions.missing.light": {"evaluation.conditions.missing.missing": False},
    "patches.size_px": {"region.size_px": 128},
    "illumination.far_m": {"illumination.far_cell_px": 8},
    **{f"{d}.place": {f"{d}.latitude": {"low": 0, "high": 90}} for d in ("arcs.train", "arcs.test.main")},
}  # fmt: skip
# Leaves with one value only, or whose other values need files.
FIXED = {
    "inputs.dem",
    "inputs.count",
    "vae.lpips_weights",
    "pretrained.weights",
    "pretrained.vae",
    "evaluation.conditions.*.draw",
    "evaluation.conditions.main.systems",
}
# Same results under any value, so no key moves: how the work is run, and what names nothing that there is.
NOTHING = ("runtime.*",)
SECTIONS = {
    "inputs",
    "synthetic",
    "patches",
    "coverage",
    "split",
    "illumination",
    "arcs",
    "masks",
    "photometry",
}

EVERYWHERE = {"report", "bundle"}  # they show the whole configuration
LAST = {"evaluation", *EVERYWHERE}


def after(*first: str) -> set[str]:
    """The stages given and everything that is made from them, from the design's table of artefacts."""
    follows = {
        "synthetic": ["terrain"],
        "terrain": ["patches", "region"],
        "patches": ["selected", "visibility", "shards", "shards_test"],
        "selected": ["split", "visibility", "arcs"],
        "split": ["arcs", "shards", "shards_test", "region"],
        "visibility": ["arcs", "shards", "shards_test"],
        "arcs": ["masks", "shards_test"],
        "masks": ["shards_test"],
        "shards": ["manifest"],
        "shards_test": ["manifest_test"],
        "manifest": ["vae", "bridge_fibonacci", "published_fibonacci"],
        "manifest_test": ["evaluation_baselines", "evaluation_floors", *(
            f"evaluation_{s}_{b}" for s in ("published", "bridge") for b in BRIDGES)],
        "vae": ["published_fibonacci", "evaluation_floors"],
        "calibration_bridge_missing": ["region"],
        "bridge_missing": ["region"],
        "region": ["report"],
        **{f"evaluation_{x}": ["evaluation"] for x in ("baselines", "floors")},
    }  # fmt: skip
    for system in ("published", "bridge"):
        for number, name in enumerate(BRIDGES):
            follows.setdefault(f"{system}_{name}", []).append(f"evaluation_{system}_{name}")
            follows[f"{system}_{name}"] += [f"{system}_{n}" for n in BRIDGES[number + 1 : number + 2]]
            follows[f"evaluation_{system}_{name}"] = ["evaluation"]
            if system == "bridge":  # the published system has no estimate to lie around
                follows[f"bridge_{name}"].append(f"calibration_bridge_{name}")
                follows.setdefault(f"calibration_bridge_{name}", []).append(f"evaluation_bridge_{name}")
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += follows.get(name, [])
    return found | EVERYWHERE


SYSTEMS = ("published", "bridge")
SYSTEM_EVALUATIONS = tuple(f"evaluation_{s}_{b}" for s in SYSTEMS for b in BRIDGES)
ALL_EVALUATIONS = ("evaluation_baselines", "evaluation_floors", *SYSTEM_EVALUATIONS)
ALL_BRIDGES = tuple(f"{s}_{b}" for s in SYSTEMS for b in BRIDGES)
WITH_ARCS = tuple(f"{s}_{b}" for s in SYSTEMS for b in ("arcs", "missing"))
CALIBRATIONS = tuple(f"calibration_bridge_{b}" for b in BRIDGES)

# Leaf pattern -> the stages whose own section holds it; all that follow them change too. First match counts.
DEPENDS: dict[str, tuple[str, ...]] = {
    "run": (),
    "primary": ("evaluation",),
    "inputs.pixel_m": ("terrain",),
    "inputs.sha256": (),
    "synthetic.*": ("synthetic",),
    "patches.factor": ("shards", "shards_test", "region"),
    "patches.size_px": ("patches", "split", "visibility", "masks", "region"),
    "patches.stride_px": ("patches", "region"),
    "patches.*": ("patches",),
    "coverage.*": ("selected",),
    "split.*": ("split",),
    "illumination.*": ("visibility", "region"),
    "arcs.tolerance": ("arcs", *WITH_ARCS, *CALIBRATIONS, "region"),
    "arcs.train.images": ALL_BRIDGES,
    "arcs.train.*": WITH_ARCS,
    "arcs.test.main.*": ("arcs", *CALIBRATIONS),
    "arcs.*": ("arcs",),
    "ephemeris.*": (),  # no arcs with `place: ephemeris`; those have tests of their own
    "masks.train.*": ("published_missing", "bridge_missing"),
    "masks.*": ("masks",),
    "photometry.*": (*ALL_BRIDGES, *CALIBRATIONS, "region", *SYSTEM_EVALUATIONS),
    "imperfections.train.*": (*ALL_BRIDGES, *CALIBRATIONS),
    "imperfections.test.*": SYSTEM_EVALUATIONS,
    "shards.radiance": ("shards_test",),
    "shards.*": ("manifest",),
    "training.cpu_threads": ("vae", *ALL_BRIDGES, *CALIBRATIONS, *ALL_EVALUATIONS, "region"),
    "training.precision": ("vae", *ALL_BRIDGES),
    "vae.*": ("vae",),
    "published.sampler.*": tuple(f"evaluation_published_{b}" for b in BRIDGES),
    "bridge.sampler.*": (*CALIBRATIONS, *(f"evaluation_bridge_{b}" for b in BRIDGES), "region"),
    "*.calibrate": (),  # makes a stage, or leaves it out
    "variants": (),  # none of them is trained here
    "bridge.seed": (*(f"bridge_{b}" for b in BRIDGES), *CALIBRATIONS),
    **{f"{s}.stages.{b}.*": (f"{s}_{b}",) for s in SYSTEMS for b in BRIDGES},
    "published.*": tuple(f"published_{b}" for b in BRIDGES),
    "bridge.*": tuple(f"bridge_{b}" for b in BRIDGES),
    "pretrained.*": (),  # no given weights here; those have tests of their own
    "evaluation.max_patches": ALL_EVALUATIONS,
    "evaluation.bootstrap": ALL_EVALUATIONS,
    "evaluation.seed": ALL_EVALUATIONS,
    "evaluation.batch": ("evaluation_floors", *SYSTEM_EVALUATIONS),
    "evaluation.conditions.*.systems": tuple(
        e for e in SYSTEM_EVALUATIONS if not e.endswith("bridge_missing")
    ),
    "evaluation.*": SYSTEM_EVALUATIONS,
    "region.*": ("region",),
    "report.*": ("report",),
    "bundle.*": ("bundle",),
    "systems": (),
}


def other(path: str, value: Any) -> Any:
    """Another value that the leaf may have."""
    for pattern, given in OTHERS.items():
        if fnmatchcase(path, pattern):
            if given == "other":
                return {"km": "pixel", "pixel": "km", "dit": "unet", "unet": "dit"}[value]
            return given
    choices = {"latent": "pixel", "dem": "residual", "published": "aligned", "aligned": "published"}
    if isinstance(value, str):
        return choices[value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return ["a"]
    return value + 1


def put(config: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config[key]
    config[last] = value


def changed(path: str) -> dict[str, Any]:
    """The tiny config with one leaf changed (and what must change with it)."""
    config = copy.deepcopy(BASE)
    value: Any = config
    for key in path.split("."):
        value = value[key]
    put(config, path, other(path, value))
    for pattern, also in TOGETHER.items():
        if fnmatchcase(path, pattern):
            for name, given in also.items():
                put(config, name.replace("*", path.split(".")[0], 1), given)
    return config


BASE = full()
LEAVES = [".".join(path) for path, _ in leaves(BASE)]
TESTED = [leaf for leaf in LEAVES if not any(fnmatchcase(leaf, f) for f in FIXED)]


def plan(config: Mapping[str, Any], root: Path) -> Plan:
    return Plan(load_config(config), root)


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
    assert own == (holders | EVERYWHERE) & set(found.stages)
    assert moved == after(*holders, *other_inputs) & set(found.stages)


def depends(leaf: str) -> tuple[str, ...]:
    """The stages whose section holds a leaf, by the table."""
    pattern = next((p for p in DEPENDS if fnmatchcase(leaf, p)), None)
    assert pattern, f"{leaf}: say in DEPENDS which stages depend on it"
    return DEPENDS[pattern]


def also_changed(leaf: str) -> list[str]:
    """Other leaves that had to change with this one."""
    before, now = dict(leaves(BASE)), dict(leaves(changed(leaf)))
    names = [".".join(path) for path, value in now.items() if before.get(path) != value]
    return [name for name in names if not f"{name}.".startswith(f"{leaf}.")]


def test_every_leaf_of_the_config_is_tested() -> None:
    """A new key must be added to the table before it can be used."""
    assert len(TESTED) > 150
    assert {leaf for leaf in LEAVES if leaf not in TESTED} == {
        "inputs.dem",
        "inputs.count",
        "vae.lpips_weights",
        "pretrained.weights",
        "pretrained.vae",
        "evaluation.conditions.main.draw",
        "evaluation.conditions.main.systems",
        "evaluation.conditions.missing.draw",
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
        if "extra" in json.loads(found[f"evaluation_{name}"].section)["evaluation"]["conditions"]
    }
    assert held == wanted


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


def plan_of_same(base: Plan, found: Plan) -> Plan:
    """`found` with the stages of `base` alone."""
    alike = copy.copy(found)
    alike.stages = {name: stage for name, stage in found.stages.items() if name in base.stages}
    return alike


def with_leaves(**values: Any) -> dict[str, Any]:
    """The tiny config with some leaves given, ``illumination__far_m`` for `illumination.far_m`."""
    config = copy.deepcopy(BASE)
    for name, value in values.items():
        put(config, name.replace("__", "."), value)
    return config


def moved_between(one: Plan, two: Plan) -> set[str]:
    assert set(one.stages) == set(two.stages)
    return {name for name, stage in two.stages.items() if stage.key != one[name].key}


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
    assert len(in_store) == len(base.stages) - 12
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
    from pipeline.provenance import plan as module

    monkeypatch.setattr(module, "_versions", lambda: {"torch": "9.9"})
    assert all(stage.key != base[name].key for name, stage in plan(BASE, tmp_path).stages.items())


# --- files ----------------------------------------------------------------------------------------------


@pytest.fixture
def rasters(tmp_path: Path) -> Path:
    """Two DEMs and their counts; planning looks at bytes alone."""
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
    for path in sorted((ROOT / "config").glob("*.yaml")):
        if path.stem == "evaluate":  # its DEM is the user's: test_pretrained.py
            continue
        config = load_config(resolved(path.stem))
        if config.inputs.synthetic or all(e.startswith("https://") for e in config.inputs.dem_entries):
            assert len(Plan(config, tmp_path).stages) > 15
