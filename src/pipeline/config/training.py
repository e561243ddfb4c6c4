"""Section ``training``, and the optimiser of a stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Positive, PositiveInt, Section


class TrainingSection(Section):
    """Keys of every training that change its numbers."""

    cpu_threads: Annotated[int, Field(ge=1, le=256)] = 8
    """torch threads; part of the result, since sums depend on it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """``fp32`` or ``bf16`` (autocast)."""


class OptimiserSection(Section):
    """One stage of training, measured in samples so that it does not depend on the machine."""

    samples: PositiveInt
    """training samples of this stage."""
    batch: PositiveInt = 256
    """global batch, whatever the number of processes."""
    learning_rate: Positive = 1e-4
    """step size of AdamW (of Adam for the VAE)."""
    warmup_samples: Annotated[int, Field(ge=0)] = 0
    """linear warm-up."""
    decay: Literal["none", "cosine"] = "none"
    """``none`` (published) or ``cosine`` down to zero."""
