"""Sections of the stages ``evaluation_<name>`` and ``evaluation``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline.config.base import PositiveInt, Section
from pipeline.config.bridge import SamplerSection
from pipeline.config.evaluation import EvaluationSection
from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.photometry import PhotometrySection


class PredictorStage(Section):
    """Stages ``evaluation_<name>``: one predictor under its conditions.

    Attributes
    ----------
    name : of the predictor in metrics.json.
    predictor : name of its entry in the registry of predictors.
    options : its own config section, as JSON values; empty where it has none.
    evaluation : with the conditions that it is scored under.
    sampler : how its clones are drawn; null for a deterministic one.
    weights : digests of given weights, where it has any.
    """

    name: str
    predictor: str
    options: dict[str, Any] = Field(default={})
    evaluation: EvaluationSection
    photometry: PhotometrySection
    imperfections: ImperfectionsSection
    sampler: SamplerSection | None = None
    weights: dict[str, str] = Field(default={})
    cpu_threads: PositiveInt


class CollectStage(Section):
    """Stage ``evaluation``: all predictors' parts as one metrics.json."""

    primary: str
    systems: list[str]
