"""Stages ``<name>`` of learned rivals: the training that the registry of predictors names."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import RivalStage


def train_rival(
    section: RivalStage,
    key: str,
    manifest: Path | str,
    runtime: RuntimeSection,
    out: Path | str,
    track: Sequence[str] = (),
) -> None:
    """Train a rival and write its weights, with the function `train` of its module.

    `train` takes the same arguments: the stage's section and key, the manifest of the training shards, the
    runtime settings, the file of the weights, ``model.safetensors``, and the Sun's track, for arcs with
    ``place: ephemeris``. ``config.json`` and ``metrics.jsonl`` are written beside the weights (see
    `pipeline.training.finish`).
    """
    import_module(section.module).train(section, key, manifest, runtime, out, track)
