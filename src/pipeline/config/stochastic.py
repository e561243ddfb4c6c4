"""Sections ``predictors.yasuda`` and ``predictors.diffusion``: rivals that draw members (Yasuda 2025)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from pipeline.config.base import Positive, PositiveInt, Share
from pipeline.config.bridge import Evaluations
from pipeline.config.rivals import RivalSection, Weight
from pipeline.config.training import OptimiserSection


class StochasticSection(RivalSection):
    """A U-Net that gives the drift or the noise of a stochastic process, and how members are drawn."""

    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of the weights' average that is kept; 0 keeps the weights (published)."""
    clip: Weight = 0.0
    """largest norm of the gradient; 0 does not clip (published)."""
    optimiser: OptimiserSection = OptimiserSection(samples=2_387_000, batch=32, learning_rate=1e-4)
    """length, batch and step size of the training (published 1,000 epochs of 2,387 samples, batch 32, AdamW
    1e-4)."""
    widths: Annotated[list[PositiveInt], Field(min_length=2, max_length=6)] = Field(
        default=[32, 64, 128, 256]
    )
    """channels after each halving (published 32, 64, 128, 256); at full resolution as many as after the
    first. Attention is at the lowest level, with 32 channels per head."""
    embedding: PositiveInt = 128
    """width of the time embedding, which scales and shifts every block."""
    unit_px: Positive | None = None
    """heights, in pixels, that count as 1 in the process; null takes an RMS of the training patches: of
    the DEM about each patch's mean (`yasuda`), or of DEM minus a priori DEM (`diffusion`)."""
    members: Annotated[int, Field(ge=2, le=1000)] = 64
    """clones per patch (published 64)."""
    nfe: Evaluations
    """network evaluations per clone."""
    kind: Literal["euler", "dbim"] = "euler"
    """sampler: ``euler`` (Euler-Maruyama, published), or ``dbim``: transitions through the denoiser."""
    eta: Share = 1.0
    """share of the full noise in each step of ``dbim``; ``euler`` ignores it."""

    def trained(self) -> Self:
        """See `RivalSection`: how members are drawn comes after the training."""
        later = ("members", "nfe", "kind", "eta")
        return self.model_copy(update={key: type(self).model_fields[key].default for key in later})


class YasudaSection(StochasticSection):
    """The stochastic interpolant from the a priori DEM to the DEM: SM of Yasuda (2025)."""

    noise: Positive = 0.2
    """epsilon, in units of `unit_px` (published 0.2)."""
    nfe: Evaluations = 10
    """network evaluations per clone (published 10)."""
    target: Literal["dem", "residual"] = "dem"
    """variable of the sampler: the ``dem`` (published) or the ``residual`` = DEM minus a priori DEM. The
    network serves both: it gives the drift beyond that of the a priori DEM."""

    def trained(self) -> Self:
        """See `RivalSection`."""
        return super().trained().model_copy(update={"target": "dem"})


class DiffusionSection(StochasticSection):
    """The diffusion of DEM minus a priori DEM: DM, the baseline of Yasuda (2025)."""

    nfe: Evaluations = 50
    """network evaluations per clone (published 50)."""
    weighting: Literal["noise", "score"] = "noise"
    """weight of the squared error of the noise: ``noise`` (1) or ``score`` (1/sigma^2, the published loss of
    the score, which a few samples near the truth dominate: it hardly trains)."""
