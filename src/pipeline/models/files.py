"""Weights on disk: safetensors for the numbers, JSON for their configuration."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline.config.bridge import SAMPLER_KINDS, BridgeSection, any_sampler
from pipeline.config.vae import VaeSection
from pipeline.models.factory import build_vae
from pipeline.models.spaces import Codec
from pipeline.models.system import System
from pipeline.storage.atomic import read_json, replacing, write_json

S = TypeVar("S", BridgeSection, VaeSection)
_ENTRIES = {"vae": (), "bridge": ("grid", "state_scale", "residual_scale", "vae_fingerprint")}


def fingerprint(state: dict[str, Tensor]) -> str:
    """First 16 hex digits of the sha256 over names, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_model(path: Path | str, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write ``model.safetensors`` and, beside it, ``config.json`` with the fingerprint of the weights."""
    path = Path(path)
    clean = {name: value.detach().cpu().contiguous() for name, value in sorted(state.items())}
    mark = fingerprint(clean)
    with replacing(path) as temporary:
        temporary.write_bytes(save(clean, metadata={"fingerprint": mark}))
    write_json(path.with_name("config.json"), {"schema": "model/1", "fingerprint": mark, **config})


def read_state(path: Path | str, expected: str | None = None) -> dict[str, Tensor]:
    """Read weights by name.

    Raises
    ------
    ValueError
        If the file is absent, is not safetensors, or has another fingerprint.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: expected model weights, found no file")
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a whole safetensors file, found another kind ({error})") from None
    if expected is not None and fingerprint(state) != expected:
        raise ValueError(
            f"{path}: expected weights with fingerprint {expected} (config.json beside it), "
            f"found {fingerprint(state)}"
        )
    return state


def load_state(path: Path | str, module: nn.Module, expected: str | None = None) -> None:
    """Load weights into a module.

    Raises
    ------
    ValueError
        If the file is absent, is not safetensors, does not fit the module, or has another fingerprint.
    """
    state = read_state(path, expected)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{path}: expected weights of the configured network, found others: {first}"
        ) from None


def model_config(path: Path | str, kind: str) -> dict[str, Any]:
    """Read the ``config.json`` beside a model's weights and check its kind.

    Raises
    ------
    ValueError
        If the file is absent, is no model's config, or is that of another kind of model.
    """
    beside = Path(path).with_name("config.json")
    if not beside.is_file():
        raise ValueError(f"{beside}: expected the config of {Path(path).name}, found no file")
    config = read_json(beside, "model/1")
    if config.get("kind") != kind:
        raise ValueError(f"{beside}: expected a model of kind {kind!r}, found {config.get('kind')!r}")
    return config


def _section(path: Path | str, config: dict[str, Any], kind: type[S]) -> S:
    """The config section that a model was built from, after a check for all entries that a loader needs."""
    beside = Path(path).with_name("config.json")
    for name in ("section", "fingerprint", *_ENTRIES[config["kind"]]):
        if name not in config:
            raise ValueError(f"{beside}: expected an entry {name!r}, found none")
    section = config["section"]
    if config["kind"] == "bridge" and isinstance(section, dict) and section.get("process") in SAMPLER_KINDS:
        section = {"sampler": any_sampler(section["process"]), **section}  # a training names none
    try:
        return kind.model_validate(section)
    except ValidationError as error:
        raise ValueError(
            f"{beside}: expected a section {config['kind']!r}, found {str(error).splitlines()[0]}"
        ) from None


def load_vae(path: Path | str, device: torch.device | str = "cpu") -> Codec:
    """Load a trained VAE, frozen and in evaluation mode.

    Raises
    ------
    ValueError
        If the weights or their config are absent, or do not fit each other.
    """
    config = model_config(path, "vae")
    section = _section(path, config, VaeSection)
    vae = build_vae(section)
    load_state(path, vae, config["fingerprint"])
    return Codec(vae.to(device).eval().requires_grad_(False), section)


def load_system(
    path: Path | str, vae_path: Path | str | None = None, device: torch.device | str = "cpu"
) -> System:
    """Load a trained system; latent ones need the VAE that they were trained with.

    Parameters
    ----------
    path, vae_path : weights; their configs are beside them. device : of the system.

    Raises
    ------
    ValueError
        If files do not fit each other; the message names them.
    """
    config = model_config(path, "bridge")
    section = _section(path, config, BridgeSection)
    codec = None
    if section.space == "latent":
        if vae_path is None:
            raise ValueError(f"{path}: expected the VAE of this latent model, found none")
        codec = load_vae(vae_path, device)
        found = model_config(vae_path, "vae")["fingerprint"]
        if found != config["vae_fingerprint"]:
            raise ValueError(
                f"{vae_path}: expected the VAE {config['vae_fingerprint']} that {path} was trained with, "
                f"found {found}"
            )
    grid = config["grid"]
    system = System(
        section, grid["size_px"], grid["factor"], config["state_scale"], codec, config["residual_scale"]
    )
    load_state(path, system.network, config["fingerprint"])
    return system.to(device).eval()
