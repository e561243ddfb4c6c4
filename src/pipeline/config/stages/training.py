"""Sections of the stages ``vae`` and ``<system>_<stage>``."""

from __future__ import annotations

from typing import Any, Literal

from pipeline.config.arcs import ArcDraw
from pipeline.config.base import Range, Section
from pipeline.config.bridge import BridgeSection
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.masks import StripDraw
from pipeline.config.photometry import PhotometrySection
from pipeline.config.scene_draw import SceneDraw
from pipeline.config.training import OptimiserSection, TrainingSection
from pipeline.config.vae import VaeSection


class TrainingStage(Section):
    """What every training depends on."""

    training: TrainingSection

    @property
    def cpu_threads(self) -> int:
        """Torch threads of the training."""
        return self.training.cpu_threads


class VaeStage(TrainingStage):
    """Stage ``vae``; `lpips_weights` of the section is a digest here."""

    vae: VaeSection


class TrainArcs(Section):
    """Suns of the training images."""

    tolerance: float
    train: ArcDraw


class BridgeStage(TrainingStage):
    """Stages ``<system>_<stage>``: what one stage of a bridge's training depends on."""

    stage: Literal["fibonacci", "arcs", "missing", "real", "real_2", "real_3"]
    """one of `pipeline.config.names.BRIDGE_STAGES`."""
    photometry: PhotometrySection
    imperfections: ImperfectionsSection
    bridge: BridgeSection
    """the system; its sampler, stages, calibration and the path of `init` are not used and have their
    defaults here."""
    optimiser: OptimiserSection
    """of this stage."""
    init: dict[str, str] | None = None
    """digests of the weights, and of their config, that the first stage starts from; null for none."""
    images: Range | None = None
    """range of the number of Fibonacci images that are drawn; null where all are shown, and in the other
    stages."""
    arcs: TrainArcs | None = None
    """Suns of the stages ``arcs`` and ``missing``."""
    masks: StripDraw | None = None
    """strips of the stage ``missing``, else null."""
    scenes: SceneDraw | None = None
    """what a stage on rendered scenes draws; null in the others."""


class RivalStage(TrainingStage):
    """Stages ``<name>`` of learned rivals: what the training of one depends on."""

    name: str
    """of the predictor."""
    module: str
    """module of its training, see `pipeline.training.rival`."""
    options: dict[str, Any]
    """its config section, as JSON values."""
    photometry: PhotometrySection
    imperfections: ImperfectionsSection
    arcs: TrainArcs
    """Suns of its training images."""
    masks: StripDraw
    """missing data of its training images."""
    scenes: SceneDraw | None = None
    """what is drawn of rendered scenes, instead of arcs; null where the run renders none."""
