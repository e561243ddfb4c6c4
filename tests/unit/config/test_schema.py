"""config/schema.json says what the models say, of whole files and of overlays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from pipeline.config.reference import reference
from pipeline.config.root import ConfigError, load_config
from pipeline.config.schema import schema

CONFIG = Path(__file__).resolve().parents[3] / "config"
SHIPPED = sorted(CONFIG.glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    found = json.loads((CONFIG / "schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def mistakes(validator: Draft202012Validator, value: Any) -> list[str]:
    """Paths of the keys that an editor would mark."""
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(value)]


def test_the_schema_is_current() -> None:
    found = json.loads((CONFIG / "schema.json").read_text(encoding="utf-8"))
    assert found == schema(), "run: python -m pipeline.config.schema > config/schema.json"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_pass_each_on_its_own_and_name_the_schema(
    path: Path, validator: Draft202012Validator
) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert mistakes(validator, yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    ("overlay", "key"),
    [
        ("vae: {bse: 3}", "vae"),
        ("vea: {base: 3}", ""),
        ("vae: {base: three}", "vae.base"),
        ("vae: {base: 0}", "vae.base"),
        ("vae: 3", "vae"),
        ("patches: {origin: left}", "patches.origin"),
        ("region: {seed: -1}", "region.seed"),
        ("arcs: {train: {images: [5, 6, 7]}}", "arcs.train.images"),
        ("arcs: {test: {few: {images: many}}}", "arcs.test.few.images"),
        ("variants: {narrow: {widht: 96}}", "variants.narrow"),
        ("variants: {Narrow: {width: 96}}", "variants"),
        ("inputs: {sha256: {a.tif: 5}}", "inputs.sha256.a.tif"),
    ],
)
def test_a_wrong_key_type_or_value_is_marked_as_it_is_refused(
    validator: Draft202012Validator, overlay: str, key: str
) -> None:
    value = yaml.safe_load(overlay)
    assert mistakes(validator, value) == [key]
    with pytest.raises(ConfigError):
        load_config(value)


@pytest.mark.parametrize(
    "overlay",
    [
        "arcs: {train: {images: 5}}",
        "arcs: {train: {images: [5, 6]}}",
        "arcs: {train: {images: {low: 5, high: 6}}}",
        "region: {light: {place: true}}",
        "variants: {narrow: {width: 96}}",
        "scenes: {sets: 1}",
        "split: {index: {train: a.txt}}",
        "bridge: {stages: {real: {batch: 8}}}",
        "{}",
    ],
)
def test_what_an_overlay_may_say_passes(validator: Draft202012Validator, overlay: str) -> None:
    assert mistakes(validator, yaml.safe_load(overlay)) == []


def test_every_key_says_what_it_means() -> None:
    """As the reference does: seeds say nothing, and sections say it themselves."""
    parts = schema()
    silent = [
        f"{name}.{key}"
        for name, part in {"": parts, **parts["$defs"]}.items()
        for key, field in part.get("properties", {}).items()
        if "description" not in field and "$ref" not in field and key != "seed"
    ]
    assert silent == []
    assert all(part.get("description") for part in parts["$defs"].values())
    share = parts["$defs"]["BlockDraw"]["properties"]["share"]
    assert f"| {share['description']} |" in reference()
