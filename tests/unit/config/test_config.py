"""The configuration: mistakes are named with path, found and expected; equal configs are equal text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.utils import update_config

from pipeline.config.base import Range, canonical_json
from pipeline.config.root import Config, ConfigError, load_config

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
OVERLAYS = sorted(path.stem for path in (ROOT / "config").glob("*.yaml") if path.stem != "config")


def nested(path: str, value: Any) -> dict[str, Any]:
    """``a.b: value`` as a config."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def message(raw: dict[str, Any]) -> str:
    """What a user is told."""
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    return str(caught.value)


# --- single values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["extra", "patches.size", "inputs.dems", "bridge.stages.fibonacci.lr", "arcs.test.main.lat",
     "region.center", "evaluation.conditions.main.mask", "vae.optimiser.batch_size", "runtime.gpus",
     "split.seeds"],
)  # fmt: skip
def test_unknown_keys_are_named(path: str) -> None:
    raw = nested(path, 3)
    if path.startswith("bridge.stages"):
        raw["bridge"]["stages"]["fibonacci"]["samples"] = 10
    if path.startswith("vae.optimiser"):
        raw["vae"]["optimiser"]["samples"] = 10
    assert f"{path}: unknown key; see config/README.md" in message(raw)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("run", "a/b", "should match pattern"),
        ("systems", [], "systems: expected published or bridge, or pretrained.weights, found neither"),
        ("systems", ["siran"], "systems: expected some of published, bridge, found 'siran'"),
        ("primary", "bridge_fibo", "should match pattern"),
        ("inputs.dem", [], "expected at least one path, glob or URL, found none"),
        ("inputs.pixel_m", 0, "greater than 0"),
        ("inputs.pixel_m", "twenty", "valid number"),
        ("inputs.sha256", {"a.tif": "beef"}, "expected 64 lower-case hex digits, found 'beef'"),
        ("synthetic.size_px", 10, "greater than or equal to 64"),
        ("synthetic.hurst", 1.0, "less than 1"),
        ("synthetic.center_x_m", 1e6, "expected a centre within 400000 m of the pole"),
        ("patches.size_px", 8, "greater than or equal to 16"),
        ("patches.size_px", 96.5, "valid integer"),
        ("patches.factor", 1, "greater than or equal to 2"),
        ("patches.factor", 7, "factor: expected a divisor of size_px = 96, found 7"),
        ("patches.halo_px", 33, "expected a multiple of factor = 16 (whole a priori pixels), found 33"),
        ("patches.stride_px", 50, "stride_px: expected a divisor of size_px = 96, found 50"),
        ("patches.tiles", 0, "greater than or equal to 1"),
        ("coverage.min_share", 1.2, "less than or equal to 1"),
        ("split.method", "spatial", "'block', 'site', 'random', 'index' or 'test'"),
        ("split.validation", 0, "greater than 0"),
        ("split.test", 0.95, "validation + test: expected less than 1, found 1.05"),
        ("split.test_sites", ["a"], "validation_sites and test_sites: expected both or neither"),
        ("illumination.engine", "hapke", "'embree' or 'horizon'"),
        ("illumination.jitter_deg", -1, "greater than or equal to 0"),
        ("illumination.disc_deg", float("nan"), "finite number"),
        ("illumination.seed", -1, "greater than or equal to 0"),
        ("arcs.tolerance", 0, "greater than 0"),
        ("arcs.train.latitude", [0, 91], "latitude: expected within [-90, 90], found"),
        ("arcs.train.latitude", [50, 40], "expected low <= high, found [50.0, 40.0]"),
        ("arcs.train.latitude", [50], "expected [low, high], found [50]"),
        ("arcs.train.images", [0, 5], "images: expected within [1, 10000], found"),
        ("arcs.train.images", [2.5, 5], "images: expected whole numbers, found"),
        ("arcs.test", {}, "at least 1 item"),
        ("arcs.test", {"high sun": {}}, "test: expected names of letters, digits and _, found 'high sun'"),
        ("masks.train.half_width_px", [0, 3], "half_width_px: expected > 0, found 0.0"),
        ("masks.test.share", 1.5, "less than or equal to 1"),
        ("photometry.law", "minnaert", "one of exponential, lambert, lunar_lambert, hapke, found 'minnaert'"),
        ("photometry.hapke.w", 1.2, "less than or equal to 1"),
        ("photometry.hapke.h", 0, "greater than 0"),
        ("imperfections.train.albedo.rms", 2, "less than or equal to 1"),
        ("imperfections.train.albedo.sigma_px", 0, "greater than 0"),
        ("imperfections.train.albedo_blocks.cell_px", 0.5, "valid integer"),
        ("imperfections.test.exposure", -0.1, "greater than or equal to 0"),
        ("imperfections.test.shift_px", 20, "less than or equal to 8"),
        ("imperfections.test.noise.snr", 0, "greater than 0"),
        ("imperfections.test.noise.photons", -5, "greater than 0"),
        ("imperfections.test.sun_deg", 90, "less than or equal to 45"),
        ("imperfections.test.quantise_bits", 10, "8 or 12"),
        ("photometry.albedo", 0, "greater than 0"),
        ("shards.statistics_patches", 0, "greater than 0"),
        ("training.cpu_threads", 0, "greater than or equal to 1"),
        ("training.precision", "fp16", "'fp32' or 'bf16'"),
        ("vae.multipliers", [1], "at least 2 items"),
        ("vae.multipliers", [1, 0], "greater than 0"),
        ("vae.ema", 1.0, "less than 1"),
        ("vae.betas", [0.9], "Field required"),
        ("vae.optimiser", {"samples": 0}, "greater than 0"),
        ("bridge.space", "fourier", "'latent' or 'pixel'"),
        ("bridge.width", 100, "width: expected a multiple of heads = 12, found 100"),
        ("bridge.posterior_mean", True, "posterior_mean: expected space 'pixel', found 'latent'"),
        ("bridge.keep_block_means", True, "keep_block_means: expected space 'pixel', found 'latent'"),
        ("bridge.sampler", {"nfe": 0}, "greater than or equal to 1"),
        ("bridge.sampler", {"nfe": 1000}, "sampler.nfe: expected less than steps = 1000 with process 'i2sb'"),
        ("bridge.sampler", {"kind": "heun", "nfe": 3}, "expected an even number with kind 'heun', found 3"),
        ("bridge.sampler", {"kind": "euler"}, "sampler.kind: expected one of posterior, ode, dbim with"),
        ("bridge.process", "interpolant", "sampler.kind: expected one of euler, heun, dbim with process"),
        ("bridge.state_scale", -2, "greater than 0"),
        ("evaluation.members", 1, "greater than or equal to 2"),
        ("evaluation.conditions", {"other": {}}, "conditions: expected one named 'main', found ['other']"),
        ("evaluation.bootstrap", 1, "greater than or equal to 10"),
        ("region.light.latitude", 91, "latitude: expected within [-90, 90], found"),
        ("region.light.latitude", -85, "latitude: expected within [0, 90], degrees towards the pole of the"),
        ("region.light", {"place": "true", "latitude": 80}, "latitude: expected its default [85, 85]"),
        ("region.light", {"place": "ephemeris", "declination": 1}, "declination: expected its default"),
        ("region.light.images", 5, "region.light.images: unknown key"),
        ("region.masks.half_width_px", 5, "region.masks.half_width_px: unknown key"),
        ("region.masks.width_m", 0, "width_m: expected > 0, found 0.0"),
        ("region.images", 20_000, "less than or equal to 10000"),
        ("region.center_m", [1.0], "Field required"),
        ("report.patches", 0, "greater than or equal to 1"),
        ("runtime.device", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("runtime.checkpoint_minutes", 0, "greater than 0"),
        ("runtime.log_level", "LOUD", "'DEBUG', 'INFO' or 'WARNING'"),
    ],
)  # fmt: skip
def test_impossible_values_are_named_with_path_and_range(path: str, value: Any, expected: str) -> None:
    told = message(nested(path, value))
    assert expected in told
    assert path.split(".")[0] in told
    assert path.split(".")[-1] in told or path.rpartition(".")[0] in told
    assert told.count("\n") == 0
    if "Input should" in told:
        assert "found " in told


def test_every_mistake_gets_a_line() -> None:
    told = message({"patches": {"size_px": 3, "tiles": "many"}, "vae": {"nonsense": 1}, "run": "ok"})
    lines = told.splitlines()
    assert len(lines) == 3
    assert [line.split(": ")[-2].split()[-1].split(".")[0] for line in lines]
    assert all(name in told for name in ("patches.size_px", "patches.tiles", "vae.nonsense"))


def test_what_is_no_section_is_named() -> None:
    assert "patches" in message({"patches": 3})
    assert "patches" in message({"patches": None})


# --- between sections -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"systems": ["bridge", "bridge"], "primary": "bridge_arcs"}, "systems: expected each once"),
        (
            {"systems": ["bridge"]},
            "primary: expected one of the systems ['bridge'], found 'published_missing'",
        ),
        (
            {"illumination": {"halo_px": 48}},
            "illumination.halo_px: expected at most patches.halo_px = 32, found 48",
        ),
        (
            {"patches": {"size_px": 36, "factor": 4, "stride_px": 36}, "region": {"stride_px": 12}},
            "patches.size_px: expected a multiple of the VAE's reduction 8",
        ),
        (
            {"published": {"lr_halo_px": 48}},
            "published.lr_halo_px: expected a multiple of patches.factor = 16 up to patches.halo_px = 32",
        ),
        (
            {"published": {"lr_halo_px": 8}},
            "published.lr_halo_px: expected a multiple of patches.factor = 16",
        ),
        (
            {"published": {"target": "residual"}},
            "published.target: expected the VAE's target 'dem' in the latent space, found 'residual'",
        ),
        (
            {"inputs": {"dem": "a.tif"}},
            "inputs.count: expected a count map, since coverage.min_share = 0.24327",
        ),
        ({"inputs": {"count": "c.tif"}}, "count: expected null with dem: synthetic"),
        (
            {"inputs": {"dem": ["a.tif", "b.tif"], "count": ["c.tif"]}},
            "count: expected one entry for each dem entry (2), found 1",
        ),
        (
            {"evaluation": {"conditions": {"main": {"draw": "noon"}}}},
            "evaluation.conditions.main.draw: expected one of ['main'], found 'noon'",
        ),
        (
            {"evaluation": {"conditions": {"main": {"light": "fibonacci", "missing": True}}}},
            "missing: expected false with light 'fibonacci'",
        ),
        (
            {"region": {"stride_px": 97}},
            "region.stride_px: expected a multiple of patches.factor = 16 up to patches.size_px = 96",
        ),
        (
            {"region": {"size_px": 90}},
            "expected a multiple of patches.factor = 16, at least patches.size_px = 96, found 90",
        ),
        (
            {"region": {"light": {"place": "ephemeris"}}},
            "ephemeris.kernels: expected SPICE kernels for region.light.place: ephemeris, found none",
        ),
        (
            {
                "systems": [],
                "primary": "pretrained",
                "pretrained": {"weights": "w"},
                "predictors": {"scored": ["photometric", "gan"]},
            },
            "predictors.scored: expected no learned rivals without weights where systems is [], found ['g",
        ),
    ],
)
def test_sections_must_fit_each_other(raw: dict[str, Any], expected: str) -> None:
    assert expected in message(raw)


TWO_PROCESSES = {
    "systems": ["published", "bridge"],
    "bridge": {"process": "interpolant", "sampler": {"kind": "heun", "nfe": 2}},
    "published": {"steps": 100},
}
STEPS = (
    "evaluation.conditions.more.nfe: expected less than steps = 100 with process 'i2sb' of published, found"
)
EVEN = "evaluation.conditions.more.nfe: expected an even number with kind 'heun' of bridge, found"


def with_condition(condition: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    return {**TWO_PROCESSES, "evaluation": {"conditions": {"main": {}, "more": condition}}, **keys}


@pytest.mark.parametrize(
    ("condition", "keys", "expected"),
    [
        ({"nfe": 100}, {}, f"{STEPS} 100"),
        ({"nfe": 7, "systems": "last"}, {}, f"{EVEN} 7"),
        ({"nfe": 100, "systems": "primary"}, {}, f"{STEPS} 100"),
        ({"nfe": 7, "systems": "primary"}, {"primary": "bridge_arcs"}, f"{EVEN} 7"),
        ({"nfe": 1000}, {}, f"{STEPS} 1000"),
    ],
)
def test_evaluations_of_a_condition_must_fit_each_system_that_it_is_for(
    condition: dict[str, Any], keys: dict[str, Any], expected: str
) -> None:
    assert message(with_condition(condition, keys)) == f"config: {expected}"


@pytest.mark.parametrize(
    ("condition", "keys"),
    [
        ({"nfe": 98}, {}),
        ({"nfe": 7, "systems": "primary"}, {}),
        ({"nfe": 100, "systems": "primary"}, {"primary": "bridge_missing"}),
        ({"nfe": 1000}, {"systems": ["bridge"], "primary": "bridge_missing"}),
        ({"nfe": 99}, {"systems": ["published"]}),
    ],
)
def test_evaluations_of_a_condition_need_not_fit_other_systems(
    condition: dict[str, Any], keys: dict[str, Any]
) -> None:
    config = load_config(with_condition(condition, keys))
    assert config.evaluation.conditions["more"].nfe == condition["nfe"]


def test_a_system_that_is_not_trained_may_be_anything() -> None:
    assert load_config({"bridge": {"lr_halo_px": 8}}).systems == ["published"]


# --- the files ------------------------------------------------------------------------------------------


def test_the_published_config_is_the_models_defaults_where_it_can_be() -> None:
    """Else a key left out of an overlay's base would mean something else than the file says."""
    # What the file says about inputs, machine, label and the unused system is its own.
    own = {
        "inputs",
        "run",
        "systems",
        "primary",
        "synthetic",
        "runtime",
        "evaluation",
        "region",
        "training",
        "split",
    }
    # Published values whose defaults are those of weights and configs without the keys.
    others = {
        "arcs": {"fibonacci": ("all", "drawn")},
        "illumination": {"halo_px": (2, 0), "azimuth": ("up", "right")},
        "patches": {"origin": ("corner", "even")},
        "published": {
            "set_encoder": ("pooled", "strided"), "missing_pixel": (-1.0, 0.0), "weight_decay": (0.0, 0.01)
        },
        "vae": {"gan_alternate": (5, 0)},
    }  # fmt: skip
    found, default = load_config(PUBLISHED).model_dump(), Config().model_dump()
    assert set(found) == set(default)
    differing = {name for name in found if found[name] != default[name]}
    assert differing <= own | {"coverage"} | set(others)
    for name, keys in others.items():
        assert set(found[name]) == set(default[name])
        pairs = {key: (found[name][key], default[name][key]) for key in found[name]}
        assert {key: pair for key, pair in pairs.items() if pair[0] != pair[1]} == keys
    assert found["coverage"]["min_share"] == pytest.approx(default["coverage"]["min_share"], abs=1e-5)
    assert found["coverage"]["min_share"] * 9216 < 2242.5  # 2242 of 9216 pixels, as published
    assert found["coverage"]["min_share"] * 9216 > 2241


def test_the_published_config_is_the_published_system() -> None:
    config = load_config(PUBLISHED)
    system = config.published
    kind = (
        system.space,
        system.target,
        system.process,
        system.conditioning,
        system.network,
        system.lr_halo_px,
    )
    assert kind == ("latent", "dem", "i2sb", "published", "dit", 0)
    assert (config.patches.size_px, config.patches.factor) == (96, 16)
    assert (system.width, system.depth, system.heads, system.sampler.nfe) == (768, 6, 12, 10)
    assert (config.split.method, config.illumination.halo_px, config.illumination.engine) == (
        "random",
        2,
        "embree",
    )
    assert (system.set_encoder, system.missing_pixel, system.weight_decay) == ("pooled", -1.0, 0.0)
    assert (config.vae.gan_alternate, config.vae.gan_start_samples) == (5, 5000 * 64)
    assert (config.arcs.fibonacci, config.illumination.fibonacci, config.illumination.azimuth) == (
        "all",
        30,
        "up",
    )
    assert (config.patches.origin, config.region.half_width_px) == ("corner", Range(low=25, high=50))


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_is_valid_and_says_something(name: str) -> None:
    merged = json.loads(json.dumps(PUBLISHED))
    for overlay in ([name.split("_")[0]] if "_" in name else []) + [name]:  # lola40_ablation overlays lola40
        update_config(merged, yaml.safe_load((ROOT / "config" / f"{overlay}.yaml").read_text()))
    if name == "evaluate":  # the DEM is the user's
        merged["inputs"]["dem"] = "mine.tif"
    if name == "map":
        merged["site"]["dem"] = "mine.tif"
    config = load_config(merged)
    assert config.run == name
    assert config != load_config(PUBLISHED)


@pytest.mark.parametrize(
    "name",
    [
        "conditions",
        "demo",
        "evaluate",
        "light",
        "lola40",
        "lola40_ablation",
        "lola40_nfe",
        "lola40_published",
        "lola40_published_gpu",
        "lola40_published_residual",
        "map",
        "map_1500",
        "moon",
        "moon_first",
        "moon_second",
        "moon_gpu",
        "rivals",
        "systems",
        "systems_validation",
        "tiny",
        "yasuda",
        "yasuda_nfe",
    ],
)
def test_the_overlays_that_users_run_are_there(name: str) -> None:
    assert name in OVERLAYS


# --- canonical JSON -------------------------------------------------------------------------------------

names = st.text(max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def shuffled(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(v, draw) for v in value] if isinstance(value, list) else value


@given(values, st.data())
@settings(max_examples=40)
def test_equal_values_have_equal_text_whatever_their_order(value: Any, data: st.DataObject) -> None:
    assert canonical_json(shuffled(value, data.draw)) == canonical_json(value)
    assert json.loads(canonical_json(value)) == value


@given(values, values)
@settings(max_examples=40)
def test_different_values_have_different_text(a: Any, b: Any) -> None:
    if a != b:
        assert canonical_json(a) != canonical_json(b)


def test_canonical_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("inf")})


def test_a_sections_text_survives_the_way_through_a_job() -> None:
    config = load_config(PUBLISHED)
    for name in type(config).model_fields:
        section = getattr(config, name)
        if hasattr(section, "canonical"):
            again = type(section).model_validate_json(section.canonical())
            assert again == section
            assert again.canonical() == section.canonical()


def test_a_range_may_be_a_pair_a_number_or_a_mapping() -> None:
    pair, number, mapping = (Range.model_validate(v) for v in ([1, 1], 1, {"low": 1, "high": 1}))
    assert pair == number == mapping


def test_sections_cannot_be_changed() -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match="frozen"):
        load_config({}).patches.size_px = 3  # type: ignore[misc]


def test_a_variant_is_the_bridge_with_its_own_keys() -> None:
    config = load_config(
        {
            "systems": ["bridge", "wide"],
            "primary": "wide_missing",
            "bridge": {"width": 96, "stages": {"arcs": {"samples": 7}}},
            "variants": {"wide": {"width": 192, "stages": {"missing": {"samples": 9}}}},
        }
    )
    wide = config.system("wide")
    assert (wide.width, wide.depth) == (192, config.bridge.depth)
    assert (wide.stages.arcs.samples, wide.stages.missing.samples) == (7, 9)
    assert config.system("bridge") is config.bridge
    assert config.bridge.width == 96


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ({"wide": {"width": 100}}, "variants.wide.width: expected a multiple of heads = 12, found 100"),
        ({"wide": {"wdith": 96}}, "variants.wide.wdith: unknown key"),
        ({"wide": {"sampler": {"nfe": 0}}}, "variants.wide.sampler.nfe"),
        ({"bridge": {}}, "variants.bridge: expected another name than that of a section"),
        ({"a_b": {}}, "variants"),
    ],
)
def test_an_impossible_variant_is_named(variants: dict[str, Any], expected: str) -> None:
    assert expected in message({"variants": variants})
