"""Stages ``calibration_<system>_<stage>``: how wide clones must be spread, fitted on validation patches."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.atomic import write_json
from pipeline.config.calibration import SCHEMA
from pipeline.config.light import ArcDraw
from pipeline.config.models import SamplerSection
from pipeline.config.photometry import PhotometrySection
from pipeline.config.runtime import RuntimeSection
from pipeline.evaluation.metrics import js_distance_from_uniform, ranks
from pipeline.illumination.ephemeris import read_track
from pipeline.models.files import load_system, model_config
from pipeline.provenance.progress import track
from pipeline.shards.scene import ArcScene
from pipeline.shards.shard_set import ShardSet
from pipeline.training.batches import assemble, read_sample
from pipeline.training.loop import pick_device
from pipeline.training.order import seeded

logger = logging.getLogger(__name__)

Floats = NDArray[np.floating[Any]]
_SCENE, _CLONES, _FACTORS, _RANKS = 0xCA11B, 0xCA11C, 0xCA11E, 0xCA11F
MEMBERS = 16
#: Image sets drawn for each validation patch.
SETS = 2
BATCH = 16
#: Draws of the factors over which moments are averaged.
REPLICATES = 16
#: Ranks are counted at every so many rows and columns: neighbours are off together.
RANK_STEP = 4
#: Widths of the factor's law that are tried.
LOG_SPREADS = tuple(round(0.1 * k, 1) for k in range(13))


@dataclass(frozen=True)
class Departures:
    """What is needed of the clones of one patch and image set, in pixels of height.

    Attributes
    ----------
    gram : (M, M) mean over pixels of the products of two clones' departures from the estimate.
    cross : (M,) mean over pixels of departure times error of the estimate.
    error : mean over pixels of the estimate's squared error.
    members, truth : (M, n), (n,) departures, and truth minus estimate, at the pixels whose ranks count.
    """

    gram: Floats
    cross: Floats
    error: float
    members: Floats
    truth: Floats


def departures(members: Floats, estimate: Floats, truth: Floats) -> Departures:
    """Sum up (M, P, P) clones beside (P, P) estimate and truth."""
    away = (members - estimate).reshape(len(members), -1)
    off = (estimate - truth).ravel()
    every = np.zeros(truth.shape, bool)
    every[RANK_STEP // 2 :: RANK_STEP, RANK_STEP // 2 :: RANK_STEP] = True
    kept = every.ravel()
    return Departures(
        gram=away @ away.T / away.shape[1],
        cross=away @ off / len(off),
        error=float(np.mean(off**2)),
        members=away[:, kept],
        truth=-off[kept],
    )


def spread_skill(found: Sequence[Departures], factors: Floats) -> float:
    """Fair spread-skill ratio when clone k of patch n departs `factors`[r, n, k] times as far; (R, N, M)."""
    m = factors.shape[-1]
    gram = np.stack([d.gram for d in found])
    diagonal = np.einsum("nkk->nk", gram)
    whole = np.einsum("rnk,nkl,rnl->rn", factors, gram, factors)
    variance = (np.einsum("rnk,nk->rn", factors**2, diagonal) - whole / m) / (m - 1)
    cross = np.einsum("rnk,nk->rn", factors, np.stack([d.cross for d in found]))
    squared = whole / m**2 + 2 * cross / m + np.array([d.error for d in found])
    return float(np.sqrt((m + 1) / m * variance.mean() / squared.mean()))


def rank_distance(found: Sequence[Departures], factors: Floats, rng: np.random.Generator) -> float:
    """Jensen-Shannon distance of the truth's ranks to uniform; factors (N, M)."""
    counts = np.zeros(factors.shape[1] + 1, np.int64)
    for d, f in zip(found, factors):
        counts += np.bincount(ranks(f[:, None] * d.members, d.truth, rng), minlength=len(counts))
    return js_distance_from_uniform(counts)


def fit(found: Sequence[Departures], seed: int) -> dict[str, float]:
    """The factor's law whose clones have a fair spread-skill ratio of 1 and the flattest rank histogram.

    Parameters
    ----------
    found : of all validation patches and image sets. seed : of the factors.

    Returns
    -------
    ``log_scale`` and ``log_spread``; ``spread_skill_fair`` and ``rank_js_distance`` with them, and, under
    ``…_before``, without.

    Raises
    ------
    ValueError
        If the clones do not differ at all.
    """
    rng = np.random.default_rng([seed, _FACTORS])
    z = rng.standard_normal((REPLICATES, len(found), len(found[0].cross)))
    plain = np.ones_like(z[:1])
    before = spread_skill(found, plain)
    if not before > 0:
        raise ValueError(f"calibration: expected clones that differ, found a spread-skill ratio of {before}")
    best: dict[str, float] = {}
    for width in LOG_SPREADS:
        shape = np.exp(width * z)
        low, high = -5.0, 5.0
        for _ in range(40):  # the ratio grows with the scale
            middle = 0.5 * (low + high)
            low, high = (middle, high) if spread_skill(found, np.exp(middle) * shape) < 1 else (low, middle)
        scale = round(0.5 * (low + high), 4)
        factors = np.exp(scale) * shape
        distance = rank_distance(found, factors[0], np.random.default_rng([seed, _RANKS]))
        logger.info("width %.1f: log scale %.3f, rank distance %.4f", width, scale, distance)
        if not best or distance < best["rank_js_distance"]:
            best = {
                "log_scale": scale,
                "log_spread": width,
                "spread_skill_fair": spread_skill(found, factors),
                "rank_js_distance": distance,
            }
    flat = rank_distance(found, plain[0], np.random.default_rng([seed, _RANKS]))
    return best | {"spread_skill_fair_before": before, "rank_js_distance_before": flat}


def calibrate_system(
    section: str,
    manifest: Path | str,
    model: Path | str,
    vae: Sequence[str],
    runtime: RuntimeSection,
    out: Path | str,
    track_file: Sequence[Path | str] = (),
) -> None:
    """Draw clones of the validation patches under the light of the main evaluation condition, and fit.

    Parameters
    ----------
    section : the stage's JSON section: the light, and the sampler.
    manifest : of the training shards. model, vae : weights. out : JSON file, schema ``calibration/1``.
    track_file : the Sun's track, for arcs with ``place: ephemeris``.

    Raises
    ------
    ValueError
        If there are no validation patches, or inputs do not fit each other.
    """
    content: dict[str, Any] = json.loads(section)
    shards = ShardSet(manifest, "validation")
    if not len(shards):
        raise ValueError(
            f"{manifest}: expected validation patches, which `calibrate: true` of a system needs, found none"
        )
    device = pick_device(runtime.device)
    sampler = SamplerSection.model_validate(content["sampler"])
    photometry = PhotometrySection.model_validate(content["photometry"])
    arcs = content["arcs"]
    suns = read_track(track_file[0]) if track_file else None
    scene = ArcScene(ArcDraw.model_validate(arcs["main"]), arcs["tolerance"], None, suns)
    system = load_system(model, vae[0] if vae else None, device)
    seed = int(content["seed"])
    jobs = [(i, k) for i in range(len(shards)) for k in range(SETS)]
    groups = [jobs[i : i + BATCH] for i in range(0, len(jobs), BATCH)]
    found: list[Departures] = []
    for group in track(groups, len(groups), f"calibration of {content['stage']}: batches of patches"):
        samples = []
        for i, k in group:
            shard, patch = shards.at(i)
            images = scene.image_set(shard, patch, np.random.default_rng([seed, _SCENE, i, k]))
            samples.append(read_sample(shard, patch, images, system.halo_cells))
        batch = assemble(samples, system.halo_cells, system.factor, photometry, device)
        generators: list[torch.Generator] = [seeded(seed, _CLONES, i, k) for i, k in group]
        members, estimate = system.sample_around(batch, MEMBERS, generators, sampler)
        assert batch.dem is not None
        scale = batch.pixel_m.double().cpu().numpy()
        for row in range(len(group)):
            fields = (members[row], estimate[row], batch.dem[row])
            found.append(departures(*(f.double().cpu().numpy() / scale[row] for f in fields)))
    fitted = fit(found, seed)
    write_json(
        out,
        {
            "schema": SCHEMA,
            "model": model_config(model, "bridge")["fingerprint"],
            "patches": len(shards),
            "sets": SETS,
            "sampler": sampler.model_dump(mode="json"),
            **fitted,
        },
    )
