"""Stages ``calibration_<system>_<stage>``: how wide clones must be spread, fitted on validation patches."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.atomic import write_json
from pipeline.config.calibration import SCHEMA
from pipeline.config.light import ArcDraw
from pipeline.config.models import SamplerSection
from pipeline.config.photometry import ImperfectionsSection, PhotometrySection
from pipeline.config.runtime import RuntimeSection
from pipeline.evaluation.metrics import js_distance_from_uniform, ranks
from pipeline.evaluation.subset import chosen
from pipeline.illumination.ephemeris import read_track
from pipeline.models.files import load_system, model_config
from pipeline.models.photometric import set_radiance
from pipeline.provenance.progress import track
from pipeline.shards.scene import ArcScene
from pipeline.shards.shard_set import ShardSet
from pipeline.training.batches import assemble, read_sample
from pipeline.training.loop import pick_device
from pipeline.training.order import seeded

logger = logging.getLogger(__name__)

Floats = NDArray[np.floating[Any]]
_SCENE, _CLONES, _FACTORS, _RANKS, _IMPERFECTIONS = 0xCA11B, 0xCA11C, 0xCA11E, 0xCA11F, 0xCA120
MEMBERS = 16
#: Validation patches that count at most, and image sets drawn for each, of each kind.
PATCHES, SETS = 2000, 3
#: Kinds of image sets are told apart by their noise where it differs by more than this factor.
NOISIER = 1.2
BATCH = 16
#: Pixels count at every so many rows and columns: neighbours are off together.
PIXEL_STEP = 4
#: Shares of the pixels below the spreads at which the curve is given: most of the error is where few are.
QUANTILES = (0.05, 0.5, 0.9, 0.97, 0.995)
#: Patches' worth of belief that the curve is flat: a patch's pixels are off together, and the last knot may
#: stand on two or three craters. More of it widens clones where the network is sure, and rightly so.
FLAT_PATCHES = 200 / (3 * 24**2)
#: Draws of the clones' own factors over which scores are averaged.
REPLICATES = 4
#: Widths of their law that are tried.
LOG_SPREADS = tuple(round(0.1 * k, 1) for k in range(13))


@dataclass(frozen=True)
class Departures:
    """What is needed of the clones of one patch and image set at n pixels, in pixels of height.

    Attributes
    ----------
    members : (M, n) clone minus estimate. truth : (n,) truth minus estimate.
    spread : (n,) what the network expects of its absolute value, root mean square; 1 where it says nothing.
    """

    members: Floats
    truth: Floats
    spread: Floats


def departures(members: Floats, estimate: Floats, truth: Floats, spread: Floats | None) -> Departures:
    """Keep what counts of (M, P, P) clones beside (P, P) estimate, truth and spread."""
    step = slice(PIXEL_STEP // 2, None, PIXEL_STEP)
    away = (members - estimate)[:, step, step].reshape(len(members), -1)
    off = (truth - estimate)[step, step].ravel()
    wide = np.ones_like(off) if spread is None else spread[step, step].ravel()
    return Departures(away.astype(np.float32), off, wide)


def curve(
    spread: Floats, variance: Floats, squared: Floats, flat_pixels: float = 0.0
) -> tuple[Floats, Floats]:
    """Where clones, as drawn, are too close together or too far apart.

    At each knot the level makes the mean of exp(2 level) times the clones' variance that of the squared
    error, both weighted with the knot's hat function of log spread, so that they agree over all pixels, too.

    Parameters
    ----------
    spread, variance, squared : (n,) of all pixels: expected spread, clones' variance, estimate's squared
        error.
    flat_pixels : pixels' worth of belief, at each knot, that the curve is flat.

    Returns
    -------
    Rising spreads, and levels there; one of each where all spreads are the same.
    """
    overall = 0.5 * np.log(squared.mean() / variance.mean())
    knots = np.unique(np.quantile(spread, QUANTILES))
    if len(knots) < 2 or not knots[0] < knots[-1]:
        return np.ones(1), np.full(1, overall)
    x = np.clip(np.log(spread), *np.log(knots[[0, -1]]))
    hats = np.stack([np.interp(x, np.log(knots), row) for row in np.eye(len(knots))])
    believed = flat_pixels * (hats @ variance) / hats.sum(axis=1).clip(1e-12)
    wanted = hats @ squared + believed * np.exp(2 * overall)
    levels = np.full(len(knots), overall)
    for _ in range(200):
        factor = np.exp(2 * (levels @ hats))
        levels += 0.35 * np.log(wanted / (hats @ (factor * variance) + believed * np.exp(2 * levels)))
    levels += 0.5 * np.log(squared.mean() / (np.exp(2 * (levels @ hats)) * variance).mean())
    return knots, levels


def scores(found: Sequence[Departures], factors: Sequence[Floats], rng: np.random.Generator) -> Floats:
    """Fair spread-skill ratio and rank distance when departures are multiplied by factors, (M, n) each."""
    variance, squared, counts = 0.0, 0.0, np.zeros(len(found[0].members) + 1, np.int64)
    for d, factor in zip(found, factors):
        moved = d.members * factor
        variance += moved.var(axis=0, ddof=1).mean()
        squared += np.mean((moved.mean(axis=0) - d.truth) ** 2)
        counts += np.bincount(ranks(moved, d.truth, rng), minlength=len(counts))
    m = len(found[0].members)
    return np.array([np.sqrt((m + 1) / m * variance / squared), js_distance_from_uniform(counts)])


def saturated(found: Sequence[Departures]) -> list[Departures]:
    """Clones that are spread nowhere further than at the last knot: beyond it, few pixels say how far."""
    top = np.quantile(np.concatenate([d.spread for d in found]), QUANTILES[-1])
    return [
        replace(d, members=d.members * (top / np.maximum(d.spread, top)).astype(np.float32)) for d in found
    ]


def fit(found: Sequence[Departures], seed: int, flat_patches: float = FLAT_PATCHES) -> dict[str, Any]:
    """The law whose clones have the errors' variance at every spread and the flattest rank histogram.

    Parameters
    ----------
    found : of all validation patches and image sets. seed : of the factors.
    flat_patches : patches' worth of belief that the curve is flat.

    Returns
    -------
    ``spreads_px``, ``log_scales`` and ``log_spread``; ``spread_skill_fair`` and ``rank_js_distance`` with
    them, and, under ``…_before``, without.

    Raises
    ------
    ValueError
        If the clones do not differ at all.
    """
    drawn, found = found, saturated(found)
    spread, variance, squared = (
        np.concatenate(parts)
        for parts in zip(*((d.spread, (d.members**2).mean(axis=0), d.truth**2) for d in found))
    )
    if not variance.mean() > 0:
        raise ValueError("calibration: expected clones that differ, found none that do")
    flat_pixels = flat_patches * SETS * len(found[0].truth)
    knots, levels = curve(spread, variance, np.maximum(squared, 1e-12), flat_pixels)
    at = [np.interp(np.log(d.spread), np.log(knots), levels) for d in found]
    z = np.random.default_rng([seed, _FACTORS]).standard_normal((REPLICATES, len(found), MEMBERS))
    best: tuple[float, Floats] | None = None
    for width in LOG_SPREADS:
        # The factor's own spread adds to the variance: exp(2 width^2) of it.
        tails = np.exp(width * z[:, :, : len(found[0].members), None] - width**2)
        rngs = [np.random.default_rng([seed, _RANKS, r]) for r in range(REPLICATES)]
        each = [
            scores(found, [np.exp(level) * t for level, t in zip(at, tails[r])], rng)
            for r, rng in enumerate(rngs)
        ]
        mean = np.mean(each, axis=0)
        logger.info("width %.1f: spread-skill ratio %.3f, rank distance %.4f", width, *mean)
        if best is None or mean[1] < best[1][1]:
            best = width, mean
    assert best is not None
    flat = scores(drawn, [np.ones((1, 1))] * len(drawn), np.random.default_rng([seed, _RANKS]))
    return {
        "spreads_px": [float(f"{k:.6g}") for k in knots],
        "log_scales": [round(float(v) - best[0] ** 2, 4) for v in levels],
        "log_spread": best[0],
        "spread_skill_fair": float(best[1][0]),
        "rank_js_distance": float(best[1][1]),
        "spread_skill_fair_before": float(flat[0]),
        "rank_js_distance_before": float(flat[1]),
    }


@dataclass(frozen=True)
class Drawn:
    """Departures of all patches and image sets of one kind, and the sets' typical noise."""

    found: list[Departures]
    noise: float


def told_apart(kinds: Sequence[Drawn]) -> list[Drawn]:
    """Kinds by rising noise; together where it hardly differs, so that sets do not tell their kind."""
    ordered = sorted(kinds, key=lambda kind: kind.noise)
    if len(ordered) == 2 and ordered[1].noise < NOISIER * ordered[0].noise:
        return [Drawn([d for kind in ordered for d in kind.found], ordered[0].noise)]
    return ordered


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

    Image sets without imperfections have a law of their own, and those with the training's have one, where
    training has both kinds and their noise tells them apart.

    Parameters
    ----------
    section : the stage's JSON section: the light, and the sampler.
    manifest : of the training shards. model, vae : weights. out : JSON file, schema ``calibration/3``.
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
    imperfections = ImperfectionsSection.model_validate(content["imperfections"])
    arcs = content["arcs"]
    suns = read_track(track_file[0]) if track_file else None
    scene = ArcScene(ArcDraw.model_validate(arcs["main"]), arcs["tolerance"], None, suns)
    system = load_system(model, vae[0] if vae else None, device)
    seed = int(content["seed"])
    picked = chosen(len(shards), PATCHES)

    def draw(name: str, how: ImperfectionsSection | None, kind: int) -> Drawn:
        jobs = [(i, k) for i in picked for k in range(SETS)]
        groups = [jobs[i : i + BATCH] for i in range(0, len(jobs), BATCH)]
        found: list[Departures] = []
        noises: list[float] = []
        for group in track(groups, len(groups), f"calibration of {content['stage']}, {name}: batches"):
            samples = []
            for i, k in group:
                shard, patch = shards.at(i)
                images = scene.image_set(shard, patch, np.random.default_rng([seed, _SCENE, i, k, kind]))
                samples.append(read_sample(shard, patch, images, system.halo_cells))
            rngs = [np.random.default_rng([seed, _IMPERFECTIONS, i, k]) for i, k in group]
            batch = assemble(samples, system.halo_cells, system.factor, photometry, device, how, rngs)
            noises += set_radiance(batch.images, batch.valid, batch.present)[1].tolist()
            generators: list[torch.Generator] = [seeded(seed, _CLONES, i, k, kind) for i, k in group]
            members, estimate, spread = system.sample_around(batch, MEMBERS, generators, sampler)
            assert batch.dem is not None
            scale = batch.pixel_m.double().cpu().numpy()
            for row in range(len(group)):
                clones, mean, truth = (
                    f[row].double().cpu().numpy() / scale[row] for f in (members, estimate, batch.dem)
                )
                wide = None if spread is None else spread[row].double().cpu().numpy()
                found.append(departures(clones, mean, truth, wide))
        return Drawn(found, float(np.median(noises)))

    kinds: list[Drawn] = []
    if imperfections.off or imperfections.share < 1:
        kinds.append(draw("perfect images", None, 0))
    if not imperfections.off:
        kinds.append(draw("imperfect images", imperfections.model_copy(update={"share": 1.0}), 1))
    write_json(
        out,
        {
            "schema": SCHEMA,
            "model": model_config(model, "bridge")["fingerprint"],
            "patches": len(picked),
            "sets": SETS,
            "sampler": sampler.model_dump(mode="json"),
            "laws": [{"noise": kind.noise, **fit(kind.found, seed)} for kind in told_apart(kinds)],
        },
    )
