"""Section ``pretrained``: weights that are given, to be evaluated and used without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Section, Share
from pipeline.config.bridge import SamplerSection


class PretrainedSampler(SamplerSection):
    """How clones of given weights are drawn: the same keys as any sampler, defaults of the shipped weights.

    Attributes
    ----------
    nfe : network evaluations a clone.
    kind : one of the model's process, see ``published.sampler.kind``; every process has ``dbim``.
    eta : share of the full noise in each step of ``dbim`` (0 keeps the noise drawn first); others ignore it.
    grid : ``uniform`` steps or ``quadratic``, finer towards the truth.
    """

    nfe: Annotated[int, Field(ge=1, le=1000)] = 4
    kind: Literal["posterior", "ode", "euler", "heun", "dbim"] = "dbim"
    eta: Share = 1.0
    grid: Literal["uniform", "quadratic"] = "quadratic"


class PretrainedSection(Section):
    """Given weights in the place of a training: with them, `systems` is empty and `primary` is `pretrained`.

    Attributes
    ----------
    weights : folder with ``model.safetensors`` and ``config.json``, or the safetensors file; null trains.
        Their bytes count, not their place. The model's `size_px` and `factor` must be those of `patches`; the
        pixel size may be another one when the model is scale-free (`height_unit: pixel`).
    vae : the same of its VAE, for a latent model.
    sampler : how clones are drawn; a saved model does not say.
    """

    weights: str | None = None
    vae: str | None = None
    sampler: PretrainedSampler = PretrainedSampler()

    @model_validator(mode="after")
    def _vae_of_something(self) -> PretrainedSection:
        if self.vae is not None and self.weights is None:
            raise ValueError(f"vae: expected null without weights, found {self.vae!r}")
        return self


def weights_file(path: Path | str) -> Path:
    """The safetensors file that a path names: itself, or ``model.safetensors`` in a folder."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / "model.safetensors"
