"""Section of the stages ``calibration_<system>_<stage>``."""

from __future__ import annotations

from pipeline.config.arcs import ArcDraw
from pipeline.config.base import PositiveInt, Section, Seed, Share
from pipeline.config.bridge import SamplerSection
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.masks import StripDraw
from pipeline.config.photometry import PhotometrySection
from pipeline.config.scene_draw import SceneDraw


class CalibrationStage(Section):
    """What a calibration depends on: `stage` names the training, `main` the light of the main condition.

    After a training on rendered scenes, `scenes` and `masks` give what is drawn of them; `main` is not used.
    """

    stage: str
    tolerance: float
    main: ArcDraw
    photometry: PhotometrySection
    imperfections: ImperfectionsSection
    sampler: SamplerSection
    seed: Seed
    margin: float
    hit_share: Share
    cpu_threads: PositiveInt
    scenes: SceneDraw | None = None
    masks: StripDraw | None = None
