"""Section ``vae``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import PositiveInt, Section, Seed, Share
from pipeline.config.training import OptimiserSection


class VaeSection(Section):
    """The topography VAE (Rombach et al. 2022's KL autoencoder, one channel)."""

    target: Literal["dem", "residual"] = "dem"
    """what it encodes: ``dem`` (published) or ``residual`` (DEM minus a priori)."""
    height_unit: Literal["km", "pixel"] = "km"
    """``km`` (published) or ``pixel`` (scale-free)."""
    base: PositiveInt = 64
    """channels at full resolution; 20,943,269 parameters with all as published (64)."""
    multipliers: list[PositiveInt] = Field(default=[1, 2, 4, 4], min_length=2, max_length=6)
    """channels at each level, in units of `base` (published 1, 2, 4, 4)."""
    blocks: PositiveInt = 2
    """residual blocks per level of the encoder (published 2); the decoder has one more."""
    latent_channels: PositiveInt = 4
    """channels of the latents (published 4)."""
    kl_weight: Annotated[float, Field(ge=0)] = 1e-6
    """weight of the KL term in the loss, which sums absolute differences over pixels."""
    gan_weight: Annotated[float, Field(ge=0)] = 0.5
    """weight of the adaptive hinge GAN; 0 trains without one."""
    gan_start_samples: Annotated[int, Field(ge=0)] = 5000 * 64
    """samples before the GAN starts (published 5000 steps of 64)."""
    gan_alternate: Annotated[int, Field(ge=0)] = 0
    """steps in a row that train the autoencoder, then as many the critic, counted from the first step on
    (published 5); 0 trains both in every step."""
    gan_base: PositiveInt = 64
    """channels of the PatchGAN (published 64; 6.96 M parameters)."""
    gan_layers: PositiveInt = 4
    """layers of the PatchGAN (published 4)."""
    slope_weight: Annotated[float, Field(ge=0)] = 0.0
    """our addition: weight of the absolute slope error, metres per metre."""
    lpips_weights: str | None = None
    """local safetensors file with VGG16 and LPIPS weights; null leaves the perceptual loss out."""
    optimiser: OptimiserSection = OptimiserSection(samples=64 * 100_000, batch=64, learning_rate=4.5e-6)
    betas: tuple[Share, Share] = (0.5, 0.9)
    """betas of Adam."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of the weights' average that is kept; 0 keeps the weights."""
    seed: Seed = 0
    """seed of initialisation, order and noise."""
