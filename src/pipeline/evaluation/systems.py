"""Stages ``evaluation_<system>_<stage>``, ``evaluation_pretrained``: clones of every test patch, scored."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.bridge import SamplerSection
from pipeline.config.evaluation import Condition, EvaluationSection
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.runtime import RuntimeSection
from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.per_patch import columns
from pipeline.jobs.device import pick_device
from pipeline.jobs.machine import arithmetic
from pipeline.jobs.progress import track
from pipeline.jobs.seeds import seeded
from pipeline.models.batch import Batch
from pipeline.models.calibration import load_calibrated
from pipeline.models.files import model_config
from pipeline.models.system import System
from pipeline.shards.batches import assemble, read_sample
from pipeline.shards.scene import AllFibonacciScene, Scene, StoredScene
from pipeline.shards.shard_set import ShardSet, chosen
from pipeline.storage.atomic import write_json
from pipeline.storage.store import StoreWriter

_CLONES, _RANKS, _IMPERFECTIONS = 0xC10E5, 0x4A9C, 0x13F3C7
EXAMPLES = 24


def scene_of(condition: Condition) -> Scene:
    """The stored draws, or the Fibonacci images, that a condition names."""
    if condition.light == "fibonacci":
        return AllFibonacciScene()
    return StoredScene(condition.draw, condition.missing)


@dataclass(frozen=True)
class Drawn:
    """Clones of one patch: members (M, P, P) and truth (P, P), metres above the batch's reference."""

    index: int
    patch_id: int
    members: np.ndarray
    batch: Batch
    row: int

    @property
    def truth(self) -> np.ndarray:
        """(P, P) metres above the reference."""
        assert self.batch.dem is not None
        return self.batch.dem[self.row].double().cpu().numpy()

    def field(self, values: Tensor) -> np.ndarray:
        """This patch's row of a batch tensor."""
        return values[self.row].cpu().numpy()


def draw_clones(
    system: System,
    shards: ShardSet,
    condition: Condition,
    section: EvaluationSection,
    photometry: PhotometrySection,
    imperfections: ImperfectionsSection,
    sampler: SamplerSection,
    device: torch.device,
    name: str,
    label: str,
) -> Iterator[Drawn]:
    """Clones of the chosen test patches, one patch at a time.

    A patch's clones depend on the seed and its id alone, not on the batch it is computed in; its images'
    `imperfections`, where the condition asks for them, on the condition's `label` too, and not on the system.
    """
    how = imperfections if condition.imperfections else None
    entropy = [section.seed, _IMPERFECTIONS, zlib.crc32(label.encode())]
    scene = scene_of(condition)
    picked = chosen(len(shards), section.max_patches)
    groups = [picked[i : i + section.batch] for i in range(0, len(picked), section.batch)]
    unused = np.random.default_rng(0)
    for group in track(groups, len(groups), f"{name} {label}: batches of patches"):
        samples, generators, ids = [], [], []
        for index in group:
            shard, patch = shards.at(index)
            images = scene.image_set(shard, patch, unused)
            samples.append(read_sample(shard, patch, images, system.halo_cells))
            ids.append(int(shard.ids[patch]))
            generators.append(seeded(section.seed, _CLONES, ids[-1]))
        rngs = None if how is None else [np.random.default_rng([*entropy, i]) for i in ids]
        batch = assemble(samples, system.halo_cells, system.factor, photometry, device, how, rngs)
        members = system.sample(batch, section.members, generators, sampler).double().cpu().numpy()
        for row, index in enumerate(group):
            yield Drawn(index, ids[row], members[row], batch, row)


def evaluate_system(
    section: str,
    manifest: Path | str,
    model: Path | str,
    vae: list[str],
    calibration: list[str],
    runtime: RuntimeSection,
    out: Path | str,
    examples: Path | str,
) -> None:
    """Score a trained stage, or given weights, under every condition and keep a few patches to look at.

    Parameters
    ----------
    section : the stage's JSON section; ``system`` names given weights, whose path says nothing.
    manifest : of the test shards. model, vae : weights. calibration : of the model's clones, or empty.
    out : JSON part; ``systems`` holds the main condition, ``conditions`` all of them.
    examples : store of patches for the report.
    """
    content: dict[str, Any] = json.loads(section)
    evaluation = EvaluationSection.model_validate(content["evaluation"])
    photometry = PhotometrySection.model_validate(content["photometry"])
    imperfections = ImperfectionsSection.model_validate(content["imperfections"])
    sampler = SamplerSection.model_validate(content["sampler"])
    device = pick_device(runtime.device)
    config = model_config(model, "bridge")
    shards = ShardSet(manifest, "test")
    system = load_calibrated(model, vae[0] if vae else None, device, calibration[0] if calibration else None)
    name = str(content.get("system", Path(model).parent.parent.name))
    rows: dict[str, Any] = {}
    patches: dict[str, Any] = {}
    for label, condition in evaluation.conditions.items():
        how = sampler if condition.nfe is None else sampler.model_copy(update={"nfe": condition.nfe})
        scores = PatchScores(float(shards.manifest["grid"]["pixel_m"]))
        shown: list[Drawn] = []
        ids: list[int] = []
        picked = chosen(len(shards), evaluation.max_patches)
        keep = {picked[k] for k in chosen(len(picked), EXAMPLES)}
        for drawn in draw_clones(
            system, shards, condition, evaluation, photometry, imperfections, how, device, name, label
        ):
            rng = np.random.default_rng([evaluation.seed, _RANKS, drawn.patch_id])
            scores.add_ensemble(drawn.members, drawn.truth, rng)
            ids.append(drawn.patch_id)
            if label == "main" and drawn.index in keep:
                shown.append(drawn)
        patches[label] = {name: columns(scores, ids, arithmetic(device))}
        rows[label] = scores.summary(evaluation.bootstrap, evaluation.seed) | {"nfe": how.nfe}
        if label == "main":
            _write_examples(examples, shown, name, float(shards.manifest["grid"]["pixel_m"]))
    write_json(
        out,
        {
            "schema": "evaluation_part/1",
            "systems": {name: rows["main"]},
            "conditions": {label: {name: row} for label, row in rows.items()},
            "settings": {label: c.model_dump(mode="json") for label, c in evaluation.conditions.items()},
            "models": {name: {"fingerprint": config["fingerprint"], "key": config.get("key")}},
            "patches": patches,
        },
    )


def _write_examples(path: Path | str, shown: list[Drawn], system: str, pixel_m: float) -> None:
    """Store what the report draws: metres above the patch's a priori mean, and one image."""
    fields: dict[str, list[np.ndarray]] = {k: [] for k in ("truth", "prior", "mean", "clone", "std", "image")}
    for drawn in shown:
        fields["truth"].append(drawn.truth)
        fields["prior"].append(drawn.field(drawn.batch.prior))
        fields["mean"].append(drawn.members.mean(axis=0))
        fields["clone"].append(drawn.members[0])
        fields["std"].append(drawn.members.std(axis=0, ddof=1))
        fields["image"].append(drawn.field(drawn.batch.images)[0])
    with StoreWriter(path, "examples", {"pixel_m": pixel_m, "system": system}) as writer:
        writer.write("id", np.array([d.patch_id for d in shown], np.int64), ("patch",))
        for name, values in fields.items():
            writer.write(name, np.stack(values).astype(np.float32), ("patch", "y", "x"))
