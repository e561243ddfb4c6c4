"""Sections ``predictors.<name>`` of the learned rivals: their networks, losses and trainings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Positive, PositiveInt, Section, Seed
from pipeline.config.training import OptimiserSection

Weight = Annotated[float, Field(ge=0)]


class RivalSection(Section):
    """What all learned rivals have.

    Attributes
    ----------
    keep_block_means : project the result so that its block means equal the a priori DEM; no source does.
    augmentation : ``flips`` or ``square``: the square's eight symmetries.
    weight_decay : of AdamW.
    ema : decay of the weights' average that is kept; 0 keeps the weights.
    clip : largest norm of the gradient; 0 does not clip.
    seed : of initialisation, order and images.
    optimiser : length, batch and step size of the training.
    weights : folder of given weights (or the safetensors file); null trains. Their bytes count, not their
        place. All other keys are then those of their ``config.json``.
    """

    keep_block_means: bool = False
    augmentation: Literal["flips", "square"] = "square"
    weight_decay: Weight = 0.01
    ema: Annotated[float, Field(ge=0, lt=1)]
    clip: Weight
    seed: Seed = 0
    optimiser: OptimiserSection
    weights: str | None = None

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
    """A rival that is trained on the error of its result only.

    Attributes
    ----------
    loss : of heights in pixels: mean ``l1`` or ``l2`` error.
    slope_weight : weight of the mean absolute error of slopes.
    """

    loss: Literal["l1", "l2"] = "l1"
    slope_weight: Weight


class RegressionSection(DirectSection):
    """Direct regression: the trunk of the aligned network, which gives DEM minus a priori DEM.

    Attributes
    ----------
    base : channels of the trunk at half the resolution.
    """

    base: PositiveInt = 16
    slope_weight: Weight = 2.0


class GuidedSection(DirectSection):
    """Deformable kernel network for joint filtering, the fast form (Kim, Ponce & Ham 2021).

    Attributes
    ----------
    base : channels of the first convolutions; later ones have 2 and 4 times as many.
    kernel : side of the kernels, pixels (published 3).
    """

    slope_weight: Weight = 0.0
    base: PositiveInt = 24
    kernel: Annotated[int, Field(ge=1, le=7)] = 3

    @model_validator(mode="after")
    def _odd(self) -> GuidedSection:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: expected an odd number, found {self.kernel}")
        return self


class AdversarialSection(EstimateSection):
    """A generator of residual dense blocks and its critic.

    Attributes
    ----------
    width, growth, blocks : channels, channels that each layer of a dense block adds, and residual-in-residual
        blocks of the generator (ESRGAN 64, 32, 23).
    critic_base : channels of the critic's first convolution; the guide has twice as many.
    pixel_weight : weight of the pixel loss.
    adversarial_weight : weight of the adversarial loss of the generator.
    adversarial_start_samples : samples before that loss counts; the critic learns from the first.
    """

    width: PositiveInt = 32
    growth: PositiveInt = 16
    blocks: PositiveInt = 2
    critic_base: Annotated[int, Field(ge=2)] = 8
    pixel_weight: Weight = 1.0
    adversarial_weight: Weight = 0.005
    adversarial_start_samples: Annotated[int, Field(ge=0)] = 0


class GanSection(AdversarialSection):
    """ESRGAN (Wang et al. 2018) without its perceptual loss: absolute error, relativistic average critic.

    Attributes
    ----------
    adversarial_weight : weight of the adversarial loss of the generator (ESRGAN 0.005).
    pixel_weight : weight of the pixel loss (ESRGAN 0.01, beside a perceptual loss of weight 1).
    """


class SiranSection(AdversarialSection):
    """SIRAN (Paul & Gupta 2024); the source gives neither weights nor epsilon.

    Attributes
    ----------
    guide : images guide the generator.
    spatial_attention : the critic's maps of the a priori DEM gate the guide; needs `guide`.
    polarised_attention : these maps go through polarised self-attention first; needs `spatial_attention`.
    sinkhorn : the Sinkhorn divergence between generated and true DEMs of a batch is part of the loss.
    ssim_weight : weight of -log SSIM.
    sinkhorn_weight : weight of the Sinkhorn divergence.
    epsilon : entropic regularisation of the Sinkhorn divergence, mean squared pixels.
    adaptation_weight : weight of the distance between the critic's maps of a priori and true DEMs.
    """

    guide: bool = True
    spatial_attention: bool = True
    polarised_attention: bool = True
    sinkhorn: bool = True
    ssim_weight: Weight = 0.1
    sinkhorn_weight: Weight = 1.0
    epsilon: Positive = 0.01
    adaptation_weight: Weight = 1.0

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
