"""Training of the published system at full size on real terrain in limited time: for `benchmarks/gpu.py`.

Calls the stages' own functions with the sections from a plan of the config.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from configured import ROOT, configured
from gpu_readers import Readers
from pipeline.config.base import Section
from pipeline.config.coverage import CoverageSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.evaluation import CollectStage, PredictorStage
from pipeline.config.stages.light import ArcsStage, MasksStage, VisibilityStage
from pipeline.config.stages.shards import ManifestStage, ShardsStage
from pipeline.config.stages.terrain import PatchesStage, SplitStage, TerrainStage
from pipeline.config.stages.training import BridgeStage, VaeStage
from pipeline.config.training import OptimiserSection
from pipeline.evaluation.collect import collect_metrics
from pipeline.evaluation.stage import evaluate
from pipeline.illumination.arcs import select_arcs
from pipeline.illumination.masks import draw_masks
from pipeline.illumination.trace import trace_tile
from pipeline.models.files import load_vae
from pipeline.models.system import System
from pipeline.provenance.plan import Plan
from pipeline.shards.manifest import write_manifest
from pipeline.shards.shard_set import ShardSet
from pipeline.shards.write import write_shard
from pipeline.terrain.coverage import select_tile
from pipeline.terrain.extract import extract_tile
from pipeline.terrain.index import index_terrain
from pipeline.terrain.split import split_patches
from pipeline.training.bridge import BridgeTask, train_bridge
from pipeline.training.loop import Task, TrainingStopped
from pipeline.training.vae import VaeTask, train_vae

#: Shares of the training time: the VAE, then two stages of the bridge.
SHARES = {"vae": 0.4, "fibonacci": 0.36, "arcs": 0.24}
#: Share of the remaining time for evaluation, and its least seconds.
SCORING, LEAST_SCORING_S = 0.16, 10.0
#: Bytes per second at which a checkpoint and the weights are written at the end of a training.
WRITING = 300e6
WARMUP_STEPS = 3
#: Always scored, with the VAE; and scored at the end while more than `LEAST_S` seconds are left.
ALWAYS, LAST = ("bicubic", "bicubic_window"), ("published_arcs", "photometric", "published_fibonacci")
LEAST_S = 3.0
SPLITS = ("train", "validation")
SMALL = {
    "patches": {"tiles": 2, "stride_px": 96},
    "training": {"cpu_threads": 2, "precision": "fp32"},
    "vae": {"base": 8, "blocks": 1, "optimiser": {"batch": 4}},
    "published": {
        "width": 32,
        "depth": 1,
        "heads": 2,
        "stages": {stage: {"batch": 4} for stage in ("fibonacci", "arcs", "missing")},
    },
    "evaluation": {"members": 2, "max_patches": 2},
}


class Run:
    """One run of the config, in its own folder.

    Parameters
    ----------
    work : folder. dem : paths of DEM windows. small : small networks and few patches.
    """

    overlays: tuple[str, ...] = ("lola40", "lola40_published_gpu")
    small_changes: Mapping[str, Any] = SMALL

    def __init__(self, work: Path, dem: str | list[str], small: bool) -> None:
        self.work, self.small = work, small
        overlays = (ROOT / "config" / f"{name}.yaml" for name in self.overlays)
        changes = self.small_changes if small else {}
        self.config = configured(*overlays, **changes, inputs={"dem": dem})
        self.plan = Plan(self.config)
        self.tiles = range(self.config.patches.tiles)

    def section(self, stage: str, kind: type[Section]) -> Any:
        """A stage's section, typed."""
        return kind.model_validate_json(self.plan[stage].section)

    def tile(self, name: str, tile: int) -> Path:
        """A tile's file."""
        return self.work / f"{name}_{tile:03d}"

    # --- terrain to shards ------------------------------------------------------------------------------

    def prepare(self) -> dict[str, Any]:
        """Make shards and their manifests, all tiles at once, unless they exist; return patches per split."""
        if not (self.work / "manifest_test.json").is_file():
            files = self.plan.files
            terrain = self.section("terrain", TerrainStage)
            index_terrain(files.dem, files.count, terrain, self.work / "terrain.json")
            with processes(min(len(self.tiles), os.cpu_count() or 1)) as each:
                each(self.cut, self.tiles)
                selected = [self.tile("selected", t) for t in self.tiles]
                split_patches(selected, self.section("split", SplitStage), self.work / "split.json")
                self.after_split()
                each(self.light, self.tiles)
            of = {s: [str(self.tile(f"{s}.zarr.zip", t)) for t in self.tiles] for s in (*SPLITS, "test")}
            statistics = self.section("manifest", ManifestStage)
            write_manifest({s: of[s] for s in SPLITS}, statistics, self.work / "manifest.json")
            write_manifest({"test": of["test"]}, ManifestStage(), self.work / "manifest_test.json")
        manifests = (self.work / "manifest.json", self.work / "manifest_test.json")
        counts = [json.loads(path.read_text(encoding="utf-8"))["patches"] for path in manifests]
        return counts[0] | counts[1]

    def after_split(self) -> None:
        """Further preparation before the light of the tiles."""

    def cut(self, tile: int) -> None:
        """Extract and select the patches of one tile."""
        patches = self.tile("patches", tile)
        extract_tile(self.work / "terrain.json", self.section("patches", PatchesStage), tile, patches)
        select_tile(patches, self.section("selected", CoverageSection), self.tile("selected", tile))

    def light(self, tile: int) -> None:
        """Make visibility, draws and shards of one tile."""
        names = ("patches", "selected", "visibility", "arcs", "masks")
        patches, selected, visibility, arcs, masks = (self.tile(name, tile) for name in names)
        split = self.work / "split.json"
        light = self.section("visibility", VisibilityStage)
        workers = max(1, (os.cpu_count() or 1) // len(self.tiles))
        far = self.far()
        trace_tile(patches, selected, light.size_px, light.illumination, visibility, workers, *far)
        scenes = self.scenes(tile, patches, workers, far)
        select_arcs(selected, split, visibility, self.section("arcs", ArcsStage), arcs, [patches])
        draw_masks(arcs, self.section("masks", MasksStage), masks)
        factor = self.section("shards", ShardsStage).factor
        for name in SPLITS:
            out = self.tile(f"{name}.zarr.zip", tile)
            write_shard(name, patches, visibility, split, factor, out, scenes_store=scenes)
        write_shard("test", patches, visibility, split, factor, self.tile("test.zarr.zip", tile), arcs, masks)

    def far(self) -> tuple[Path, ...]:
        """Store of far terrain, if any."""
        return ()

    def scenes(self, tile: int, patches: Path, workers: int, far: tuple[Path, ...]) -> Path | None:
        """Rendered image sets of a tile, if any."""
        return None

    # --- training ---------------------------------------------------------------------------------------

    def train_and_score(self, say: Any, clock: Any, device: torch.device, out: Path) -> None:
        """Train VAE and bridge for the remaining time minus that of scoring; score the results."""
        readers = Readers(max(2, min(12, (os.cpu_count() or 1) - 2)), self.work / "readers")
        try:
            self._train_and_score(say, clock, device, out, readers)
        finally:
            readers.close()

    def _train_and_score(
        self, say: Any, clock: Any, device: torch.device, out: Path, readers: Readers
    ) -> None:
        scoring = max(LEAST_SCORING_S, SCORING * clock.left)
        kind = "cuda" if device.type == "cuda" else "cpu"
        runtime = RuntimeSection(device=kind, checkpoint_minutes=1000)
        manifest = self.work / "manifest.json"
        opening = time.monotonic()
        shards = ShardSet(manifest, "train")
        opening = time.monotonic() - opening  # digests of all shards, which every training computes
        made: dict[str, str] = {}
        rate = 0.0
        for number, (name, share) in enumerate(SHARES.items()):
            later = list(SHARES.values())[number:]
            until = time.monotonic() + (clock.left - scoring) * share / sum(later)
            stage = "vae" if name == "vae" else f"published_{name}"
            section = self.section(stage, VaeStage if name == "vae" else BridgeStage)
            if name != "arcs":  # its steps take as long as those of the previous stage
                rate, bytes_ = self.measured(section, shards, made, device, say, readers)
            optimiser = section.vae.optimiser if name == "vae" else section.optimiser
            ends = opening + bytes_ / WRITING
            chosen = fitted(optimiser, rate, until - time.monotonic() - ends)
            out_file = self.work / name / "model.safetensors"
            if name == "vae":
                vae = section.vae.model_copy(update={"optimiser": chosen})
                section = section.model_copy(update={"vae": vae})
                work = partial(train_vae, key="key", manifest=manifest, runtime=runtime, out=out_file)
            else:
                section = section.model_copy(update={"optimiser": chosen})
                previous = [made["fibonacci"]] if name == "arcs" else []
                work = partial(
                    train_bridge, key="key", manifest=manifest, vae=[made["vae"]], previous=previous,
                    runtime=runtime, out=out_file,
                )  # fmt: skip
            began = time.monotonic()
            with readers.in_use():
                seen = until_told(work, section, chosen, until + 0.3 * scoring - time.monotonic())
            spent = time.monotonic() - began
            made[name] = str(out_file)
            say("train", stage=name, samples=seen, planned=chosen.samples, seconds=round(spent, 1))
            with (out / "curves.jsonl").open("a", encoding="utf-8") as stream:
                for line in out_file.with_name("metrics.jsonl").read_text(encoding="utf-8").splitlines():
                    stream.write(json.dumps({"stage": name, **json.loads(line)}) + "\n")
            self.score(made, runtime, say, clock, out)

    def measured(
        self,
        section: Any,
        shards: ShardSet,
        made: dict[str, str],
        device: torch.device,
        say: Any,
        readers: Readers | None,
    ) -> tuple[float, int]:
        """Samples per second of a stage's own steps, loader included, and bytes of a checkpoint and weights.

        Without `readers` one thread reads.
        """
        if isinstance(section, VaeStage):
            vae_task = VaeTask(section.vae, section.training, shards, device)
            task: Any = vae_task
            batch = section.vae.optimiser.batch
        else:
            grid = shards.manifest["grid"]
            codec = load_vae(made["vae"], device) if section.bridge.space == "latent" else None
            torch.manual_seed(0)
            system = System(section.bridge, grid["size_px"], grid["factor"], 1.0, codec).to(device)
            task = BridgeTask(section, system, shards, device)
            batch = section.optimiser.batch
        name = "vae" if isinstance(section, VaeStage) else "bridge"
        for threads in (1, 4) if readers else ():
            say("loader", stage=name, threads=threads, samples_s=round(loading(task, batch, threads), 1))
        rate = stepping(task, batch, seconds=2.0 if readers else 0.5)
        say("training steps", stage=name, batch=batch, readers="one thread", samples_s=round(rate, 1))
        if readers:
            with readers.in_use():
                rate = loading(task, batch, 2)
                say("loader", stage=name, processes=readers.processes, samples_s=round(rate, 1))
                rate = stepping(task, batch, seconds=3.0)
            how = f"{readers.processes} processes"
            say("training steps", stage=name, batch=batch, readers=how, samples_s=round(rate, 1))
        # Weights, their moving average, two averages of the optimiser, and the written weights.
        size = 5 * 4 * sum(p.numel() for p in task.modules["model"].parameters())
        del task
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return rate, size

    # --- scores -----------------------------------------------------------------------------------------

    def score(self, made: dict[str, str], runtime: RuntimeSection, say: Any, clock: Any, out: Path) -> None:
        """Score trained weights without scores, and their rivals, with complete images; merge all parts."""
        newest = list(made)[-1]
        wanted = {"vae": (*ALWAYS, "vae_bicubic", "vae_truth"), "fibonacci": (), "arcs": LAST}[newest]
        for name in wanted:
            if clock.left < LEAST_S and name not in ALWAYS:
                say("not scored", predictor=name, left_s=round(clock.left, 1))
                continue
            files = {"vae": [made["vae"]] if "vae" in name or "published" in name else []}
            if name.startswith("published_"):
                files["model"] = [made[name.removeprefix("published_")]]
            self.score_one(name, files, runtime, say)
        scored = (self.work / "parts" / f"{LAST[0]}.json").is_file()
        self.collect(LAST[0] if scored else ALWAYS[0], "published", out)

    def score_one(self, name: str, files: dict[str, list[str]], runtime: RuntimeSection, say: Any) -> None:
        """Score one predictor, with its weights, with complete images."""
        section = self.section(f"evaluation_{name}", PredictorStage)
        main = {k: v for k, v in section.conditions.items() if k == "main"}
        section = section.model_copy(update={"conditions": main})
        began = time.monotonic()
        part = self.work / "parts" / f"{name}.json"
        evaluate(section, self.work / "manifest_test.json", files, runtime, part)
        row = next(iter(json.loads(part.read_text(encoding="utf-8"))["rows"].values()))
        told = {k: row.get(k) for k in ("rmse_m", "slope_deg", "crps_fair_m", "n_patches")}
        say("score", predictor=name, **told, seconds=round(time.monotonic() - began, 1))

    def collect(self, primary: str, system: str, out: Path) -> None:
        """Merge all existing parts."""
        parts = sorted((self.work / "parts").glob("*.json"))
        files = (out / "metrics.json", out / "metrics.csv", self.work / "patches.csv")
        collect_metrics(CollectStage(primary=primary, systems=[system]), parts, *files)


@contextmanager
def processes(count: int) -> Iterator[Callable[[Callable[[int], None], range], list[None]]]:
    """Context with a function that works on numbers in `count` processes, or in this one."""
    if count < 2:
        yield lambda work, numbers: list(map(work, numbers))
        return
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        yield lambda work, numbers: list(pool.map(work, numbers))


def fitted(optimiser: OptimiserSection, rate: float, seconds: float) -> OptimiserSection:
    """The optimiser with as many samples as time allows, in whole batches; warm-up is at most a tenth."""
    samples = max(2, int(0.93 * rate * seconds / optimiser.batch)) * optimiser.batch
    warmup = min(optimiser.warmup_samples, samples // 10)
    return optimiser.model_copy(update={"samples": samples, "warmup_samples": warmup})


def stepping(task: Task, batch: int, seconds: float) -> float:
    """Samples per second of a task, read one step ahead as in training; the first steps warm up."""
    began, number = 0.0, 0
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(task.prepare, range(batch))
        while True:
            numbers = range(number * batch, (number + 1) * batch)
            prepared = ahead.result()
            ahead = thread.submit(task.prepare, range(numbers.stop, numbers.stop + batch))
            task.step(prepared, numbers, 0)
            number += 1
            now = time.monotonic()
            if number == WARMUP_STEPS:
                began = now
            elif number > WARMUP_STEPS and now - began > seconds:
                return (number - WARMUP_STEPS) * batch / (now - began)


def loading(task: Task, batch: int, threads: int, seconds: float = 1.0) -> float:
    """Samples per second read by some threads."""
    each = max(1, batch // threads)
    jobs = [range(k, k + each) for k in range(0, batch, each)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(task.prepare, jobs))  # opens files and fills the page cache
        done, began = 0, time.monotonic()
        while time.monotonic() - began < seconds:
            done += sum(len(read) for read in pool.map(task.prepare, jobs))
    return done / (time.monotonic() - began)


@contextmanager
def asked_after(seconds: float) -> Iterator[None]:
    """Ask this process to stop, like a cluster, unless the block ends before."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # ignored if no training handles it
    timer = threading.Timer(max(1.0, seconds), os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


def until_told(work: Callable[..., None], section: Any, optimiser: OptimiserSection, seconds: float) -> int:
    """Train; when the time is over, stop and write the current weights. Returns the samples seen."""
    try:
        with asked_after(seconds):
            work(section)
        return optimiser.samples
    except TrainingStopped as stopped:
        short = {"samples": stopped.samples}
        if isinstance(section, VaeStage):
            vae = section.vae.model_copy(update={"optimiser": optimiser.model_copy(update=short)})
            section = section.model_copy(update={"vae": vae})
        else:
            section = section.model_copy(update={"optimiser": optimiser.model_copy(update=short)})
        work(section)
        return stopped.samples
