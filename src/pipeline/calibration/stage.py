"""Stages ``calibration_<system>_<stage>``: calibration of the clones' spread on validation patches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.calibration.fit import Departures, departures, fit
from pipeline.calibration.sets import ImageSets, image_sets
from pipeline.config.bridge import SamplerSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.calibration import CalibrationStage
from pipeline.jobs.device import pick_device
from pipeline.jobs.progress import progress
from pipeline.jobs.seeds import seeded
from pipeline.models.files import load_system, model_config
from pipeline.models.system import System
from pipeline.shards.shard_set import ShardSet, chosen
from pipeline.storage.atomic import write_json
from pipeline.storage.calibration_law import BLIND, KINDS, SCHEMA

_SCENE, _CLONES, _IMPERFECTIONS = 0xCA11B, 0xCA11C, 0xCA120
MEMBERS = 16
#: Largest number of validation patches, and image sets per patch and kind.
PATCHES, SETS = 2000, 3
#: Kinds of image sets have separate laws if their noise differs by at least this factor.
NOISIER = 1.2
BATCH = 16
#: Smallest bound on departures over a patch, pixels, used where the a priori DEM is exact.
LEAST_PX = 1e-6


@dataclass(frozen=True)
class Kind:
    """Departures of one kind of image sets, over all patches.

    Attributes
    ----------
    validation : departures of validation patches.
    noise : median over the sets, as `pipeline.models.photometric.set_radiance` measures it.
    prior_px : root mean square error of the a priori DEM, in units of a pixel.
    trained : departures of training patches.
    name : entry of `KINDS`, for rendered scenes.
    """

    validation: list[Departures]
    noise: float
    prior_px: float
    trained: list[Departures] = field(default_factory=list)
    name: str = ""

    def law(self, seed: int, margin: float = 1.0) -> dict[str, Any]:
        """Fit the law of this kind (see `fit`); the factor `margin` widens clones of sets with images."""
        of: dict[str, Any] = {"kind": self.name} if self.name else {"noise": self.noise}
        law = of | fit(self.validation, seed, trained=self.trained)
        if not self.name.endswith(BLIND):
            for curve in (law["lit"], law["unlit"]):
                curve["log_scales"] = [round(v + math.log(margin), 4) for v in curve["log_scales"]]
        return law


def distinguishable(kinds: Sequence[Kind]) -> list[Kind]:
    """Kinds by rising noise; two are merged if their noise differs too little to tell them apart.

    Kinds with names are never merged.
    """
    if any(kind.name for kind in kinds):
        return list(kinds)
    ordered = sorted(kinds, key=lambda kind: kind.noise)
    if len(ordered) == 2 and ordered[1].noise < NOISIER * ordered[0].noise:
        first, second = ordered
        validation, trained = first.validation + second.validation, first.trained + second.trained
        return [replace(first, validation=validation, trained=trained)]
    return ordered


@dataclass(frozen=True)
class Drawing:
    """Draws clones for one kind of image sets.

    Attributes
    ----------
    system : draws clones, without its calibration if it has one. sets : kind of image sets.
    sampler : of the clones. seed : of sets, imperfections and clones.
    """

    system: System
    sets: ImageSets
    sampler: SamplerSection
    seed: int

    def draw(self, shards: ShardSet, picked: Sequence[int], sets: Sequence[int], title: str) -> Kind:
        """Departures of clones for several image sets of each picked patch.

        Parameters
        ----------
        shards : the patches. picked : their indices. sets : numbers of the image sets, part of their seeds.
        title : of the progress bar.
        """
        jobs = [(i, k) for i in picked for k in sets]
        groups = [jobs[i : i + BATCH] for i in range(0, len(jobs), BATCH)]
        batches = (self._batch(shards, g) for g in progress(groups, len(groups), f"{title}: batches"))
        found, noises, squared = zip(*chain.from_iterable(batches))
        prior_px = float(np.sqrt(np.mean(squared)))
        return Kind(list(found), float(np.median(noises)), prior_px, name=self.sets.name)

    def _batch(
        self, shards: ShardSet, group: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[Departures, float, float]]:
        """For each patch i and image set k: departures, noise of the set, mean squared error of the prior."""
        system, seed, kind = self.system, self.seed, self.sets.name
        imperfect = int(self.sets.imperfections is not None)
        draws = [np.random.default_rng([seed, _SCENE, i, k, imperfect]) for i, k in group]
        rngs = [np.random.default_rng([seed, _IMPERFECTIONS, i, k]) for i, k in group]
        batch = self.sets.batch([shards.at(i) for i, _ in group], draws, rngs, system)
        generators: list[torch.Generator] = [seeded(seed, _CLONES, i, k, imperfect) for i, k in group]
        members, estimate, spread, light = system.sample_around(batch, MEMBERS, generators, self.sampler)
        assert batch.dem is not None
        scale = batch.pixel_m.double().cpu().numpy()
        off = ((batch.dem - batch.prior).double() / batch.pixel_m[:, None, None]).square().mean(dim=(1, 2))
        for row, (noise, squared) in enumerate(zip(light.noise.tolist(), off.tolist())):
            if kind and light.kind is not None and KINDS[int(light.kind[row])] != kind:
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
    """Draw clones of the validation patches under the light of the main evaluation condition, and fit laws.

    Image sets without imperfections and those with the training's imperfections have separate laws if the
    training has both and their noise distinguishes them. Rendered scenes have one law for each kind of a
    priori DEM with images, and one for each without. See `fit` for the use of training patches.

    Parameters
    ----------
    section : of the stage: light, imperfections and sampler.
    manifest : of the training shards. model, vae : weights. out : JSON file, schema ``calibration/4``.
    runtime : device. track_file : the Sun's track, for arcs with ``place: ephemeris``.

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
    system = load_system(model, vae[0] if vae else None, pick_device(runtime.device))
    system.hit_share = section.hit_share
    picked = chosen(len(shards), PATCHES)
    # As many image sets of training patches, each of a different patch.
    others = chosen(len(trained), SETS * len(picked))
    kinds: list[Kind] = []
    for sets in image_sets(section, track_file):
        drawing = Drawing(system, sets, section.sampler, section.seed)
        title = f"calibration of {section.stage}, {sets.title}"
        training = drawing.draw(trained, others, [SETS], f"{title}, training patches")
        validation = drawing.draw(shards, picked, range(SETS), title)
        kinds.append(replace(validation, trained=training.validation))
    # The least accurate a priori DEM sets the bound.
    most = max(kind.prior_px for kind in kinds)
    write_json(
        out,
        {
            "schema": SCHEMA,
            "model": model_config(model, "bridge")["fingerprint"],
            "patches": len(picked),
            "sets": SETS,
            "sampler": section.sampler.model_dump(mode="json"),
            "margin": section.margin,
            "hit_share": section.hit_share,
            "most_px": float(f"{max(most, LEAST_PX):.6g}"),
            "laws": [kind.law(section.seed, section.margin) for kind in distinguishable(kinds)],
        },
    )
