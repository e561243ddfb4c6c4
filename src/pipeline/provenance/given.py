"""Given weights (``pretrained``, of rivals, and ``init``): checks against the config, and their identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.bridge import SAMPLER_KINDS, SamplerSection, evaluations_wanted
from pipeline.config.pretrained import PretrainedSection, weights_file
from pipeline.config.rivals import RivalSection
from pipeline.config.root import Config, ConfigError
from pipeline.config.shipped import shipped
from pipeline.provenance.digest import DigestMemory
from pipeline.storage.atomic import read_json
from pipeline.storage.calibration_law import FILE as CALIBRATION
from pipeline.storage.calibration_law import read_calibration

SCHEMA = "model/1"


@dataclass(frozen=True)
class GivenWeights:
    """Weights that are used without training.

    Attributes
    ----------
    model : the safetensors file. vae : that of its VAE, or None. calibration : its file, or None.
    identity : what enters the keys: digests, not paths.
    facts : entries for the report.
    """

    model: str
    vae: str | None
    calibration: str | None
    identity: dict[str, str]
    facts: dict[str, Any]

    @property
    def files(self) -> dict[str, list[str]]:
        """Files by role: weights and config of the ``model`` and of its ``vae``, and the ``calibration``.

        Lists of absent roles are empty (e.g. ``vae`` in pixel space).
        """
        return {
            "model": [self.model, _beside(self.model)],
            "vae": [] if self.vae is None else [self.vae, _beside(self.vae)],
            "calibration": [] if self.calibration is None else [self.calibration],
        }


@dataclass(frozen=True)
class InitWeights:
    """Weights that a training starts from.

    Attributes
    ----------
    model : the safetensors file. identity : digests of it and of the config beside it.
    """

    model: str
    identity: dict[str, str]


def _beside(model: str) -> str:
    return Path(model).with_name("config.json").as_posix()


def resolve_given(config: Config, root: Path, memory: DigestMemory) -> GivenWeights | None:
    """Find the given weights and check that they fit the config; None if there are none.

    Raises
    ------
    ConfigError
        If a file is absent or is no model, or its config does not fit: `patches.size_px`, `patches.factor`,
        the halo, the pixel size of a model that is not scale-free, the sampler, the VAE. The message names
        the key, the file, what was expected and what was found.
    """
    section = config.pretrained
    return None if section.weights is None else _bridge("pretrained", section, config, root, memory)


def resolve_rivals(config: Config, root: Path, memory: DigestMemory) -> dict[str, GivenWeights]:
    """Find the given weights of the scored rivals, by name: further bridges, and learned rivals.

    Raises
    ------
    ConfigError
        As `resolve_given`; also if weights are those of another rival, or a key of the config differs from
        the one that they were trained with.
    """
    section, out = config.predictors, {}
    for name in section.scored:
        if name in section.bridges:
            out[name] = _bridge(f"predictors.bridges.{name}", section.bridges[name], config, root, memory)
        elif isinstance(own := section.options(name), RivalSection) and own.weights is not None:
            key = f"predictors.{'variants.' * (name in section.variants)}{name}"
            out[name] = _rival(key, section.kind(name), own, config, root, memory)
    return out


def _rival(
    key: str, kind: str, section: RivalSection, config: Config, root: Path, memory: DigestMemory
) -> GivenWeights:
    """A learned rival's given weights; `facts` hold the section that they were trained with."""
    assert section.weights is not None
    model, content = _read(f"{key}.weights", section.weights, "rival", root)
    beside = _beside(model)
    if content.get("name") != kind:
        found = f"{content.get('name')!r} in {beside}"
        raise ConfigError.unlike(f"{key}.weights", f"weights of {kind!r}", found)
    _check_sizes(config, beside, content["grid"])
    trained = section.trained().model_dump(mode="json", exclude={"weights"})
    defaults = type(section).model_construct().model_dump(mode="json")
    for field, value in trained.items():
        theirs = content["section"].get(field)
        if value not in (defaults[field], theirs):
            raise ConfigError.unlike(f"{key}.{field}", f"{theirs!r}, as the weights of {beside} have", value)
    facts = {"weights": model, "fingerprint": content.get("fingerprint"), "section": content["section"]}
    return GivenWeights(model, None, None, _digests({"model": model}, root, memory), facts)


def _bridge(
    key: str, section: PretrainedSection, config: Config, root: Path, memory: DigestMemory
) -> GivenWeights:
    """A bridge's given weights; `key` is that of its section."""
    assert section.weights is not None
    model, content = _read(f"{key}.weights", section.weights, "bridge", root)
    parts = {"model": model}
    described = [content["section"]]
    if content["section"]["space"] == "latent":
        if section.vae is None:
            raise ConfigError.unlike(f"{key}.vae", f"the VAE of the latent model {model}", "null")
        vae, codec = _read(f"{key}.vae", section.vae, "vae", root)
        if codec.get("fingerprint") != content.get("vae_fingerprint"):
            wanted = f"the VAE {content.get('vae_fingerprint')} that {model} was trained with"
            raise ConfigError.unlike(f"{key}.vae", wanted, f"{codec.get('fingerprint')} in {vae}")
        parts["vae"] = vae
        described.append(codec["section"])
    elif section.vae is not None:
        wanted = f"null, since {model} works in pixel space"
        raise ConfigError.unlike(f"{key}.vae", wanted, repr(section.vae))
    _check_grid(config, _beside(model), content, [s["height_unit"] for s in described])
    _check_sampler(config, key, section.sampler, _beside(model), content["section"])
    identity = _digests(parts, root, memory)
    calibration = _calibration(key, model, content, root)
    if calibration is not None:
        identity["model.calibration"] = f"sha256:{memory.sha256(root / calibration)}"
    grid = content["grid"]
    facts = {
        # As given: a wheel has them in another place.
        "weights": weights_file(section.weights).as_posix(),
        "vae": parts.get("vae"),
        "sha256": identity["model.weights"].partition(":")[2],
        "fingerprint": content.get("fingerprint"),
        "stage": content.get("stage"),
        "training key": content.get("key"),
        "pixel size in training (m)": grid.get("pixel_m"),
        "calibrated": calibration is not None,
        "scale-free": all(s["height_unit"] == "pixel" for s in described),
    }
    return GivenWeights(model, parts.get("vae"), calibration, identity, facts)


def _calibration(key: str, model: str, content: Mapping[str, Any], root: Path) -> str | None:
    """The calibration beside the model, checked; None where there is none."""
    path = Path(model).with_name(CALIBRATION)
    if not (root / path).is_file():
        return None
    try:
        read_calibration(root / path, str(content.get("fingerprint")))
    except ValueError as error:
        raise ConfigError(f"config: {key}.weights: {error}") from None
    return path.as_posix()


def resolve_init(config: Config, root: Path, memory: DigestMemory) -> dict[str, InitWeights]:
    """Find the weights that the trained systems start from, by system.

    Raises
    ------
    ConfigError
        If a file is absent or is no bridge; the message names the key and the file.
    """
    out = {}
    for name in config.systems:
        given = config.system(name).init
        if given is not None:
            own = name not in config.variants or "init" in config.variants[name]
            key = f"{'variants.' * (name in config.variants)}{name}.init" if own else "bridge.init"
            model, _ = _read(key, given, "bridge", root)
            out[name] = InitWeights(model, _digests({"model": model}, root, memory))
    return out


def _digests(parts: Mapping[str, str], root: Path, memory: DigestMemory) -> dict[str, str]:
    """Digests of models, by name, and of the configs beside them."""
    return {
        f"{name}.{kind}": f"sha256:{memory.sha256(root / path)}"
        for name, file in parts.items()
        for kind, path in (("weights", file), ("config", _beside(file)))
    }


def _read(key: str, given: str, kind: str, root: Path) -> tuple[str, dict[str, Any]]:
    """Path of a model's weights, and the config beside them."""
    model = weights_file(shipped(given, root))
    for path, what in ((model, "model weights"), (model.with_name("config.json"), "the model's config")):
        if not (root / path).is_file():
            wanted = f"{what} (safetensors with a config.json beside it)"
            raise ConfigError.unlike(key, wanted, f"no file {path.as_posix()!r}")
    beside = _beside(model.as_posix())
    try:
        content = read_json(root / beside, SCHEMA)
    except ValueError as error:
        raise ConfigError(f"config: {key}: {error}") from None
    if content.get("kind") != kind:
        raise ConfigError.unlike(key, f"a model of kind {kind!r}", f"{content.get('kind')!r} in {beside}")
    entries: dict[str, set[str]] = {"section": set() if kind == "rival" else {"height_unit"}}
    if kind == "bridge":
        entries["section"] |= {"space", "process", "steps", "lr_halo_px"}
    if kind != "vae":
        entries["grid"] = {"size_px", "factor", "pixel_m"}
    for name, keys in entries.items():
        if not (isinstance(content.get(name), Mapping) and keys <= content[name].keys()):
            found = f"a section or grid with missing entries in {beside}"
            raise ConfigError.unlike(key, "a model saved by this project", found)
    return model.as_posix(), content


def _check_grid(config: Config, file: str, content: Mapping[str, Any], units: list[str]) -> None:
    """The config's patches must be those that the network was built for."""
    grid, patches = content["grid"], config.patches
    _check_sizes(config, file, grid)
    halo = content["section"]["lr_halo_px"]
    if patches.halo_px < halo:
        wanted = f"at least {halo} px, the lr_halo_px of the model of {file}"
        raise ConfigError.unlike("patches.halo_px", wanted, patches.halo_px)
    pixel = config.inputs.pixel_m
    if "km" in units and pixel != grid["pixel_m"]:
        wanted = f"{grid['pixel_m']:g}, since the model of {file} is not scale-free (height_unit: km)"
        raise ConfigError.unlike("inputs.pixel_m", wanted, "null" if pixel is None else f"{pixel:g}")


def _check_sizes(config: Config, file: str, grid: Mapping[str, Any]) -> None:
    """The config's patches must have the size and factor of a model's."""
    patches = config.patches
    for name, found in (("size_px", patches.size_px), ("factor", patches.factor)):
        if found != grid[name]:
            raise ConfigError.unlike(f"patches.{name}", f"{grid[name]}, as the model of {file} has", found)


def _check_sampler(
    config: Config, key: str, sampler: SamplerSection, file: str, section: Mapping[str, Any]
) -> None:
    """The sampler must exist for the model's process, also with each condition's network evaluations."""
    process = section["process"]
    kinds = SAMPLER_KINDS.get(process, ())
    if sampler.kind not in kinds:
        possible = f"one of {', '.join(kinds)} with process {process!r} of {file}"
        raise ConfigError.unlike(f"{key}.sampler.kind", possible, repr(sampler.kind))
    asked = {f"evaluation.conditions.{name}": c.nfe for name, c in config.evaluation.conditions.items()}
    for where, nfe in {f"{key}.sampler": sampler.nfe, **asked}.items():
        wanted = None if nfe is None else evaluations_wanted(nfe, sampler.kind, process, section["steps"])
        if wanted:
            raise ConfigError(f"config: {where}.nfe: {wanted} of {file}, found {nfe}")
