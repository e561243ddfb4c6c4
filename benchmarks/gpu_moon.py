"""The network of config/moon_gpu.yaml on scenes that are rendered first: for `benchmarks/gpu.py`.

Calls the stages' own functions with the sections from a plan of the config.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

import pipeline
from gpu_budget import Clock, fitted_scenes
from gpu_readers import Readers
from gpu_train import LEAST_SCORING_S, SCORING, WRITING, Run, fitted, until_told
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.light import FarStage, ScenesStage
from pipeline.config.stages.training import BridgeStage
from pipeline.illumination.far_blocks import write_far
from pipeline.illumination.scenes import render_tile
from pipeline.models.halved import halve
from pipeline.shards.shard_set import ShardSet
from pipeline.storage.atomic import read_json, write_json
from pipeline.training.bridge import train_bridge

#: Share of the remaining time for rendering, and least seconds of rendering, training and scoring.
RENDERING = 0.3
LEAST_S = {"scenes": 60.0, "train": 30.0, "score": 5.0}
#: The same for a rehearsal.
LEAST_SMALL_S = {"scenes": 10.0, "train": 4.0, "score": 1.0}
#: Largest numbers of patches besides the training's; no calibration is fitted here.
VALIDATION, TEST = 8, 64
FEW = {"train": 4, "validation": 1, "test": 1}
RIVALS, OURS = ("bicubic", "bicubic_window", "photometric"), "bridge_real"
NAME = "moon_gpu"
#: Windows of a rehearsal: one each for training, validation and test.
SITES = ("shackleton_rim_40m", "malapert_crater_1_40m", "nobile_rim_1_40m")
SMALL: dict[str, Any] = {
    "split": {"validation_sites": [SITES[1]], "test_sites": [SITES[2]]},
    "patches": {"tiles": 1, "stride_px": 96},
    "scenes": {"sets": 1, "images": 4},
    "training": {"cpu_threads": 1, "precision": "fp32"},
    "bridge": {"base": 8, "stages": {"real": {"batch": 2, "warmup_samples": 0}}},
    "evaluation": {"members": 2, "max_patches": 1},
}


class Moon(Run):
    """One run of the config, in its own folder; see `gpu_train.Run`."""

    overlays = ("moon", NAME)
    small_changes = SMALL

    def __init__(self, work: Path, dem: str, small: bool) -> None:
        super().__init__(work, few(dem) if small else dem, small)
        self.least = LEAST_SMALL_S if small else LEAST_S
        self.rendering_s, self.cores = 0.0, 1
        self.stage = self.section("scenes", ScenesStage)

    def allows(self, part: str, clock: Clock, say: Any) -> bool:
        """Whether enough seconds are left for a part."""
        return clock.allows(f"{NAME} {part}", self.least[part], say)

    # --- terrain to shards ------------------------------------------------------------------------------

    def render(self, say: Any, clock: Clock, others: int) -> bool:
        """Make shards with scenes in a share of the time, unless they exist.

        `others` is the number of cores reserved for other work. Returns False if too little time is left.
        """
        if not self.allows("scenes", clock, say):
            return False
        began = time.monotonic()
        self.rendering_s, self.cores = RENDERING * clock.left, max(1, (os.cpu_count() or 1) - others)
        rendered: dict[str, Any] = {"used_again": True}
        there = (self.work / "manifest_test.json").is_file()
        found = self.prepare()
        if not there:
            scenes = self.stage.scenes
            rendered = {"sets": scenes.sets, "images": scenes.images, "planned_s": round(self.rendering_s, 1)}
        say("scenes", **found, **rendered, cores=self.cores, seconds=round(time.monotonic() - began, 1))
        return True

    def after_split(self) -> None:
        """Keep the patches that can be rendered, evenly spaced; write the far terrain."""
        write_far(self.work / "terrain.json", self.section("far", FarStage).far_cell_px, self.work / "far")
        split = read_json(self.work / "split.json", "split/1")
        ids: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for patch, label in split["patches"].items():
            ids.get(label, []).append(patch)
        most = FEW if self.small else self.most(len(ids["train"]))
        kept = {patch for label, of in ids.items() for patch in spaced(of, most[label])}
        split["patches"] = {k: label for k, label in split["patches"].items() if k in kept}
        write_json(self.work / "split.json", split)
        for tile in self.tiles:
            path = self.tile("selected", tile)
            selected = read_json(path, "selected/1")
            for patch in selected["patches"]:
                patch["kept"] = patch["kept"] and str(patch["id"]) in kept
            write_json(path, selected)

    def most(self, train: int) -> dict[str, int]:
        """Most patches per split; sets the number of image sets per patch."""
        scenes = self.stage.scenes
        patches, sets = fitted_scenes(
            self.rendering_s, self.cores, train + VALIDATION, scenes.sets, scenes.images
        )
        self.stage = self.stage.model_copy(update={"scenes": scenes.model_copy(update={"sets": sets})})
        return {"train": max(1, patches - VALIDATION), "validation": VALIDATION, "test": TEST}

    def far(self) -> tuple[Path, ...]:
        return (self.work / "far",)

    def scenes(self, tile: int, patches: Path, workers: int, far: tuple[Path, ...]) -> Path:
        out = self.tile("scenes", tile)
        workers = max(1, self.cores // len(self.tiles))
        render_tile(patches, self.work / "split.json", self.stage, out, workers, *far)
        return out

    # --- training ---------------------------------------------------------------------------------------

    def train_and_score(self, say: Any, clock: Any, device: torch.device, out: Path) -> None:
        """Train for the remaining time minus that of scoring; write weights in half precision; score them."""
        if not self.allows("train", clock, say):
            return
        readers = None
        if device.type == "cuda":
            readers = Readers(max(2, min(12, (os.cpu_count() or 1) - 2)), self.work / "readers")
        try:
            model = self.trained(say, clock, device, out, readers)
        finally:
            if readers:
                readers.close()
        runtime = RuntimeSection(device=device.type)
        shutil.rmtree(self.work / "parts", ignore_errors=True)  # scores of another run's weights
        for name in (OURS, *RIVALS):
            if self.allows("score", clock, say):
                self.score_one(name, {"model": [str(model)]} if name == OURS else {}, runtime, say)
        if any((self.work / "parts").glob("*.json")):
            self.collect(OURS, "bridge", out)

    def trained(self, say: Any, clock: Any, device: torch.device, out: Path, readers: Readers | None) -> Path:
        """Weights in half precision, loaded again once."""
        manifest, full = self.work / "manifest.json", self.work / "real" / "model.safetensors"
        shutil.rmtree(full.parent, ignore_errors=True)  # an earlier run's checkpoints
        opening = time.monotonic()
        shards = ShardSet(manifest, "train")
        opening = time.monotonic() - opening
        section = self.section("bridge_real", BridgeStage)
        rate, bytes_ = self.measured(section, shards, {}, device, say, readers)
        scoring = max(LEAST_SCORING_S, SCORING * clock.left)
        until = time.monotonic() + clock.left - scoring
        ends = opening + bytes_ / WRITING
        chosen = fitted(section.optimiser, rate, until - time.monotonic() - ends)
        section = section.model_copy(update={"optimiser": chosen})
        runtime = RuntimeSection(device=device.type, checkpoint_minutes=1000)
        work = partial(
            train_bridge, key="key", manifest=manifest, vae=[], previous=[], runtime=runtime, out=full
        )
        began = time.monotonic()
        with readers.in_use() if readers else nullcontext():
            seen = until_told(work, section, chosen, until + 0.3 * scoring - time.monotonic())
        took = round(time.monotonic() - began, 1)
        say("train", stage=OURS, samples=seen, planned=chosen.samples, batch=chosen.batch, seconds=took)
        with (out / "curves.jsonl").open("a", encoding="utf-8") as stream:
            for line in full.with_name("metrics.jsonl").read_text(encoding="utf-8").splitlines():
                stream.write(json.dumps({"stage": OURS, **json.loads(line)}) + "\n")
        half = out / NAME / full.name
        halve(full, half)
        parameters = sum(p.numel() for p in pipeline.load(half).network.parameters())
        say("weights", file=str(half), parameters=parameters, bytes=half.stat().st_size, precision="float16")
        return half


def few(dem: str) -> str | list[str]:
    """One window for each split of a rehearsal, if they exist."""
    windows = [Path(dem).with_name(f"{site}.tif") for site in SITES]
    return [str(path) for path in windows] if all(path.is_file() for path in windows) else dem


def spaced(items: list[str], most: int) -> list[str]:
    """At most `most` items, evenly spaced."""
    count = min(most, len(items))
    return [items[k * len(items) // count] for k in range(count)]
