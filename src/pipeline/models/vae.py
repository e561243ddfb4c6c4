"""The topography VAE: the KL autoencoder of Rombach et al. 2022 (LDM, appendix E) with one channel.

Encoder: convolution, then for each multiplier `blocks` residual blocks and (except for the last) a strided
convolution; middle: residual, attention, residual; norm, convolution to mean and log-variance. The decoder
mirrors it with one more residual block per level. With base 64, multipliers 1, 2, 4, 4, two blocks
and 4 latent channels it has 20,943,269 parameters and maps 96 x 96 to 4 x 12 x 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.blocks import ResidualBlock, SpatialAttention, group_norm


@dataclass(frozen=True)
class Posterior:
    """Diagonal Gaussian over latents.

    Attributes
    ----------
    mean, logvar : (B, C, H, W); the log-variance is limited to [-30, 20].
    """

    mean: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Latents (B, C, H, W) from standard normal noise; the gradient flows to mean and log-variance."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def mode(self) -> Tensor:
        """Return the most likely latents, the mean."""
        return self.mean

    def kl(self) -> Tensor:
        """Kullback-Leibler divergence from the standard Gaussian, summed over a sample: (B,), nats."""
        terms = self.mean**2 + torch.exp(self.logvar) - 1 - self.logvar
        return 0.5 * terms.flatten(1).sum(dim=1)


class Downsample(nn.Module):
    """Halve a map by a strided 3x3 convolution, padded on the right and at the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, 2H, 2W) to (B, C, H, W)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double a map: repeat pixels, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _middle(channels: int) -> list[nn.Module]:
    return [ResidualBlock(channels, channels), SpatialAttention(channels), ResidualBlock(channels, channels)]


class AutoencoderKL(nn.Module):
    """KL autoencoder of single-channel maps whose sides can be halved at each level.

    Parameters
    ----------
    base : channels of the first level.
    multipliers : channels of each level over `base`; each level after the first halves the map.
    blocks : residual blocks per level in the encoder; the decoder has one more.
    latent_channels : channels of the latents.
    """

    def __init__(
        self,
        base: int = 64,
        multipliers: Sequence[int] = (1, 2, 4, 4),
        blocks: int = 2,
        latent_channels: int = 4,
    ) -> None:
        super().__init__()
        widths = [base * m for m in multipliers]
        self.stride = 2 ** (len(widths) - 1)
        self.latent_channels = latent_channels

        encoder: list[nn.Module] = [nn.Conv2d(1, base, 3, padding=1)]
        last = base
        for level, width in enumerate(widths):
            for _ in range(blocks):
                encoder.append(ResidualBlock(last, width))
                last = width
            if level < len(widths) - 1:
                encoder.append(Downsample(width))
        encoder += [*_middle(last), group_norm(last), nn.SiLU()]
        encoder.append(nn.Conv2d(last, 2 * latent_channels, 3, padding=1))
        self.encoder = nn.Sequential(*encoder)
        self.to_moments = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)

        self.from_latent = nn.Conv2d(latent_channels, latent_channels, 1)
        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, last, 3, padding=1), *_middle(last)]
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                decoder.append(ResidualBlock(last, width))
                last = width
            if level > 0:
                decoder.append(Upsample(width))
        decoder += [group_norm(last), nn.SiLU(), nn.Conv2d(last, 1, 3, padding=1)]
        self.decoder = nn.Sequential(*decoder)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution, where the adaptive GAN weight is measured."""
        convolution = self.decoder[-1]
        assert isinstance(convolution, nn.Conv2d)
        return convolution.weight

    def latent_shape(self, size_px: int) -> tuple[int, int, int]:
        """Shape (C, H, W) of the latents of a square patch.

        Raises
        ------
        ValueError
            If the patch's side cannot be halved at every level.
        """
        if size_px % self.stride:
            raise ValueError(
                f"patch size: expected a multiple of {self.stride} for a VAE with "
                f"{self.stride.bit_length()} multipliers, found {size_px}"
            )
        return (self.latent_channels, size_px // self.stride, size_px // self.stride)

    def encode(self, x: Tensor) -> Posterior:
        """Encode maps (B, 1, H, W), in the unit of the section, as a Gaussian over latents.

        Raises
        ------
        ValueError
            If the map's sides cannot be halved at every level.
        """
        for side in x.shape[-2:]:
            self.latent_shape(side)
        mean, logvar = self.to_moments(self.encoder(x)).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))

    def decode(self, z: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to maps (B, 1, H, W)."""
        return self.decoder(self.from_latent(z))
