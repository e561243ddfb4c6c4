"""Sections ``predictors.<name>`` of the learned rivals: their networks, losses and trainings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Positive, PositiveInt, Section, Seed
from pipeline.config.training import OptimiserSection

Weight = Annotated[float, Field(ge=0)]


class RivalSection(Section):
    """Keys common to all learned rivals."""

    keep_block_means: bool = False
    """project the result so that its block means equal the a priori DEM; no source does."""
    augmentation: Literal["flips", "square"] = "square"
    """``flips`` or ``square``: the square's eight symmetries."""
    weight_decay: Weight = 0.01
    """weight decay of AdamW."""
    ema: Annotated[float, Field(ge=0, lt=1)]
    """decay of the weights' average that is kept; 0 keeps the weights."""
    clip: Weight
    """largest norm of the gradient; 0 does not clip."""
    seed: Seed = 0
    """seed of initialisation, order and images."""
    optimiser: OptimiserSection
    """length, batch and step size of the training."""
    weights: str | None = None
    """folder of given weights (or the safetensors file); null trains. Identified by content, not by
    path. With weights, all other keys are those of their ``config.json``."""

    def trained(self) -> Self:
        """The keys on which the weights depend; all others have their defaults."""
        return self


class EstimateSection(RivalSection):
    """A rival that makes one DEM."""

    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    clip: Weight = 1.0
    optimiser: OptimiserSection = OptimiserSection(
        samples=20_000, batch=8, learning_rate=5e-4, warmup_samples=800, decay="cosine"
    )


class DirectSection(EstimateSection):
    """A rival that is trained on the error of its result only."""

    loss: Literal["l1", "l2"] = "l1"
    """loss of heights, in pixels: mean ``l1`` or ``l2`` error."""
    slope_weight: Weight
    """weight of the mean absolute error of slopes."""


class RegressionSection(DirectSection):
    """Direct regression: the trunk of the aligned network, which gives DEM minus a priori DEM."""

    base: PositiveInt = 16
    """channels of the trunk at half the resolution."""
    slope_weight: Weight = 2.0


class GuidedSection(DirectSection):
    """Deformable kernel network for joint filtering, the fast form (Kim, Ponce & Ham 2021)."""

    slope_weight: Weight = 0.0
    base: PositiveInt = 24
    """channels of the first convolutions; later ones have 2 and 4 times as many."""
    kernel: Annotated[int, Field(ge=1, le=7)] = 3
    """side of the kernels, pixels (published 3)."""

    @model_validator(mode="after")
    def _odd(self) -> GuidedSection:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: expected an odd number, found {self.kernel}")
        return self


class AdversarialSection(EstimateSection):
    """A generator of residual dense blocks and its critic."""

    width: PositiveInt = 32
    """channels of the generator (ESRGAN 64)."""
    growth: PositiveInt = 16
    """channels that each layer of a dense block adds (ESRGAN 32)."""
    blocks: PositiveInt = 2
    """residual-in-residual dense blocks of the generator (ESRGAN 23)."""
    critic_base: Annotated[int, Field(ge=2)] = 8
    """channels of the critic's first convolution; the guide has twice as many."""
    pixel_weight: Weight = 1.0
    """weight of the pixel loss (ESRGAN 0.01, beside a perceptual loss of weight 1)."""
    adversarial_weight: Weight = 0.005
    """weight of the adversarial loss of the generator (ESRGAN 0.005)."""
    adversarial_start_samples: Annotated[int, Field(ge=0)] = 0
    """samples before that loss is used; the critic learns from the first."""


class GanSection(AdversarialSection):
    """ESRGAN (Wang et al. 2018) without its perceptual loss: absolute error, relativistic average critic."""


class SiranSection(AdversarialSection):
    """SIRAN (Paul & Gupta 2024); the source gives neither weights nor epsilon."""

    guide: bool = True
    """images guide the generator."""
    spatial_attention: bool = True
    """the critic's maps of the a priori DEM gate the guide; needs `guide`."""
    polarised_attention: bool = True
    """these maps go through polarised self-attention first; needs `spatial_attention`."""
    sinkhorn: bool = True
    """the Sinkhorn divergence between generated and true DEMs of a batch is part of the loss."""
    ssim_weight: Weight = 0.1
    """weight of -log SSIM."""
    sinkhorn_weight: Weight = 1.0
    """weight of the Sinkhorn divergence."""
    epsilon: Positive = 0.01
    """entropic regularisation of the Sinkhorn divergence, mean squared pixels."""
    adaptation_weight: Weight = 1.0
    """weight of the distance between the critic's maps of a priori and true DEMs."""

    @model_validator(mode="after")
    def _nested(self) -> SiranSection:
        if self.spatial_attention and not self.guide:
            raise ValueError("spatial_attention: expected false without guide, which it gates, found true")
        if self.polarised_attention and not self.spatial_attention:
            raise ValueError(
                "polarised_attention: expected false without spatial_attention, on whose maps it works, "
                "found true"
            )
        return self
