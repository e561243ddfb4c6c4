"""A U-Net with few layers at full resolution, for the fast networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.blocks import ResidualBlock, SpatialAttention, zero


def levels_for(size: int, most: int) -> int:
    """Number of levels of a U-Net, at most `most`: sides must halve without remainder and stay at least 3."""
    levels = 1
    while levels < most and size % 2**levels == 0 and size >> levels >= 3:
        levels += 1
    return levels


class UNet(nn.Module):
    """Encoder, attention at the lowest level, decoder with added skips (Ronneberger et al. 2015).

    Levels are halved by 2x2 strided convolutions and doubled by a 1x1 convolution and repetition, so that
    nearly all arithmetic is in the 3x3 convolutions of the residual blocks.

    Parameters
    ----------
    channels_in : channels of the input.
    widths : channels of each level, finest first.
    down_blocks, up_blocks : residual blocks of each level on the way down and up; the lowest level has
        ``down_blocks[-1]`` blocks before the attention and ``up_blocks[-1]`` after it.
    embedding : width of the vector that modulates every block; 0 for none.
    side_channels : channels of a second input, added at the second level (half the resolution).
    out_level : level at which the decoder stops; the output has ``widths[out_level]`` channels.
    more_channels : channels of a third input, at full resolution. Its separate weights are initialised with
        zeros, so that a network may start from the weights of one without it.
    """

    def __init__(
        self,
        channels_in: int,
        widths: Sequence[int],
        down_blocks: Sequence[int],
        up_blocks: Sequence[int],
        embedding: int = 0,
        side_channels: int = 0,
        out_level: int = 0,
        more_channels: int = 0,
    ) -> None:
        super().__init__()
        self.out_level = out_level
        levels = len(widths)

        def blocks(width: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(width, width, embedding, True) for _ in range(count))

        self.stem = nn.Conv2d(channels_in, widths[0], 3, padding=1)
        self.more = zero(nn.Conv2d(more_channels, widths[0], 3, padding=1)) if more_channels else None
        self.down = nn.ModuleList(blocks(widths[i], down_blocks[i]) for i in range(levels))
        pairs = list(pairwise(widths))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, low, 2, stride=2) for fine, low in pairs)
        self.side = nn.Conv2d(side_channels, widths[1], 1) if side_channels else None
        self.attention = SpatialAttention(widths[-1], heads=math.gcd(widths[-1], max(1, widths[-1] // 32)))
        self.up = nn.ModuleList(blocks(widths[i], up_blocks[i]) for i in range(out_level, levels))
        self.grow = nn.ModuleList(nn.Conv2d(low, fine, 1) for fine, low in pairs[out_level:])

    def forward(
        self,
        x: Tensor,
        vector: Tensor | None = None,
        side: Tensor | None = None,
        more: Tensor | None = None,
    ) -> Tensor:
        """Map (B, channels_in, H, W) to (B, widths[out_level], H / 2^out_level, W / 2^out_level)."""
        h = self.stem(x)
        if self.more is not None and more is not None:
            h = h + self.more(more)
        skips = []
        for level, blocks in enumerate(self.down):
            if level == 1 and self.side is not None and side is not None:
                h = h + self.side(side)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, vector)
            skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        h = self.attention(h)
        for level in reversed(range(self.out_level, len(self.down))):
            here = level - self.out_level
            if level < len(self.shrink):
                h = F.interpolate(self.grow[here](h), scale_factor=2.0, mode="nearest") + skips[level]
            for block in self.up[here]:  # type: ignore[attr-defined]
                h = block(h, vector)
        return h
