"""Small trainings on small shards. Run as a script, it is one process of a training, or serves many."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.config.bridge import BridgeSection
from pipeline.config.predictors import PredictorsSection
from pipeline.config.rivals import RivalSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import BridgeStage, RivalStage, VaeStage
from pipeline.config.training import OptimiserSection, TrainingSection
from pipeline.config.vae import VaeSection
from pipeline.jobs.job import job
from pipeline.models.system import System, state_scale
from pipeline.shards.shard_set import ShardSet
from pipeline.training.bridge import BridgeTask, train_bridge
from pipeline.training.diffusion import DiffusionTask
from pipeline.training.gan import GanTask
from pipeline.training.guided import GuidedTask
from pipeline.training.regression import RegressionTask
from pipeline.training.rivals import RivalTask
from pipeline.training.siran import SiranTask
from pipeline.training.vae import VaeTask
from pipeline.training.yasuda import YasudaTask

CPU = torch.device("cpu")
OPTIMISER = OptimiserSection(samples=32, batch=4, learning_rate=1e-3, warmup_samples=8, decay="cosine")
VAE = VaeSection(
    base=8,
    multipliers=[1, 2],
    blocks=1,
    latent_channels=2,
    gan_start_samples=16,
    gan_base=4,
    gan_layers=1,
    slope_weight=0.1,
    optimiser=OPTIMISER,
    ema=0.9,
)
ALIGNED = {
    "space": "pixel",
    "target": "residual",
    "conditioning": "aligned",
    "network": "unet",
    "lr_halo_px": 8,
    "height_unit": "pixel",
    "base": 8,
    "posterior_mean": True,
    "slope_weight": 0.5,
    "keep_block_means": True,
    "ema": 0.9,
    "clip": 1.0,
}
# Kept block means make the estimate's bias void: its gradient is rounding alone, which Adam makes large.
FREE = {**ALIGNED, "keep_block_means": False}
PUBLISHED = {"width": 32, "depth": 1, "heads": 2}
_SHORT = {"optimiser": OPTIMISER.model_copy(update={"samples": 16}).model_dump(), "ema": 0.9}
_GENERATOR = {"width": 8, "growth": 4, "blocks": 1, "critic_base": 4, **_SHORT}
#: Small learned rivals: the class of their training and the keys of their section.
RIVALS: dict[str, tuple[Callable[..., RivalTask[Any]], dict[str, Any]]] = {
    "regression": (RegressionTask, {"base": 8, **_SHORT}),
    "guided": (GuidedTask, {"base": 8, "slope_weight": 0.5, "loss": "l2", **_SHORT}),
    "siran": (SiranTask, _GENERATOR),
    "gan": (GanTask, {**_GENERATOR, "adversarial_start_samples": 8}),
}
_UNET = {"widths": [8, 16], "embedding": 16, "nfe": 3, "members": 4, **_SHORT}
#: Those that draw members.
STOCHASTIC: dict[str, tuple[Callable[..., RivalTask[Any]], dict[str, Any]]] = {
    "yasuda": (YasudaTask, _UNET),
    "diffusion": (DiffusionTask, _UNET),
}


def bridge_stage(
    bridge: dict[str, Any], stage: str = "fibonacci", optimiser: dict[str, Any] | None = None, **training: Any
) -> BridgeStage:
    """A bridge stage's section, as the plan makes it."""
    first = stage == "fibonacci"
    return BridgeStage.model_validate(
        {
            "bridge": bridge,
            "optimiser": OPTIMISER.model_dump() | (optimiser or {}),
            "stage": stage,
            "training": {"cpu_threads": 1, **training},
            "photometry": {},
            "imperfections": {},
            "images": {"low": 3, "high": 6} if first else None,
            "scenes": {"apriori": "mixed"} if stage.startswith("real") else None,
            "arcs": None
            if first or stage.startswith("real")
            else {"tolerance": 0.1, "train": {"latitude": [60, 85], "images": [3, 6]}},
            "masks": {"half_width_px": [4, 6]} if stage == "missing" else None,
        }
    )


def rival_stage(name: str, options: dict[str, Any], scenes: bool = False, **training: Any) -> RivalStage:
    """A learned rival's section, as the plan makes it."""
    return RivalStage.model_validate(
        {
            "name": name,
            "module": f"pipeline.training.{name}",
            "options": options,
            "training": {"cpu_threads": 1, **training},
            "photometry": {},
            "imperfections": {},
            "arcs": {"tolerance": 0.1, "train": {"latitude": [60, 85], "images": [3, 6]}},
            "masks": {"half_width_px": [4, 6], "share": 0.5},
            "scenes": {"apriori": "mixed"} if scenes else None,
        }
    )


def rival_section(name: str) -> RivalSection:
    """A learned rival's own section with its defaults."""
    return getattr(PredictorsSection(), name)


def rival_task(name: str, manifest: Path, scenes: bool = False, **more: Any) -> RivalTask[Any]:
    """A small learned rival's training, with some keys changed."""
    make, keys = {**RIVALS, **STOCHASTIC}[name]
    section = type(rival_section(name)).model_validate({**keys, **more})
    stage = rival_stage(name, section.model_dump(mode="json"), scenes)
    return make(stage, section, ShardSet(manifest, "train"), CPU)


def vae_stage() -> VaeStage:
    """The VAE's section, as the plan makes it."""
    return VaeStage(vae=VAE, training=TrainingSection(cpu_threads=1))


def vae_task(
    manifest: Path, precision: str = "fp32", section: VaeSection = VAE, device: torch.device = CPU
) -> VaeTask:
    training = TrainingSection.model_validate({"cpu_threads": 1, "precision": precision})
    return VaeTask(section, training, ShardSet(manifest, "train"), device)


def bridge_task(
    manifest: Path,
    bridge: dict[str, Any] = ALIGNED,
    stage: str = "fibonacci",
    precision: str = "fp32",
    device: torch.device = CPU,
) -> BridgeTask:
    section = BridgeSection(**bridge)
    shards = ShardSet(manifest, "train")
    grid = shards.manifest["grid"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        scale = state_scale(section, shards.statistics, grid["pixel_m"])
        system = System(section, grid["size_px"], grid["factor"], scale)
    return BridgeTask(bridge_stage(bridge, stage, precision=precision), system.to(device), shards, device)


def main(manifest: str, out: str, samples: str, checkpoint_minutes: str) -> None:
    """Train the aligned system as its rule does, in a process that can be killed or be one of several."""
    section = bridge_stage(FREE, optimiser={"samples": int(samples)})
    runtime = RuntimeSection(device="cpu", checkpoint_minutes=float(checkpoint_minutes))
    with job(None, cpu_threads=1):
        train_bridge(section, "key", manifest, [], [], runtime, out)


def serve() -> None:
    """For each line of stdin, a JSON list of `main`'s arguments, train in a process of its own.

    Prints the process's number when it starts and its exit code when it ends. Libraries are imported once.
    """
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                main(*json.loads(line))
                code = 0
            finally:
                os._exit(code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main(*sys.argv[1:])
