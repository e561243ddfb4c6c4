"""The loader compared with a raw memory-mapped read of equal size, and the sampler's clones per second.

Rates are those of one core, by CPU time, which other programs on the machine affect least.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import pipeline
from light_storage import make_shard
from light_terrain import terrain
from pipeline.config.arcs import ArcDraw
from pipeline.config.bridge import BridgeSampler, BridgeSection
from pipeline.config.pretrained import PretrainedSampler
from pipeline.config.root import Config
from pipeline.config.stages.shards import ManifestStage
from pipeline.config.vae import VaeSection
from pipeline.jobs.seeds import seeded
from pipeline.models.batch import Batch
from pipeline.models.factory import build_vae
from pipeline.models.spaces import Codec
from pipeline.models.system import System
from pipeline.shards.batches import assemble, read_sample
from pipeline.shards.manifest import write_manifest
from pipeline.shards.scene import ArcScene
from pipeline.shards.shard_set import ShardSet
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.training.order import DataOrder

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "pretrained" / "lola40"
SIZE, FACTOR, IMAGES, BATCH, BATCHES = 96, 16, 20, 16, 4


def random_batch(batch: int, images: int, halo_cells: int = 0) -> Batch:
    """Random numbers with the shapes and units of real batches."""
    cells = SIZE // FACTOR + 2 * halo_cells
    lr = 100 * torch.randn(batch, cells, cells)
    sun = torch.randn(batch, images, 3).abs()
    return Batch(
        dem=None,
        lr=lr,
        prior=prior_from_lr(lr, halo_cells, FACTOR),
        images=0.1 * torch.rand(batch, images, SIZE, SIZE),
        valid=torch.ones(batch, images, SIZE, SIZE, dtype=torch.bool),
        sun=sun / sun.norm(dim=-1, keepdim=True),
        present=torch.ones(batch, images, dtype=torch.bool),
        pixel_m=torch.full((batch,), 40.0),
        reference=torch.zeros(batch),
    )


def best(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each function on one thread; they take turns, and the first round warms up."""
    least = dict.fromkeys(ways, np.inf)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for k in range(rounds + 1):
        for way, work in ways.items():
            began = time.process_time()
            work()
            if k:
                least[way] = min(least[way], time.process_time() - began)
    torch.set_num_threads(threads)
    return least


def loader(config: Config, rounds: int) -> dict[str, float]:
    """Batches of the arcs stage of the config's `bridge`, with the file in the page cache."""
    draw = ArcDraw.model_validate(config.arcs.train.model_dump() | {"images": IMAGES})
    scene = ArcScene(draw, config.arcs.tolerance)
    halo_cells = config.bridge.lr_halo_px // FACTOR
    with tempfile.TemporaryDirectory() as name:
        path = make_shard(Path(name), terrain()[2])
        write_manifest(
            {"train": [str(path)]}, ManifestStage(statistics_patches=2000), Path(name) / "manifest.json"
        )
        shards = ShardSet(Path(name) / "manifest.json", "train")
        order = DataOrder(len(shards), 0)
        numbers = np.arange(BATCH * BATCHES).reshape(BATCHES, BATCH).tolist()

        def read(samples: list[int]) -> list:
            places = [(n, *shards.at(order.patch(n))) for n in samples]
            return [
                read_sample(shard, patch, scene.image_set(shard, patch, order.scene_rng(n)), halo_cells)
                for n, shard, patch in places
            ]

        ready = [read(samples) for samples in numbers]
        shard, _ = shards.at(0)
        # A sample is its DEM window and `IMAGES` packed images of visibility.
        size = shard.dem(0).nbytes + IMAGES * SIZE * SIZE // 8
        raw = np.memmap(path, np.uint8, "r")
        starts = np.random.default_rng(0).integers(0, len(raw) - size, BATCH * BATCHES)

        def batches(prepared: list) -> None:
            for samples in prepared:
                assemble(samples, halo_cells, FACTOR, config.photometry)

        seconds = best(
            {
                "raw": lambda: [np.array(raw[k : k + size]) for k in starts],
                "read": lambda: [read(samples) for samples in numbers],
                "batch": lambda: batches(ready),
                "loader": lambda: batches([read(samples) for samples in numbers]),
            },
            rounds,
        )
    rate = {way: BATCH * BATCHES / s for way, s in seconds.items()}
    print(f"\nloader, batches of {BATCH} with {IMAGES} images per set, {size:,} bytes per sample")
    for way, text in (
        ("raw", "raw memory-mapped copy of as many bytes"),
        ("read", "images drawn, visibility and DEM read and unpacked"),
        ("batch", "radiance and batch of what was read"),
        ("loader", "all of it"),
    ):
        print(f"  {text:52s} {rate[way]:10,.0f} samples/s")
    return {
        "loader_samples_s": round(rate["loader"], 1),
        "loader_read_samples_s": round(rate["read"], 1),
        "loader_batch_samples_s": round(rate["batch"], 1),
        "loader_raw_samples_s": round(rate["raw"]),
        "loader_vs_raw": round(rate["loader"] / rate["raw"], 5),
    }


def sampler(rounds: int) -> dict[str, float]:
    """Clones per second of the full-size published system, and of the shipped weights if available."""
    torch.manual_seed(0)
    section = VaeSection()
    codec = Codec(build_vae(section).eval().requires_grad_(False), section)
    systems: dict[str, tuple[System, BridgeSampler, int]] = {
        "published": (System(BridgeSection(), SIZE, FACTOR, 1.0, codec).eval(), BridgeSampler(), 4)
    }
    if (SHIPPED / "model.safetensors").is_file():
        systems["lola40"] = (pipeline.load(SHIPPED), PretrainedSampler(), 16)
    answer: dict[str, float] = {}
    print(f"\nsampler, {IMAGES} images per set, from the condition to metres")
    for name, (system, how, members) in systems.items():
        sets = random_batch(1, IMAGES, system.halo_cells)
        seconds = best(
            {"draw": lambda: system.sample(sets, members, [seeded(0)], how)},  # noqa: B023
            min(rounds, 3),
        )["draw"]
        count = sum(p.numel() for p in system.network.parameters())
        print(
            f"  {name:10s} {count / 1e6:6.1f} M parameters, {how.nfe} evaluations, {members} clones at once: "
            f"{members / seconds:6.2f} clones/s"
        )
        answer[f"{name}_clones_s"] = round(members / seconds, 2)
    return answer
