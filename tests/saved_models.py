"""Small models that nobody trained, saved as the pipeline saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.config.bridge import BridgeSection
from pipeline.config.rivals import GanSection, GuidedSection, RegressionSection, SiranSection
from pipeline.config.stochastic import DiffusionSection, YasudaSection
from pipeline.config.vae import VaeSection
from pipeline.models.factory import build_vae
from pipeline.models.files import load_vae, model_config, save_model
from pipeline.models.gan import Gan
from pipeline.models.guided import DeformableKernels
from pipeline.models.regression import Regression
from pipeline.models.rivals import weights_config
from pipeline.models.siran import Siran
from pipeline.models.stochastic import DiffusionNetwork, InterpolantNetwork
from pipeline.models.system import System

ALIGNED = {
    "space": "pixel",
    "target": "residual",
    "conditioning": "aligned",
    "network": "unet",
    "height_unit": "pixel",
    "base": 8,
    "score": "crps",
    "posterior_mean": True,
    "keep_block_means": True,
    "state_scale": 0.25,
}

#: Changes that make it a latent bridge.
LATENT = {"space": "latent", "target": "dem", "posterior_mean": False, "keep_block_means": False}

ADVERSARIAL = {"width": 8, "growth": 4, "blocks": 1, "critic_base": 2}
_STOCHASTIC = {"widths": [8, 32], "embedding": 16, "unit_px": 1.0}
#: Section, network and small sizes of each learned rival.
RIVALS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "regression": (RegressionSection, Regression, {}),
    "guided": (GuidedSection, DeformableKernels, {}),
    "gan": (GanSection, Gan, ADVERSARIAL),
    "siran": (SiranSection, Siran, ADVERSARIAL),
    "yasuda": (YasudaSection, InterpolantNetwork, _STOCHASTIC),
    "diffusion": (DiffusionSection, DiffusionNetwork, _STOCHASTIC),
}
#: Grid of the small models.
GRID = {"size_px": 32, "factor": 8, "pixel_m": 40.0, "halo_px": 16}


def save_rival(folder: Path, name: str = "gan", seed: int = 0, **options: Any) -> Path:
    """Save a small rival with random weights; give back its folder."""
    kind, build, sizes = RIVALS[name]
    section = kind(**{**sizes, **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build(section, GRID["size_px"], GRID["factor"]).state_dict()
    config = {"key": "0123456789ab", **weights_config(name, section, GRID)}
    save_model(folder / "model.safetensors", state, config)
    return folder


def save_system(
    folder: Path,
    seed: int = 0,
    size_px: int = 32,
    factor: int = 8,
    lr_halo_px: int = 16,
    pixel_m: float = 40.0,
    vae: Path | None = None,
    noise: float = 0.02,
    **section: Any,
) -> Path:
    """Save the architecture of the shipped model, made small, with random weights; give back its folder.

    The less `noise` is added to the initial weights, the nearer is the estimate to a bicubic.
    """
    bridge = BridgeSection(**{**ALIGNED, "lr_halo_px": lr_halo_px, **section})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        system = System(bridge, size_px, factor, 0.25, load_vae(vae) if vae else None)
        for parameter in system.network.parameters():  # those that start at zero have influence too
            parameter.data += noise * torch.randn(parameter.shape)
    grid = {"size_px": size_px, "factor": factor, "pixel_m": pixel_m, "halo_px": lr_halo_px}
    config = {
        "kind": "bridge",
        "key": "0123456789ab",
        "stage": "missing",
        "section": bridge.model_dump(mode="json"),
        "grid": grid,
        "state_scale": 0.25,
        "residual_scale": 1.0,
        "vae_fingerprint": model_config(vae, "vae")["fingerprint"] if vae else None,
    }
    save_model(folder / "model.safetensors", system.network.state_dict(), config)
    return folder


def save_vae(folder: Path, seed: int = 0, **section: Any) -> Path:
    """Save a small VAE with random weights; give back its safetensors file."""
    vae = VaeSection(**{"base": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 2, **section})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build_vae(vae).state_dict()
    config = {"kind": "vae", "key": "ba9876543210", "section": vae.model_dump(mode="json"), "grid": {}}
    save_model(folder / "model.safetensors", state, config)
    return folder / "model.safetensors"


def save_each_kind(folder: Path) -> None:
    """Save a model (``w``), a GAN (``gan``), and a latent bridge (``l``) with its VAE (``v``)."""
    save_system(folder / "w")
    save_rival(folder / "gan")
    save_vae(folder / "v", height_unit="pixel")
    save_system(folder / "l", seed=2, vae=folder / "v" / "model.safetensors", **LATENT)
