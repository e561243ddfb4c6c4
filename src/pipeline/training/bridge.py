"""Stages ``<system>_<stage>``: train a bridge, each stage from the weights of the previous one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.config.names import BRIDGE_STAGES, SCENE_STAGES
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import BridgeStage
from pipeline.illumination.ephemeris import read_track
from pipeline.jobs.device import pick_device
from pipeline.jobs.seeds import seeded
from pipeline.models.files import load_system, load_vae, model_config
from pipeline.models.system import System, state_scale
from pipeline.shards.batches import Sample
from pipeline.shards.scene import AllFibonacciScene, ArcScene, FibonacciScene, Scene
from pipeline.shards.scene_samples import SceneSample
from pipeline.shards.shard_set import ShardSet
from pipeline.training.adam import Adam
from pipeline.training.finish import train_and_write
from pipeline.training.init import scales, start_from
from pipeline.training.loop import average_gradients
from pipeline.training.patches import PatchTask

_INIT = 0xB41D
# Larger than the seeds (32 bits) of all other stages.
_SCENES = 1 << 40
RESIDUAL_SAMPLES = 64


def order_seed(seed: int, stage: str) -> int:
    """Seed of a stage's data order and random numbers; different for each stage and seed."""
    if stage in SCENE_STAGES:
        return _SCENES + seed * 4 + SCENE_STAGES.index(stage)
    return seed * 4 + BRIDGE_STAGES.index(stage) + 1


def training_scene(stage: BridgeStage, track: Sequence[Path | str] = ()) -> Scene:
    """Source of a stage's images, from its section and the Sun's track (one file or none).

    Raises
    ------
    ValueError
        If the section names no images.
    """
    if stage.images is not None:
        return FibonacciScene((int(stage.images.low), int(stage.images.high)))
    if stage.stage == "fibonacci":
        return AllFibonacciScene()
    if stage.arcs is None:
        raise ValueError(f"stage {stage.stage}: expected rendered scenes (section scenes), found none")
    suns = read_track(track[0]) if track else None
    return ArcScene(stage.arcs.train, stage.arcs.tolerance, stage.masks, suns)


class BridgeTask(PatchTask):
    """Training of one stage of one system."""

    def __init__(
        self,
        stage: BridgeStage,
        system: System,
        shards: ShardSet,
        device: torch.device,
        track: Sequence[Path | str] = (),
    ) -> None:
        self.section, self.system = system.section, system
        scene = None if stage.scenes is not None else training_scene(stage, track)
        seed = order_seed(self.section.seed, stage.stage)
        super().__init__(stage, scene, shards, seed, system.halo_cells, self.section.augmentation, device)
        self.modules = {"model": system.network}
        rate, decay = stage.optimiser.learning_rate, self.section.weight_decay
        self.optimisers = {"model": Adam(system.network.parameters(), rate, weight_decay=decay)}

    def residual_std(self, numbers: Sequence[int]) -> float:
        """RMS of truth minus start over the given samples, in units of the state."""
        batch = self._assemble(self.prepare(numbers), numbers)
        return self.system.residual_std(batch, [self.order.noise(n) for n in numbers])

    def step(
        self, prepared: list[Sample] | list[SceneSample], numbers: Sequence[int], seen: int
    ) -> dict[str, float]:
        """Compute radiance and losses, and take an optimiser step with clipped gradients."""
        batch = self.batch(prepared, numbers)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = self.system.losses(batch, [self.order.noise(n) for n in numbers])
        optimiser = self.optimisers["model"]
        optimiser.zero_grad()
        losses["loss"].backward()
        parameters = list(self.system.network.parameters())
        average_gradients(parameters)
        if self.section.clip > 0:
            torch.nn.utils.clip_grad_norm_(parameters, self.section.clip)
        optimiser.step()
        return {name: value.item() for name, value in losses.items()}


def train_bridge(
    section: BridgeStage,
    key: str,
    manifest: Path | str,
    vae: Sequence[str],
    previous: Sequence[str],
    runtime: RuntimeSection,
    out: Path | str,
    track: Sequence[Path | str] = (),
    init: Sequence[str] = (),
) -> None:
    """Train one stage and write ``model.safetensors``, ``config.json`` and ``metrics.jsonl``.

    The config's entry `init` is the fingerprint of the weights from which the first stage started, if any.

    Parameters
    ----------
    section : of the stage. key : its key. manifest : of the training shards.
    vae : weights of the VAE, for latent systems. previous : weights of the previous stage, if any.
    runtime : device and checkpoint interval. out : weights to write; the other files are beside it.
    track : the Sun's track, for arcs with ``place: ephemeris``.
    init : given weights from which a first stage starts, as far as they fit.

    Raises
    ------
    ValueError
        If inputs do not fit each other or a loss is not finite; the message names the file or key.
    """
    bridge = section.bridge
    shards = ShardSet(manifest, "train")
    grid = shards.manifest["grid"]
    device = pick_device(runtime.device)
    codec = load_vae(vae[0], device) if vae else None
    scale, residual = state_scale(bridge, shards.statistics, grid["pixel_m"]), None
    if init and (kept := scales(init[0], bridge)) is not None:
        scale, residual = kept
    if previous:
        system = load_system(previous[0], vae[0] if vae else None, device).train()
        if system.section.trained() != bridge.trained():
            raise ValueError(f"{previous[0]}: expected the weights of this system, found another config")
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeded(bridge.seed, _INIT).initial_seed())
            system = System(bridge, grid["size_px"], grid["factor"], scale, codec, residual or 1.0)
        if init:
            start_from(init[0], system.network)
        system = system.to(device)
    task = BridgeTask(section, system, shards, device, track)
    if bridge.process == "diffusion" and not previous and residual is None:
        system.rescale(task.residual_std(range(RESIDUAL_SAMPLES)))
    # Only what was trained: later stages and the sampler are not part of the weights.
    before = model_config(previous[0], "bridge") if previous else {}
    stages = before["section"]["stages"] if previous else {}
    stages[section.stage] = section.optimiser.model_dump(mode="json")
    config = {
        "kind": "bridge",
        "key": key,
        "stage": section.stage,
        "section": bridge.trained() | {"stages": stages},
        "grid": grid,
        "state_scale": system.state_scale,
        "residual_scale": system.residual_scale,
        "vae_fingerprint": model_config(vae[0], "vae")["fingerprint"] if vae else None,
    }
    started = model_config(init[0], "bridge")["fingerprint"] if init else before.get("init")
    if started is not None:
        config["init"] = started
    train_and_write(task, section.optimiser, bridge.ema, config, runtime, out, f"bridge {section.stage}")
