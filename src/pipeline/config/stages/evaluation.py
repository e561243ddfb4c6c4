"""Sections of the stages ``evaluation_<name>`` and ``evaluation``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline.config.base import PositiveInt, Section, Seed
from pipeline.config.evaluation import Condition
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.masks import StripDraw
from pipeline.config.photometry import PhotometrySection
from pipeline.config.scene_draw import SceneDraw


class PredictorStage(Section):
    """Stages ``evaluation_<name>``: one predictor under its conditions."""

    name: str
    """of the predictor in metrics.json."""
    module: str
    """where its code is."""
    make: str
    """name of a function of `pipeline.predictors.interface.Setup` in that module."""
    options: dict[str, Any] = Field(default={})
    """its own config section, as JSON values; empty where it has none."""
    floor: bool = False
    """whether it may see the truth; its row stands under ``floors``."""
    conditions: dict[str, Condition] = Field(default={})
    """under which it is scored; none where it needs no images."""
    members: PositiveInt = 1
    """clones per patch; 1 for a deterministic one."""
    max_patches: PositiveInt | None = None
    """see `pipeline.config.evaluation.EvaluationSection`."""
    batch: PositiveInt = 16
    """see `pipeline.config.evaluation.EvaluationSection`."""
    bootstrap: PositiveInt = 1000
    """see `pipeline.config.evaluation.EvaluationSection`."""
    seed: Seed = 0
    """see `pipeline.config.evaluation.EvaluationSection`."""
    photometry: PhotometrySection = PhotometrySection()
    """of the images, where it needs some."""
    imperfections: ImperfectionsSection = ImperfectionsSection()
    """of the images, where it needs some."""
    scenes: SceneDraw | None = None
    """what is drawn of rendered scenes, where a condition has them."""
    masks: StripDraw | None = None
    """missing data of rendered scenes, where a condition has them."""
    weights: dict[str, str] = Field(default={})
    """digests of given weights, where it has any."""
    vae: str = "vae"
    """name of its VAE in metrics.json, if it has one."""
    cpu_threads: PositiveInt

    @property
    def headings(self) -> dict[str, Condition | None]:
        """The headings of its rows: its conditions, or one heading where it needs no images."""
        return dict(self.conditions) or {"floor" if self.floor else "main": None}

    def options_under(self, condition: Condition | None) -> dict[str, Any]:
        """The options; a condition's `nfe` replaces an option of that name."""
        changed = condition is not None and condition.nfe is not None and "nfe" in self.options
        return {**self.options, "nfe": condition.nfe} if changed and condition else self.options

    def members_under(self, condition: Condition | None) -> int:
        """The clones per patch; a condition's number replaces it, except for deterministic predictors."""
        asked = None if condition is None else condition.members
        return self.members if asked is None or self.members == 1 else asked


class CollectStage(Section):
    """Stage ``evaluation``: all predictors' parts as one metrics.json."""

    primary: str
    systems: list[str]
