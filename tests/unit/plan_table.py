"""What tests of plans share: every leaf of the config, another value for it, the stages that hold it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from pipeline.config.root import load_config
from pipeline.provenance.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
BRIDGES = ("fibonacci", "arcs", "missing")


def resolved(name: str) -> dict[str, Any]:
    """A config as Snakemake merges it."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    overlays = [] if name == "config" else [name]
    if "_" in name:  # lola40_ablation overlays lola40
        overlays.insert(0, name.split("_")[0])
    if name.endswith("_residual"):
        overlays.insert(1, name.removesuffix("_residual"))
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
    "images.min_valid": 0.8,
    "images.withhold": 0.2,
    "images.shift_sigma_m": 5.0,
    "images.max_shift_m": 300.0,
    "map.noise": "window",
    "map.blend": "published",
    "map.std": "published",
    "map.fallback": "none",
    "run": "second",
    "systems": ["bridge"],
    "primary": "bridge_arcs",
    "inputs.pixel_m": 20.0,
    "inputs.rescale": True,
    "inputs.blocks": [2],
    "inputs.sha256": {"nothing.tif": "0" * 64},
    "synthetic.hurst": 0.8,
    "synthetic.depth_diameter": 0.19,
    "synthetic.surface_age_ga": 3.8,
    "patches.apriori": "mixed",
    "altimetry.own": 0.3,
    "*.hit_share": 0.5,
    "altimetry.coverage": {"low": 0.1, "high": 0.2},
    "altimetry.spread_deg": {"low": 2.0, "high": 3.0},
    "altimetry.off_centre": {"low": 0.2, "high": 0.3},
    "altimetry.bunching": {"low": 0.1, "high": 0.2},
    "altimetry.outlier_m": 50.0,
    "altimetry.*_m": {"low": 0.2, "high": 0.3},
    "altimetry.outliers": 0.01,
    "altimetry.one_way": 0.5,
    "altimetry.exact": 0.5,
    "altimetry.adjusted": 0.3,
    "altimetry.shifted": 0.5,
    "patches.size_px": 64,
    "patches.factor": 4,
    "patches.halo_px": 32,
    "patches.stride_px": 16,
    "patches.origin": "corner",
    "coverage.min_share": 0.2,
    "split.method": "random",
    "split.validation": 0.2,
    "split.test": 0.3,
    "split.gap_px": 8,
    "illumination.engine": "horizon",
    "illumination.halo_px": 8,
    "illumination.sun": "disc",
    "illumination.azimuth": "up",
    "arcs.tolerance": 0.2,
    "arcs.*.latitude": {"low": 70.0, "high": 80.0},
    "arcs.*.longitude": {"low": 10.0, "high": 20.0},
    "arcs.*.images": {"low": 5.0, "high": 7.0},
    "arcs.*.declination": {"low": -1.5, "high": 1.5},
    "arcs.*.place": "true",
    "arcs.fibonacci": "all",
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
    "photometry.hapke.theta_deg": 23.0,
    "imperfections.*.share": 0.5,
    "imperfections.*.strength": {"low": 0.5, "high": 2.0},
    "imperfections.*.noise.*": 50.0,
    "imperfections.*.quantise_bits": 12,
    "imperfections.*.dark.pairs": True,
    "imperfections.*.dark.*": 0.05,
    "imperfections.*.albedo_spots.count": 2.0,
    "imperfections.*.albedo_spots.*": {"low": 0.8, "high": 0.9},
    "imperfections.*.saturation": 3.0,
    "training.precision": "bf16",
    "predictors.yasuda.optimiser.decay": "cosine",
    "predictors.diffusion.optimiser.decay": "cosine",
    "predictors.*.decay": "none",
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
    "*.set_encoder": "pooled",
    "*.network": "other",
    "*.lr_halo_px": 8,
    "published.patch_px": 4,
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
    "predictors.hybrid.sampler.grid": "uniform",
    "*.sampler.grid": "quadratic",
    "bridge.score": "squared",
    "published.score": "crps",
    "predictors.scored": [],
    "predictors.variants": {"other": {"of": "siran", "seed": 5}},
    "predictors.*.augmentation": "flips",
    "predictors.*.loss": "l2",
    "predictors.guided.kernel": 5,
    "predictors.*.widths": [8, 16],
    "predictors.*.unit_px": 2.0,
    "predictors.*.kind": "dbim",
    "predictors.*.eta": 0.5,
    "predictors.*.reflectance": "hapke",
    "predictors.*.shadow_threshold": 0.3,
    "evaluation.conditions.*.light": "fibonacci",
    "evaluation.conditions.*.systems": "primary",
    "evaluation.conditions.*.nfe": 1,
    "evaluation.conditions.*.members": 5,
    "evaluation.conditions.*.images": 3,
    "evaluation.max_patches": 4,
    "region.size_px": 128,
    "region.center_m": [0.0, 0.0],
    "region.stride_px": 8,
    "region.half_width_px": {"low": 10.0, "high": 20.0},
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
    "inputs.rescale": {"inputs.pixel_m": 20.0},
    "systems": {"primary": "bridge_missing"},
    "split.validation_sites": {"split.method": "site", "split.test_sites": ["b"]},
    "split.test_sites": {"split.method": "site", "split.validation_sites": ["b"]},
    "vae.target": {"published.target": "residual", "published.lr_halo_px": 16},
    "published.target": {"vae.target": "residual", "published.lr_halo_px": 16},
    "published.space": {"published.sampler.kind": "posterior"},
    "bridge.space": {"bridge.posterior_mean": False, "bridge.keep_block_means": False,
                     "bridge.calibrate": False, "vae.target": "residual", "systems": ["bridge"]},
    "*.process": {"*.sampler.kind": "euler", "*.start_share": 0.0},
    "predictors.siran.guide": {"predictors.siran.spatial_attention": False,
                               "predictors.siran.polarised_attention": False},
    "predictors.siran.spatial_attention": {"predictors.siran.polarised_attention": False},
    "published.score": {"published.conditioning": "aligned"},
    "published.posterior_mean": {"published.space": "pixel", "published.conditioning": "aligned"},
    "published.calibrate": {"published.space": "pixel", "published.conditioning": "aligned",
                            "published.posterior_mean": True},
    "published.refine": {"published.space": "pixel", "published.conditioning": "aligned",
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
    "inputs.far",  # test_far.py
    "vae.lpips_weights",
    "split.index",  # test_plan.py
    "*.init",  # test_stages.py
    "*.stages.real*",  # makes stages: test_stages.py
    "pretrained.weights",
    "pretrained.vae",
    "predictors.*weights",  # test_given_rivals.py
    "predictors.bridges",
    "scenes",  # makes a stage: test_scenes_plan.py
    "site.*",  # makes a map instead of a training: test_map_plan.py
    "evaluation.conditions.*.draw",
    "evaluation.conditions.*.apriori",  # of scenes: test_scenes_plan.py
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

UNTRAINED = tuple(
    f"evaluation_{name}" for name in ("bicubic", "bicubic_window", "photometric", "vae_truth", "vae_bicubic")
)
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
        "manifest_test": [*UNTRAINED, *(
            f"evaluation_{s}_{b}" for s in ("published", "bridge") for b in BRIDGES)],
        "vae": ["published_fibonacci", "evaluation_vae_truth", "evaluation_vae_bicubic"],
        "calibration_bridge_missing": ["region"],
        "bridge_missing": ["region"],
        "region": ["report"],
        **{stage: ["evaluation"] for stage in UNTRAINED},
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
ALL_EVALUATIONS = (*UNTRAINED, *SYSTEM_EVALUATIONS)
OF_IMAGES = ("evaluation_photometric", *SYSTEM_EVALUATIONS)
ALL_BRIDGES = tuple(f"{s}_{b}" for s in SYSTEMS for b in BRIDGES)
WITH_ARCS = tuple(f"{s}_{b}" for s in SYSTEMS for b in ("arcs", "missing"))
CALIBRATIONS = tuple(f"calibration_bridge_{b}" for b in BRIDGES)

# Leaf pattern -> the stages whose own section holds it; all that follow them change too. First match counts.
DEPENDS: dict[str, tuple[str, ...]] = {
    "run": (),
    "primary": ("evaluation",),
    "inputs.pixel_m": ("terrain",),
    "inputs.rescale": ("terrain",),
    "inputs.blocks": ("terrain",),
    "inputs.sha256": (),
    "synthetic.*": ("synthetic",),
    "patches.apriori": (),  # stages on rendered scenes read it: test_stages.py
    "altimetry.*": (),
    "patches.factor": ("shards", "shards_test", "region"),
    "patches.size_px": ("patches", "split", "visibility", "masks", "region"),
    "patches.stride_px": ("patches", "region"),
    "patches.origin": ("patches", "region"),
    "patches.*": ("patches",),
    "coverage.*": ("selected",),
    "split.*": ("split",),
    "illumination.*": ("visibility", "region"),
    "arcs.tolerance": ("arcs", *WITH_ARCS, *CALIBRATIONS, "region"),
    "arcs.train.images": ALL_BRIDGES,
    "arcs.fibonacci": tuple(f"{s}_fibonacci" for s in SYSTEMS),
    "arcs.train.*": WITH_ARCS,
    "arcs.test.main.*": ("arcs", *CALIBRATIONS),
    "arcs.*": ("arcs",),
    "ephemeris.*": (),  # no arcs with `place: ephemeris`; those have tests of their own
    "masks.train.*": ("published_missing", "bridge_missing"),
    "masks.*": ("masks",),
    "photometry.*": (*ALL_BRIDGES, *CALIBRATIONS, "region", *OF_IMAGES),
    "imperfections.train.*": (*ALL_BRIDGES, *CALIBRATIONS),
    "imperfections.test.*": OF_IMAGES,
    "shards.radiance": ("shards_test",),
    "shards.*": ("manifest",),
    "training.cpu_threads": ("vae", *ALL_BRIDGES, *CALIBRATIONS, *ALL_EVALUATIONS, "region"),
    "training.precision": ("vae", *ALL_BRIDGES),
    "vae.*": ("vae",),
    "published.sampler.*": tuple(f"evaluation_published_{b}" for b in BRIDGES),
    "bridge.sampler.*": (*CALIBRATIONS, *(f"evaluation_bridge_{b}" for b in BRIDGES), "region"),
    "*.calibrate": (),  # makes a stage, or leaves it out
    "published.calibration_margin": (),  # not calibrated
    "published.hit_share": (),
    "bridge.calibration_margin": CALIBRATIONS,
    "bridge.hit_share": CALIBRATIONS,
    "variants": (),  # none of them is trained here
    "bridge.seed": (*(f"bridge_{b}" for b in BRIDGES), *CALIBRATIONS),
    **{f"{s}.stages.{b}.*": (f"{s}_{b}",) for s in SYSTEMS for b in BRIDGES},
    "published.*": tuple(f"published_{b}" for b in BRIDGES),
    "bridge.*": tuple(f"bridge_{b}" for b in BRIDGES),
    "pretrained.*": (),  # no given weights here; those have tests of their own
    "evaluation.max_patches": ALL_EVALUATIONS,
    "evaluation.bootstrap": ALL_EVALUATIONS,
    "evaluation.seed": ALL_EVALUATIONS,
    "evaluation.batch": ALL_EVALUATIONS,
    "evaluation.members": SYSTEM_EVALUATIONS,
    "evaluation.conditions.*.systems": tuple(
        e for e in SYSTEM_EVALUATIONS if not e.endswith("bridge_missing")
    ),
    "evaluation.*": OF_IMAGES,
    "predictors.scored": (),  # makes a stage, or leaves it out
    "predictors.photometric.*": ("evaluation_photometric",),
    "predictors.*": (),  # no other rival is scored; those have tests of their own
    "region.*": ("region",),
    "images.*": (),  # of maps
    "map.*": (),
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


def with_leaves(**values: Any) -> dict[str, Any]:
    """The tiny config with some leaves given, ``illumination__far_m`` for `illumination.far_m`."""
    config = copy.deepcopy(BASE)
    for name, value in values.items():
        put(config, name.replace("__", "."), value)
    return config


def moved_between(one: Plan, two: Plan) -> set[str]:
    assert set(one.stages) == set(two.stages)
    return {name for name, stage in two.stages.items() if stage.key != one[name].key}
