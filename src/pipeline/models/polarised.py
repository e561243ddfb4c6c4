"""Polarised self-attention (Liu et al. 2021, equations 2 to 5): along channels, then along pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PolarisedAttention(nn.Module):
    """Polarised self-attention in its sequential form.

    Each branch collapses the other dimension and keeps its own, with half the channels or at full resolution;
    a softmax weights the collapsed dimension, and a sigmoid bounds the result between 0 and 1:

        A_ch = sigmoid(LN(W_z (V softmax over pixels(Q)))),   V: C/2 x pixels, Q: pixels,
        A_sp = sigmoid(softmax over channels(mean over pixels(Q')) V'),   Q', V': C/2 x pixels.

    Parameters
    ----------
    channels : C, at least 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.channel_query = nn.Conv2d(channels, 1, 1)
        self.channel_value = nn.Conv2d(channels, half, 1)
        self.channel_out = nn.Linear(half, channels)
        self.norm = nn.LayerNorm(channels)
        self.pixel_query = nn.Conv2d(channels, half, 1)
        self.pixel_value = nn.Conv2d(channels, half, 1)

    def of_channels(self, x: Tensor) -> Tensor:
        """Weights (B, C, 1, 1) of the channels of (B, C, H, W), between 0 and 1."""
        share = torch.softmax(self.channel_query(x).flatten(2), dim=2)
        folded = (self.channel_value(x).flatten(2) * share).sum(dim=2)
        return torch.sigmoid(self.norm(self.channel_out(folded)))[:, :, None, None]

    def of_pixels(self, x: Tensor) -> Tensor:
        """Weights (B, 1, H, W) of the pixels of (B, C, H, W), between 0 and 1."""
        share = torch.softmax(self.pixel_query(x).mean(dim=(2, 3), keepdim=True), dim=1)
        return torch.sigmoid((self.pixel_value(x) * share).sum(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """Weight (B, C, H, W) by channel, and the result by pixel."""
        x = x * self.of_channels(x)
        return x * self.of_pixels(x)
