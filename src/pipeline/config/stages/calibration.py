"""Section of the stages ``calibration_<system>_<stage>``."""

from __future__ import annotations

from pipeline.config.arcs import ArcDraw
from pipeline.config.base import PositiveInt, Section, Seed
from pipeline.config.bridge import SamplerSection
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.photometry import PhotometrySection


class CalibrationStage(Section):
    """What a calibration depends on: `stage` names the training, `main` the light of the main condition."""

    stage: str
    tolerance: float
    main: ArcDraw
    photometry: PhotometrySection
    imperfections: ImperfectionsSection
    sampler: SamplerSection
    seed: Seed
    cpu_threads: PositiveInt
