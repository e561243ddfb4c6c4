"""Building blocks shared by the networks: norms, residual blocks, attention, embeddings."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)


def group_norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """Group normalisation with 32 groups, or fewer where there are few channels.

    A group always has at least two channels: with one channel per group the norm would remove the mean level
    of each channel, the only information that a thin layer can carry.
    """
    most = min(32, max(1, channels // 2))
    groups = max(g for g in range(1, most + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6, affine=affine)


def zero(module: M) -> M:
    """Set all parameters of `module` to zero, so that it starts without influence."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Shift and scale tokens (B, T, C) by vectors (B, C): the adaptive part of adaLN."""
    return x * (1 + scale[:, None]) + shift[:, None]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm and SiLU around a skip (He et al. 2016; Ho et al. 2020).

    Parameters
    ----------
    channels_in, channels_out : channels; where they differ, the skip is a 1x1 convolution.
    embedding : width of a vector that scales and shifts the second norm (FiLM); 0 for none.
    start_as_identity : the second convolution starts at zero.
    """

    def __init__(
        self, channels_in: int, channels_out: int, embedding: int = 0, start_as_identity: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = group_norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.film = zero(nn.Linear(embedding, 2 * channels_out)) if embedding else None
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        if start_as_identity:
            zero(self.conv2)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        """Map (B, C_in, H, W), and a vector (B, embedding) if so built, to (B, C_out, H, W)."""
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.film is not None and vector is not None:
            scale, shift = self.film(F.silu(vector))[:, :, None, None].chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1 + scale)
        return self.skip(x) + self.conv2(F.silu(h))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of (..., T, C). On a GPU, gradients with up to 1024 tokens are reproducible.

    The fused kernels add the gradients of blocks of 64 keys in any order; beyond 1024 tokens only they need
    little enough memory.
    """
    if query.is_cuda and torch.is_grad_enabled() and 64 < key.shape[-2] <= 1024:
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return torch.softmax(scores, dim=-1).to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)


class SpatialAttention(nn.Module):
    """Self-attention of all pixels of a map (B, C, H, W), with a residual connection."""

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        b, c, height, width = x.shape
        h = self.norm(x)
        query, key, value = (
            layer(h).reshape(b, self.heads, c // self.heads, height * width).transpose(2, 3)
            for layer in (self.query, self.key, self.value)
        )
        mixed = attend(query, key, value)
        return x + self.out(mixed.transpose(2, 3).reshape(b, c, height, width))


class TokenAttention(nn.Module):
    """Multi-head self-attention over tokens (B, T, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C) to the same shape."""
        b, tokens, width = x.shape
        qkv = self.qkv(x).reshape(b, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = attend(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(b, tokens, width))


def mlp(width: int) -> nn.Sequential:
    """The transformer's two-layer perceptron, four times wider inside."""
    return nn.Sequential(
        nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
    )


class TransformerBlock(nn.Module):
    """Pre-norm transformer block (Dosovitskiy et al. 2021); `affine` says whether norms have parameters."""

    def __init__(self, width: int, heads: int, affine: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=affine, eps=1e-6)
        self.attention = TokenAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=affine, eps=1e-6)
        self.mlp = mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, T, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class AdaptiveBlock(nn.Module):
    """Transformer block whose norms and gates come from a vector; the gates are zero before training.

    adaLN-zero of Peebles & Xie 2023 (DiT), their figure 3: one linear layer of the vector gives
    shift, scale and gate for the attention and for the perceptron.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attention = TokenAttention(width, heads)
        self.mlp = mlp(width)
        self.adaptive = zero(nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Map tokens (B, T, width), given a vector (B, width), to the same shape."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaptive(F.silu(vector)).chunk(6, dim=1)
        x = x + gate1[:, None] * self.attention(modulate(self.norm(x), shift1, scale1))
        return x + gate2[:, None] * self.mlp(modulate(self.norm(x), shift2, scale2))


class TimeEmbedding(nn.Module):
    """Sinusoids of the integer time round(999 t), 256 of them, through a two-layer perceptron."""

    def __init__(self, width: int, sinusoids: int = 256) -> None:
        super().__init__()
        self.sinusoids = sinusoids
        self.layers = nn.Sequential(nn.Linear(sinusoids, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Embed times (B,) in [0, 1] as (B, width)."""
        half = self.sinusoids // 2
        rate = torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device) / half)
        angle = torch.round(999 * t.float())[:, None] * rate
        return self.layers(torch.cat([torch.cos(angle), torch.sin(angle)], dim=1))


def grid_positions(width: int, rows: int, columns: int) -> Tensor:
    """Fixed sinusoidal positions of a token grid, half of the width for rows and half for columns.

    Returns
    -------
    Tensor (1, rows * columns, width), tokens row by row.

    Raises
    ------
    ValueError
        If `width` is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width: expected a multiple of 4 for the positions of tokens, found {width}")
    quarter = width // 4
    rate = 1.0 / 10_000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)

    def axis(n: int) -> Tensor:
        angle = torch.arange(n, dtype=torch.float64)[:, None] * rate
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)

    y = axis(rows)[:, None].expand(rows, columns, -1)
    x = axis(columns)[None].expand(rows, columns, -1)
    return torch.cat([y, x], dim=2).reshape(1, rows * columns, width).float()
