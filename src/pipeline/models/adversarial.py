"""Generator and critic of the adversarial rivals.

The generator is ESRGAN's (Wang et al. 2018): residual-in-residual dense blocks without norms, here at half
the resolution, with the 2 x 2 pixels of a cell as channels. The critic takes heights and slopes of a DEM and
classifies patches of it (Isola et al. 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.blocks import group_norm, zero
from pipeline.models.photometric import map_slopes

#: Factor on the residual of a block (ESRGAN's beta).
_SHARE = 0.2
_LEAK = 0.2


class DenseBlock(nn.Module):
    """Five 3 x 3 convolutions, each on the outputs of all previous ones; the scaled last one is added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outputs = [growth] * 4 + [width]
        self.layers = nn.ModuleList(
            nn.Conv2d(width + k * growth, out, 3, padding=1) for k, out in enumerate(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        *first, last = self.layers
        outputs = [x]
        for layer in first:
            outputs.append(F.leaky_relu(layer(torch.cat(outputs, dim=1)), _LEAK))
        return x + _SHARE * last(torch.cat(outputs, dim=1))


class ResidualInResidual(nn.Module):
    """Three dense blocks with a scaled residual connection."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        return x + _SHARE * (self.blocks(x) - x)


class Generator(nn.Module):
    """Full-resolution fields to a residual, which is zero before training.

    Parameters
    ----------
    channels_in : of the fields. width, growth, blocks : see `AdversarialSection`.
    """

    def __init__(self, channels_in: int, width: int, growth: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels_in, width, 3, padding=1))
        self.body = nn.Sequential(*(ResidualInResidual(width, growth) for _ in range(blocks)))
        self.after = nn.Conv2d(width, width, 3, padding=1)
        fine = max(4, width // 2)
        self.grow = nn.Sequential(nn.Conv2d(width, 4 * fine, 3, padding=1), nn.PixelShuffle(2))
        self.out = nn.Sequential(
            nn.LeakyReLU(_LEAK),
            nn.Conv2d(fine, fine, 3, padding=1),
            nn.LeakyReLU(_LEAK),
            zero(nn.Conv2d(fine, 1, 3, padding=1)),
        )

    def forward(self, fields: Tensor) -> Tensor:
        """Map (B, C, P, P) to (B, 1, P, P)."""
        h = self.stem(fields)
        return self.out(self.grow(h + self.after(self.body(h))))


class Critic(nn.Module):
    """Classifies DEMs as real or fake, patch by patch, with optional spatial attention.

    With attention, each feature at half the resolution is weighted by a map between 0 and 1, computed from
    the features.

    Parameters
    ----------
    base : channels of the first convolution; features have twice as many.
    factor : pixels per cell of the a priori DEM.
    looks : whether features are weighted by attention.
    """

    def __init__(self, base: int, factor: int, looks: bool = False) -> None:
        super().__init__()
        self.factor, self.channels = factor, 2 * base

        def shrink(before: int, after: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, 4, stride=2, padding=1), group_norm(after), nn.LeakyReLU(_LEAK)]

        first = [nn.Conv2d(3, base, 3, padding=1), nn.LeakyReLU(_LEAK)]
        self.features = nn.Sequential(*first, *shrink(base, 2 * base))
        self.looks = nn.Conv2d(2 * base, 2 * base, 3, padding=1) if looks else None
        self.judge = nn.Sequential(
            *shrink(2 * base, 4 * base), *shrink(4 * base, 4 * base), nn.Conv2d(4 * base, 1, 3, padding=1)
        )

    def _features(self, heights: Tensor) -> Tensor:
        fields = torch.cat([heights / self.factor, map_slopes(heights[:, 0])], dim=1)
        return self.features(fields)

    def attention(self, heights: Tensor) -> Tensor:
        """Spatial attention maps A_s (B, 2 base, P/2, P/2) of DEMs (B, 1, P, P) in pixels, in (0, 1)."""
        assert self.looks is not None
        return torch.sigmoid(self.looks(self._features(heights)))

    def forward(self, heights: Tensor) -> Tensor:
        """Map DEMs (B, 1, P, P) in pixels to logits (B, 1, h, w), positive for real."""
        features = self._features(heights)
        if self.looks is not None:
            features = features * torch.sigmoid(self.looks(features))
        return self.judge(features).float()
