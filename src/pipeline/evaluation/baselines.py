"""Stage ``evaluation_baselines``: what a DEM is worth without any learning."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pipeline.config.evaluation import EvaluationSection
from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.per_patch import columns
from pipeline.jobs.machine import arithmetic
from pipeline.jobs.progress import track
from pipeline.models.apriori import prior_from_lr
from pipeline.shards.batches import fill_nearest
from pipeline.shards.shard_set import ShardSet, chosen
from pipeline.storage.atomic import write_json
from pipeline.terrain.blocks import block_mean


def evaluate_baselines(section: str, manifest: Path | str, out: Path | str) -> None:
    """Score the published bicubic and the bicubic of the whole window.

    ``bicubic`` upsamples the block means of the patch alone, edges clamped (the published baseline);
    ``bicubic_window`` upsamples those of the patch and its halo, which is the bicubic of the whole window,
    cropped, since the kernel reaches two cells.

    Parameters
    ----------
    section : the stage's JSON section. manifest : of the test shards. out : JSON part to write.
    """
    content = json.loads(section)
    evaluation = EvaluationSection.model_validate(content["evaluation"])
    shards = ShardSet(manifest, "test")
    grid = shards.manifest["grid"]
    size, halo, factor = grid["size_px"], grid["halo_px"], grid["factor"]
    scores = {name: PatchScores(grid["pixel_m"]) for name in ("bicubic", "bicubic_window")}
    picked = chosen(len(shards), evaluation.max_patches)
    ids: list[int] = []
    for index in track(picked, len(picked), "baselines: patches"):
        shard, patch = shards.at(index)
        ids.append(int(shard.ids[patch]))
        dem = shard.dem(patch)
        truth = torch.from_numpy(dem[halo : halo + size, halo : halo + size].astype("f8"))
        lr = block_mean(truth, factor)
        scores["bicubic"].add(prior_from_lr(lr, 0, factor).numpy(), truth.numpy())
        cells = min(2, halo // factor)
        reach = cells * factor
        window = dem[halo - reach : halo + size + reach, halo - reach : halo + size + reach].astype("f8")
        wide = torch.from_numpy(fill_nearest(block_mean(torch.from_numpy(window), factor).numpy()))
        scores["bicubic_window"].add(prior_from_lr(wide, cells, factor).numpy(), truth.numpy())
    rows = {name: s.summary(evaluation.bootstrap, evaluation.seed) for name, s in scores.items()}
    patches = {"main": {name: columns(s, ids, arithmetic()) for name, s in scores.items()}}
    write_json(out, {"schema": "evaluation_part/1", "systems": rows, "patches": patches})
