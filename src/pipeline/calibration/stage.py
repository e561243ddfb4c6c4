"""Stages ``calibration_<system>_<stage>``: how wide clones must be spread, fitted on validation patches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.calibration.fit import Departures, departures, fit
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.scene_draw import SceneDraw
from pipeline.config.stages.calibration import CalibrationStage
from pipeline.illumination.ephemeris import read_track
from pipeline.jobs.device import pick_device
from pipeline.jobs.progress import progress
from pipeline.jobs.seeds import seeded
from pipeline.models.files import load_system, model_config
from pipeline.models.system import System
from pipeline.shards.batches import assemble, read_sample
from pipeline.shards.scene import ArcScene, Scene
from pipeline.shards.scene_samples import assemble_scenes, read_scene, without_images
from pipeline.shards.shard_set import ShardSet, chosen
from pipeline.storage.atomic import write_json
from pipeline.storage.calibration_law import BLIND, HEIGHTS, KINDS, SCHEMA

_SCENE, _CLONES, _IMPERFECTIONS = 0xCA11B, 0xCA11C, 0xCA120
MEMBERS = 16
#: Validation patches that count at most, and image sets drawn for each, of each kind.
PATCHES, SETS = 2000, 3
#: Kinds of image sets are told apart by their noise where it differs by more than this factor.
NOISIER = 1.2
BATCH = 16
#: The bound on departures over a patch where the a priori DEM is exact, pixels.
LEAST_PX = 1e-6


@dataclass(frozen=True)
class Kind:
    """One kind of image sets, of all patches.

    Attributes
    ----------
    found : departures of validation patches. noise : the sets' typical one.
    prior_px : root mean square of what the a priori DEM itself is off by, pixels of height.
    trained : departures of training patches.
    name : of `KINDS`, for rendered scenes.
    """

    found: list[Departures]
    noise: float
    prior_px: float
    trained: list[Departures] = field(default_factory=list)
    name: str = ""

    def law(self, seed: int, margin: float = 1.0) -> dict[str, Any]:
        """Fit its law, see `fit`; the factor `margin` is for sets with images."""
        of: dict[str, Any] = {"kind": self.name} if self.name else {"noise": self.noise}
        law = of | fit(self.found, seed, trained=self.trained)
        if not self.name.endswith(BLIND):
            for curve in (law["lit"], law["unlit"]):
                curve["log_scales"] = [round(v + math.log(margin), 4) for v in curve["log_scales"]]
        return law


def told_apart(kinds: Sequence[Kind]) -> list[Kind]:
    """Kinds by rising noise; together where it hardly differs, so that sets do not tell their kind."""
    ordered = sorted(kinds, key=lambda kind: kind.noise)
    if len(ordered) == 2 and ordered[1].noise < NOISIER * ordered[0].noise:
        first, second = ordered
        return [replace(first, found=first.found + second.found, trained=first.trained + second.trained)]
    return ordered


def known_heights(draw: SceneDraw) -> list[tuple[str, SceneDraw]]:
    """Draws of rendered scenes, one for each kind of a priori DEM that a training has, by its name.

    Altimetry is that of finished products.
    """
    cells = draw.model_copy(update={"apriori": "cells", "cell_error_share": 0.0})
    loose = cells.model_copy(update={"cell_error_share": 1.0})
    tracks = draw.model_copy(update={"apriori": "altimetry", "altimetry": draw.altimetry.finished})
    made = []
    if draw.apriori != "altimetry":
        made += [(HEIGHTS[0], cells)] if draw.cell_error_share < 1 else []
        made += [(HEIGHTS[1], loose)] if draw.cell_error_share > 0 else []
    return made + ([(HEIGHTS[2], tracks)] if draw.apriori != "cells" else [])


@dataclass(frozen=True)
class Drawing:
    """How clones are drawn, and from what images.

    Attributes
    ----------
    system : calibrated or not; its own draws count. scene : the light; None for rendered scenes.
    section : the photometry of the images, the sampler of the clones, the seed of all that is drawn.
    kind : name of `KINDS`; of rendered scenes, only sets of this kind count.
    """

    system: System
    scene: Scene | None
    section: CalibrationStage
    kind: str = ""

    def draw(
        self,
        shards: ShardSet,
        picked: Sequence[int],
        sets: Sequence[int],
        how: ImperfectionsSection | None,
        title: str,
    ) -> Kind:
        """Clones of the numbered image sets of each of the picked patches.

        Parameters
        ----------
        shards : the patches. picked : their indices. sets : numbers, which say what is drawn.
        how : imperfections of all images; None for perfect ones.
        title : of the progress bar.
        """
        jobs = [(i, k) for i in picked for k in sets]
        groups = [jobs[i : i + BATCH] for i in range(0, len(jobs), BATCH)]
        batches = (self._batch(shards, g, how) for g in progress(groups, len(groups), f"{title}: batches"))
        found, noises, squared = zip(*chain.from_iterable(batches))
        return Kind(list(found), float(np.median(noises)), float(np.sqrt(np.mean(squared))), name=self.kind)

    def _batch(
        self, shards: ShardSet, group: Sequence[tuple[int, int]], how: ImperfectionsSection | None
    ) -> Iterator[tuple[Departures, float, float]]:
        """Of patches i and image sets k: departures, the set's noise, the prior's mean squared error."""
        system, section, seed, kind = self.system, self.section, self.section.seed, int(how is not None)
        device = next(system.parameters()).device
        draws = [np.random.default_rng([seed, _SCENE, i, k, kind]) for i, k in group]
        rngs = [np.random.default_rng([seed, _IMPERFECTIONS, i, k]) for i, k in group]
        where = [shards.at(i) for i, _ in group]
        halo, factor = system.halo_cells, system.factor
        if self.scene is None:
            assert section.scenes is not None
            scenes = [
                read_scene(shard, patch, rng, section.scenes, section.masks, halo)
                for (shard, patch), rng in zip(where, draws, strict=True)
            ]
            if self.kind.endswith(BLIND):
                scenes = [without_images(scene) for scene in scenes]
            batch = assemble_scenes(scenes, halo, factor, device, how, rngs)
        else:
            samples = [
                read_sample(shard, patch, self.scene.image_set(shard, patch, rng), halo)
                for (shard, patch), rng in zip(where, draws, strict=True)
            ]
            batch = assemble(samples, halo, factor, section.photometry, device, how, rngs)
        generators: list[torch.Generator] = [seeded(seed, _CLONES, i, k, kind) for i, k in group]
        members, estimate, spread, light = system.sample_around(batch, MEMBERS, generators, section.sampler)
        assert batch.dem is not None
        scale = batch.pixel_m.double().cpu().numpy()
        off = ((batch.dem - batch.prior).double() / batch.pixel_m[:, None, None]).square().mean(dim=(1, 2))
        for row, (noise, squared) in enumerate(zip(light.noise.tolist(), off.tolist())):
            if self.kind and light.kind is not None and KINDS[int(light.kind[row])] != self.kind:
                continue
            clones, mean, truth = (
                f[row].double().cpu().numpy() / scale[row] for f in (members, estimate, batch.dem)
            )
            wide = None if spread is None else spread[row].double().cpu().numpy()
            yield departures(clones, mean, truth, wide, light.unlit[row, 0].cpu().numpy()), noise, squared


def calibrate_system(
    section: CalibrationStage,
    manifest: Path | str,
    model: Path | str,
    vae: Sequence[str],
    runtime: RuntimeSection,
    out: Path | str,
    track_file: Sequence[Path | str] = (),
) -> None:
    """Draw clones of the validation patches under the light of the main evaluation condition, and fit.

    Image sets without imperfections have a law of their own, and those with the training's have one, where
    training has both kinds and their noise tells them apart; rendered scenes have one for each kind of a
    priori DEM with images, and one for each without. Training patches count as `fit` says.

    Parameters
    ----------
    section : of the stage: the light, and the sampler.
    manifest : of the training shards. model, vae : weights. out : JSON file, schema ``calibration/4``.
    track_file : the Sun's track, for arcs with ``place: ephemeris``.

    Raises
    ------
    ValueError
        If there are no validation patches, or inputs do not fit each other.
    """
    shards, trained = ShardSet(manifest, "validation"), ShardSet(manifest, "train")
    if not len(shards):
        raise ValueError(
            f"{manifest}: expected validation patches, which `calibrate: true` of a system needs, found none"
        )
    imperfections = section.imperfections
    suns = read_track(track_file[0]) if track_file else None
    drawing = Drawing(
        load_system(model, vae[0] if vae else None, pick_device(runtime.device)),
        None if section.scenes else ArcScene(section.main, section.tolerance, None, suns),
        section,
    )
    picked = chosen(len(shards), PATCHES)
    # As many sets of training patches, each of another one.
    others = chosen(len(trained), SETS * len(picked))

    def draw(how: ImperfectionsSection | None, images: str, drawing: Drawing = drawing) -> Kind:
        title = f"calibration of {section.stage}, {images}"
        seen = drawing.draw(trained, others, [SETS], how, f"{title}, training patches")
        return replace(drawing.draw(shards, picked, range(SETS), how, title), trained=seen.found)

    kinds: list[Kind] = []
    if section.scenes is not None:
        for (heights, scenes), blind in product(known_heights(section.scenes), ("", BLIND)):
            name = heights + blind
            one = replace(drawing, section=section.model_copy(update={"scenes": scenes}), kind=name)
            kinds.append(draw(imperfections, f"rendered scenes, {name}", one))
    elif imperfections.off or imperfections.share < 1:
        kinds.append(draw(None, "perfect images"))
    if section.scenes is None and not imperfections.off:
        kinds.append(draw(imperfections.model_copy(update={"share": 1.0}), "imperfect images"))
    # Perfect images come first; of rendered scenes, the a priori DEM that says least has the bound.
    most = kinds[0].prior_px if section.scenes is None else max(kind.prior_px for kind in kinds)
    write_json(
        out,
        {
            "schema": SCHEMA,
            "model": model_config(model, "bridge")["fingerprint"],
            "patches": len(picked),
            "sets": SETS,
            "sampler": section.sampler.model_dump(mode="json"),
            "margin": section.margin,
            "most_px": float(f"{max(most, LEAST_PX):.6g}"),
            "laws": [
                kind.law(section.seed, section.margin)
                for kind in (told_apart(kinds) if section.scenes is None else kinds)
            ],
        },
    )
