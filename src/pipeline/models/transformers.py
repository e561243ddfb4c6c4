"""Transformers of the published system: the vision transformer and the diffusion transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.blocks import AdaptiveBlock, TransformerBlock, grid_positions, modulate, zero


def _check_grid(name: str, size: int, patch: int) -> int:
    if size % patch:
        raise ValueError(f"{name}: expected a divisor of the map's {size} cells, found {patch}")
    return size // patch


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class VisionTransformer(nn.Module):
    """Map -> one vector (Dosovitskiy et al. 2021): patches as tokens, one output token.

    Parameters
    ----------
    channels, size : the map is (B, channels, size, size).
    patch : side of a token in cells.
    width, depth, heads : the transformer.
    bare : norms have no parameters and the output token is initialised with zeros, as published.

    Raises
    ------
    ValueError
        If `patch` does not divide `size`.
    """

    def __init__(
        self, channels: int, size: int, patch: int, width: int, depth: int, heads: int, bare: bool = False
    ) -> None:
        super().__init__()
        cells = _check_grid("patch", size, patch)
        self.to_tokens = nn.Conv2d(channels, width, patch, stride=patch)
        self.register_buffer("positions", grid_positions(width, cells, cells), persistent=False)
        self.output_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, not bare) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=not bare, eps=1e-6)
        self.head = nn.Linear(width, width)
        self.apply(_xavier)
        if bare:
            nn.init.zeros_(self.output_token)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, size, size) to (B, width)."""
        tokens = self.to_tokens(x).flatten(2).transpose(1, 2) + self.get_buffer("positions")
        tokens = torch.cat([self.output_token.expand(len(x), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


class DiT(nn.Module):
    """Diffusion transformer (Peebles & Xie 2023): map and vector -> map, which is zero before training.

    Parameters
    ----------
    channels_in, channels_out, size : maps are (B, channels, size, size).
    patch : side of a token in cells.
    width, depth, heads : the transformer.

    Raises
    ------
    ValueError
        If `patch` does not divide `size`.
    """

    def __init__(
        self, channels_in: int, channels_out: int, size: int, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.patch, self.cells = patch, _check_grid("patch_px", size, patch)
        self.to_tokens = nn.Conv2d(channels_in, width, patch, stride=patch)
        self.register_buffer("positions", grid_positions(width, self.cells, self.cells), persistent=False)
        self.blocks = nn.ModuleList(AdaptiveBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.adaptive = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, patch * patch * channels_out)
        self.apply(_xavier)
        for block in self.blocks:
            assert isinstance(block, AdaptiveBlock)
            zero(block.adaptive)
        zero(self.adaptive)
        zero(self.out)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Map (B, channels_in, size, size), given (B, width), to (B, channels_out, size, size)."""
        tokens = self.to_tokens(x).flatten(2).transpose(1, 2) + self.get_buffer("positions")
        for block in self.blocks:
            tokens = block(tokens, vector)
        shift, scale = self.adaptive(F.silu(vector)).chunk(2, dim=1)
        pixels = self.out(modulate(self.norm(tokens), shift, scale)).transpose(1, 2)
        maps = pixels.reshape(len(x), -1, self.cells, self.cells)
        return F.pixel_shuffle(maps, self.patch)
