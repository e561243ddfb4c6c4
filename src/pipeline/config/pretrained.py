"""Section ``pretrained``: weights that are given, to be evaluated and used without any training."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from pipeline.config.base import Section, Share
from pipeline.config.bridge import Evaluations, SamplerKind, SamplerSection, TimeGrid


class PretrainedSampler(SamplerSection):
    """How clones of given weights are drawn: the defaults are those of the shipped weights."""

    nfe: Evaluations = 4
    """network evaluations per clone."""
    kind: SamplerKind = "dbim"
    """a sampler of the model's process, see ``published.sampler.kind``; every process has ``dbim``."""
    eta: Share = 1.0
    grid: TimeGrid = "quadratic"
    """``uniform`` steps or ``quadratic``, finer towards the truth."""


class PretrainedSection(Section):
    """Given weights in place of a training: with them, `systems` is empty and `primary` is `pretrained`."""

    weights: str | None = None
    """folder with ``model.safetensors`` and ``config.json``, or the safetensors file; null trains. Identified
    by content, not by path. The model's `size_px` and `factor` must be those of `patches`; the pixel
    size may be another one when the model is scale-free (`height_unit: pixel`)."""
    vae: str | None = None
    """the same for its VAE, for a latent model."""
    sampler: PretrainedSampler = PretrainedSampler()
    """how clones are drawn, which does not depend on the training."""

    @model_validator(mode="after")
    def _vae_of_something(self) -> PretrainedSection:
        if self.vae is not None and self.weights is None:
            raise ValueError(f"vae: expected null without weights, found {self.vae!r}")
        return self


def weights_file(path: Path | str) -> Path:
    """The safetensors file that a path names: itself, or ``model.safetensors`` in a folder."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / "model.safetensors"
