"""The kinds of image sets that a calibration draws; each kind has its own law."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.masks import StripDraw
from pipeline.config.photometry import PhotometrySection
from pipeline.config.scene_draw import SceneDraw
from pipeline.config.stages.calibration import CalibrationStage
from pipeline.illumination.ephemeris import read_track
from pipeline.models.batch import Batch
from pipeline.models.system import System
from pipeline.shards.batches import assemble, read_sample
from pipeline.shards.reader import Shard
from pipeline.shards.scene import ArcScene, Scene
from pipeline.shards.scene_samples import assemble_scenes, read_scene, without_images
from pipeline.storage.calibration_law import BLIND, HEIGHTS

Generators = Sequence[np.random.Generator]


def known_heights(draw: SceneDraw) -> list[tuple[str, SceneDraw]]:
    """Draws of rendered scenes for each kind of a priori DEM in the training, with the name of the kind.

    Altimetry has the spots of a finished product.
    """
    cells = draw.model_copy(update={"apriori": "cells", "cell_error_share": 0.0})
    inexact = cells.model_copy(update={"cell_error_share": 1.0})
    tracks = draw.model_copy(update={"apriori": "altimetry", "altimetry": draw.altimetry.finished})
    made = []
    if draw.apriori != "altimetry":
        made += [(HEIGHTS[0], cells)] if draw.cell_error_share < 1 else []
        made += [(HEIGHTS[1], inexact)] if draw.cell_error_share > 0 else []
    return made + ([(HEIGHTS[2], tracks)] if draw.apriori != "cells" else [])


class ImageSets(ABC):
    """One kind of image sets.

    Attributes
    ----------
    title : of the kind, for the log. imperfections : of the images; None for perfect ones.
    name : entry of `KINDS` that the system must recognise in a set that is used; empty for any.
    """

    title: str
    imperfections: ImperfectionsSection | None
    name: str

    @abstractmethod
    def batch(
        self, where: Sequence[tuple[Shard, int]], draws: Generators, rngs: Generators, system: System
    ) -> Batch:
        """One image set per patch, with the truth.

        Parameters
        ----------
        where : shard of each of B patches, and the patch's index in it.
        draws, rngs : generators of each set and of its imperfections. system : that takes the batch.
        """


@dataclass(frozen=True)
class ArcSets(ImageSets):
    """Patches lit from ray-traced directions on arcs of the Sun."""

    title: str
    imperfections: ImperfectionsSection | None
    scene: Scene
    photometry: PhotometrySection
    name: str = ""

    def batch(
        self, where: Sequence[tuple[Shard, int]], draws: Generators, rngs: Generators, system: System
    ) -> Batch:
        """See `ImageSets`."""
        halo, device = system.halo_cells, next(system.parameters()).device
        samples = [
            read_sample(shard, patch, self.scene.image_set(shard, patch, rng), halo)
            for (shard, patch), rng in zip(where, draws, strict=True)
        ]
        return assemble(samples, halo, system.factor, self.photometry, device, self.imperfections, rngs)


@dataclass(frozen=True)
class SceneSets(ImageSets):
    """Rendered scenes, with their images or without."""

    title: str
    imperfections: ImperfectionsSection | None
    name: str
    drawn: SceneDraw
    masks: StripDraw | None

    def batch(
        self, where: Sequence[tuple[Shard, int]], draws: Generators, rngs: Generators, system: System
    ) -> Batch:
        """See `ImageSets`."""
        halo, device = system.halo_cells, next(system.parameters()).device
        scenes = [
            read_scene(shard, patch, rng, self.drawn, self.masks, halo)
            for (shard, patch), rng in zip(where, draws, strict=True)
        ]
        if self.name.endswith(BLIND):
            scenes = [without_images(scene) for scene in scenes]
        return assemble_scenes(scenes, halo, system.factor, device, self.imperfections, rngs)


def image_sets(section: CalibrationStage, track_file: Sequence[Path | str] = ()) -> list[ImageSets]:
    """All kinds of image sets that have a law: see `calibrate_system`."""
    imperfections = section.imperfections
    if section.scenes is not None:
        return [
            SceneSets(
                f"rendered scenes, {heights}{blind}", imperfections, heights + blind, drawn, section.masks
            )
            for (heights, drawn), blind in product(known_heights(section.scenes), ("", BLIND))
        ]
    suns = read_track(track_file[0]) if track_file else None
    scene = ArcScene(section.main, section.tolerance, None, suns)
    out: list[ImageSets] = []
    if imperfections.off or imperfections.share < 1:
        out.append(ArcSets("perfect images", None, scene, section.photometry))
    if not imperfections.off:
        always = imperfections.model_copy(update={"share": 1.0})
        out.append(ArcSets("imperfect images", always, scene, section.photometry))
    return out
