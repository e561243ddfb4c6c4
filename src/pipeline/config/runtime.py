"""Section ``runtime``: how the work is run.

It has a module of its own, so that the other sections' code is no part of what a training depends on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Positive, Section


class RuntimeSection(Section):
    """How the work is run; nothing here changes a result, so nothing here is part of an identity."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes CUDA when there is one."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """processes a tracing or loading job may use."""
    processes: Annotated[int, Field(ge=1, le=64)] | None = None
    """processes of a training on a node; null takes one per GPU that the job was given, else one."""
    nodes: Annotated[int, Field(ge=1, le=256)] = 1
    """nodes of a training, with Slurm."""
    checkpoint_minutes: Positive = 5.0
    """time between checkpoints."""
    keep_intermediates: bool = True
    """keep per-tile visibility after the shards are written."""
    log_level: Literal["DEBUG", "INFO", "WARNING"] = "INFO"
    """``DEBUG``, ``INFO`` or ``WARNING``."""
