"""The published networks at full size: a training step as the stages take it, saved, loaded, used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_sets import count, parameter_groups, stir
from torch import Tensor
from training_setups import bridge_stage

from pipeline.config.bridge import BridgeSampler, BridgeSection
from pipeline.config.training import TrainingSection
from pipeline.config.vae import VaeSection
from pipeline.jobs.seeds import seeded
from pipeline.models.factory import build_vae
from pipeline.models.files import load_system, load_vae, model_config, save_model
from pipeline.models.spaces import Codec
from pipeline.models.system import System
from pipeline.shards.batches import Sample, assemble
from pipeline.training.bridge import BridgeTask
from pipeline.training.vae import VaeTask

pytestmark = pytest.mark.slow
SIZE, FACTOR, CPU = 96, 16, torch.device("cpu")


class Patches:
    """What a task asks of its shards: their number, grid and statistics."""

    manifest: Mapping[str, Any] = {"grid": {"size_px": SIZE, "factor": FACTOR, "halo_px": 0, "pixel_m": 20.0}}
    statistics: Mapping[str, float] = {"residual_px": 0.4}

    def __len__(self) -> int:
        return 2


def sample(seed: int, images: int) -> Sample:
    """A hill with random shadows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE + 2, : SIZE + 2]
    surface = (200 * np.sin(x / 20 + seed) * np.cos(y / 30) + rng.normal(size=x.shape)).astype("f4")
    inner = surface[1:-1, 1:-1]
    cells = inner.reshape(SIZE // FACTOR, FACTOR, SIZE // FACTOR, FACTOR).mean(axis=(1, 3))
    suns = rng.normal(size=(images, 3))
    suns[:, 2] = 1.0
    suns /= np.linalg.norm(suns, axis=1, keepdims=True)
    visible = (255 * (rng.random((images, SIZE, SIZE)) < 0.8)).astype(np.uint8)
    return Sample(surface, cells.astype("f4"), visible, suns, None, 20.0)


def changed(before: Mapping[str, Tensor], module: torch.nn.Module) -> float:
    """Share of a module's parameters that moved."""
    moved = sum(int((before[name] != p).sum()) for name, p in module.named_parameters())
    return moved / count(module)


def copied(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def save_vae(vae: torch.nn.Module, section: VaeSection, path: Path) -> None:
    config = {"kind": "vae", "key": "0" * 12, "section": section.model_dump(mode="json"), "grid": {}}
    save_model(path, vae.state_dict(), config)


def test_the_vae_and_its_critic_take_a_step_and_come_back_from_disk(tmp_path: Path) -> None:
    section = VaeSection(gan_start_samples=0)
    task = VaeTask(section, TrainingSection(cpu_threads=1), Patches(), CPU)  # type: ignore[arg-type]
    vae, critic = task.modules["model"], task.modules["critic"]
    assert (count(vae), count(critic)) == (20_943_269, 6_958_913)
    before = copied(vae), copied(critic)
    losses = task.step([sample(0, 0)], [0], seen=0)
    assert set(losses) == {"loss", "reconstruction", "kl", "generator", "critic"}
    assert all(math.isfinite(v) for v in losses.values())
    assert changed(before[0], vae) > 0.99
    assert changed(before[1], critic) > 0.99
    save_vae(vae, section, tmp_path / "model.safetensors")
    loaded = load_vae(tmp_path / "model.safetensors").vae
    z = torch.randn(1, 4, 12, 12)
    with torch.no_grad():
        assert torch.equal(loaded.decode(z), task.vae.decode(z))


def test_the_bridge_takes_a_step_comes_back_from_disk_and_draws_terrain(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae_section = VaeSection()
    vae = build_vae(vae_section)
    save_vae(vae, vae_section, tmp_path / "vae" / "model.safetensors")
    codec = Codec(vae.eval().requires_grad_(False), vae_section)
    section = BridgeSection()
    system = System(section, SIZE, FACTOR, 1.0, codec)
    assert count(system.network) == 152_028_524
    groups = {name: round(n / 1e6, 1) for name, n in parameter_groups(system.network).items()}  # type: ignore[arg-type]
    assert groups == {"core": 65.8, "lr": 43.1, "images": 43.1}

    # Nothing that starts at zero may keep a gradient from the rest.
    stir(system.network, amount=0.02)
    task = BridgeTask(bridge_stage({}), system, Patches(), CPU)  # type: ignore[arg-type]
    before = copied(system.network)
    losses = task.step([sample(0, 4), sample(1, 3)], [0, 1], seen=0)
    assert math.isfinite(losses["loss"])
    assert changed(before, system.network) > 0.99
    del before

    config = {
        "kind": "bridge",
        "key": "0" * 12,
        "stage": "fibonacci",
        "section": section.model_dump(mode="json"),
        "grid": dict(Patches.manifest["grid"]),
        "state_scale": 1.0,
        "residual_scale": 1.0,
        "vae_fingerprint": model_config(tmp_path / "vae" / "model.safetensors", "vae")["fingerprint"],
    }
    save_model(tmp_path / "bridge" / "model.safetensors", system.network.state_dict(), config)
    loaded = load_system(tmp_path / "bridge" / "model.safetensors", tmp_path / "vae" / "model.safetensors")
    batch = assemble([sample(2, 4)], 0, FACTOR, task.photometry)
    how = BridgeSampler(nfe=2)
    clones = [s.eval().sample(batch, 2, [seeded(0)], how) for s in (system, loaded)]
    assert clones[0].shape == (1, 2, SIZE, SIZE)
    assert torch.equal(*clones)
