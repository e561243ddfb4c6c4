"""Stage ``evaluation_floors``: what the VAE alone loses; no latent bridge can do better than its floor."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pipeline.config.evaluation import EvaluationSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.runtime import RuntimeSection
from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.per_patch import columns
from pipeline.jobs.device import pick_device
from pipeline.jobs.machine import arithmetic
from pipeline.jobs.progress import track
from pipeline.models.files import load_vae, model_config
from pipeline.shards.batches import assemble, read_sample
from pipeline.shards.shard_set import ShardSet, chosen
from pipeline.storage.atomic import write_json
from pipeline.training.vae import NO_IMAGES


@torch.no_grad()
def evaluate_floors(
    section: str, manifest: Path | str, vae: Path | str, runtime: RuntimeSection, out: Path | str
) -> None:
    """Score decode(encode(truth)) and decode(encode(bicubic)) against the truth, at the latents' mean.

    Parameters
    ----------
    section : the stage's JSON section. manifest : of the test shards. vae : its weights.
    out : JSON part; the rows stand under ``floors``, since the first of them sees the truth.
    """
    evaluation = EvaluationSection.model_validate(json.loads(section)["evaluation"])
    device = pick_device(runtime.device)
    codec = load_vae(vae, device)
    shards = ShardSet(manifest, "test")
    grid = shards.manifest["grid"]
    scores = {name: PatchScores(grid["pixel_m"]) for name in ("vae_truth", "vae_bicubic")}
    picked = chosen(len(shards), evaluation.max_patches)
    halo_cells = min(2, grid["halo_px"] // grid["factor"]) if codec.section.target == "residual" else 0
    groups = [picked[i : i + evaluation.batch] for i in range(0, len(picked), evaluation.batch)]
    for group in track(groups, len(groups), "floors: batches of patches"):
        samples = [read_sample(*shards.at(i), NO_IMAGES, halo_cells) for i in group]
        batch = assemble(samples, halo_cells, grid["factor"], PhotometrySection(), device)
        assert batch.dem is not None
        for name, dem in (("vae_truth", batch.dem), ("vae_bicubic", batch.prior)):
            again = codec.dem(codec.vae.decode(codec.vae.encode(codec.maps(dem, batch)).mode()), batch)
            for estimate, truth in zip(again.double().cpu().numpy(), batch.dem.double().cpu().numpy()):
                scores[name].add(estimate, truth)
    rows = {name: s.summary(evaluation.bootstrap, evaluation.seed) for name, s in scores.items()}
    places = (shards.at(i) for i in picked)
    ids = [int(shard.ids[patch]) for shard, patch in places]
    config = model_config(vae, "vae")
    write_json(
        out,
        {
            "schema": "evaluation_part/1",
            "floors": rows,
            "patches": {"floor": {name: columns(s, ids, arithmetic(device)) for name, s in scores.items()}},
            "models": {"vae": {"fingerprint": config["fingerprint"], "key": config.get("key")}},
        },
    )
