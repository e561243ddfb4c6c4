"""The published encoder of an image set: residual blocks with average pooling, then a mean over images.

Repasky et al. 2026, their public configuration: a 3x3 convolution to 4 channels, then per level (channels
4, 4, 8, 8) two residual blocks and, except for the last, one that halves the map; the mean over the set;
GroupNorm, SiLU and a 3x3 convolution that starts at zero. 7,964 parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.blocks import zero
from pipeline.models.inputs import mean_over_set

CHANNELS = (4, 4, 8, 8)
#: Images encoded at a time, as in `pipeline.models.published`.
CHUNK = 128


def pair_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with two channels per group."""
    return nn.GroupNorm(channels // 2, channels)


class PooledBlock(nn.Module):
    """Residual block (Dhariwal & Nichol 2021): both branches are average-pooled where it halves the map.

    Parameters
    ----------
    channels_in, channels_out : channels; where they differ, the skip is a 1x1 convolution.
    halve : whether the map is halved, before the first convolution and on the skip.
    """

    def __init__(self, channels_in: int, channels_out: int, halve: bool = False) -> None:
        super().__init__()
        self.halve = halve
        self.norm1 = pair_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = pair_norm(channels_out)
        self.conv2 = zero(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W), or half of each side."""
        h = F.silu(self.norm1(x))
        if self.halve:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return self.skip(x) + self.conv2(F.silu(self.norm2(self.conv1(h))))


class MeanOfImages(nn.Module):
    """Images -> the mean of the feature maps that `layers` compute from each.

    Parameters
    ----------
    missing : value of pixels without data. chunk : number of images encoded at a time.
    """

    layers: nn.Sequential

    def __init__(self, missing: float, chunk: int) -> None:
        super().__init__()
        self.missing, self.chunk = missing, chunk

    def forward(self, images: Tensor, valid: Tensor, present: Tensor) -> Tensor:
        """Map images (B, N, P, P) to (B, 8, P/8, P/8); padding is left out."""

        def encode(patch: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
            x = torch.where(valid[patch, image], images[patch, image], self.missing)
            # A single channel has no memory format of its own: it is set after the first convolution.
            stem = self.layers[0](x[:, None]).contiguous(memory_format=torch.channels_last)
            features = self.layers[1:](stem)
            return features, torch.ones_like(features[:, :1])

        return mean_over_set(encode, present, self.chunk)


class PooledSetEncoder(MeanOfImages):
    """Images -> the mean of their feature maps, 8 channels at an eighth of the resolution.

    Parameters
    ----------
    missing : value of pixels without data (published -1).
    chunk : number of images encoded at a time.
    """

    channels = CHANNELS[-1]

    def __init__(self, missing: float, chunk: int = CHUNK) -> None:
        super().__init__(missing, chunk)
        last = CHANNELS[0]
        layers: list[nn.Module] = [nn.Conv2d(1, last, 3, padding=1)]
        for level, width in enumerate(CHANNELS):
            layers += [PooledBlock(last, width), PooledBlock(width, width)]
            last = width
            if level < len(CHANNELS) - 1:
                layers.append(PooledBlock(width, width, halve=True))
        self.layers = nn.Sequential(*layers)


def pooled_map(channels: int, out: int) -> nn.Sequential:
    """Layers after the mean over the set: GroupNorm, SiLU, and a 3x3 convolution initialised with zeros."""
    return nn.Sequential(pair_norm(channels), nn.SiLU(), zero(nn.Conv2d(channels, out, 3, padding=1)))
