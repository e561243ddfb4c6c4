"""The published bridge network (Repasky et al. 2026): a DiT conditioned on one vector per sample.

The vector is the sum of three embeddings: time, the a priori DEM (a vision transformer on its block
means), and the images (a set encoder: each image through a small convolutional encoder, mean over the set,
zero convolution, a vision transformer). Neither Sun vectors nor masks of missing data are inputs of the
network: missing pixels have a special value (published -1; 0 is dark). The last two embeddings do not depend
on time and are computed once per sample set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.batch import Batch
from pipeline.models.blocks import ResidualBlock, TimeEmbedding, group_norm, zero
from pipeline.models.inputs import height_scale
from pipeline.models.pooled import MeanOfImages, PooledSetEncoder, pooled_map
from pipeline.models.transformers import DiT, VisionTransformer
from pipeline.models.unet import UNet, levels_for
from pipeline.models.vae import Downsample

SET_BASE = 4
SET_MULTIPLIERS = (1, 1, 2, 2)
SET_STRIDE = 2 ** (len(SET_MULTIPLIERS) - 1)
#: Images encoded at a time, about 3 MB each with gradients at 96 x 96 pixels; bounds the memory and
#: does not change the result beyond rounding.
SET_CHUNK = 128


@dataclass(frozen=True)
class PublishedCondition:
    """The published network's conditioning on a sample set.

    Attributes
    ----------
    vector : (B, width), sum of the a priori and image embeddings.
    estimate : always None: the network makes no estimate of the DEM.
    """

    vector: Tensor
    estimate: None = None

    def repeat(self, clones: int) -> PublishedCondition:
        """Repeat each sample set `clones` times in a row, to draw several samples at once."""
        return PublishedCondition(self.vector.repeat_interleave(clones, dim=0))

    def in_states(self, scale: float) -> PublishedCondition:
        """Itself: it contains no heights."""
        return self


class SetEncoder(MeanOfImages):
    """Images -> the mean of their feature maps, 8 channels at an eighth of the resolution.

    Parameters
    ----------
    chunk : number of images encoded at a time. missing : value of pixels without data.
    """

    def __init__(self, chunk: int = SET_CHUNK, missing: float = 0.0) -> None:
        super().__init__(missing, chunk)
        last = SET_BASE
        layers: list[nn.Module] = [nn.Conv2d(1, last, 3, padding=1)]
        for level, multiplier in enumerate(SET_MULTIPLIERS):
            for _ in range(2):
                layers.append(ResidualBlock(last, SET_BASE * multiplier))
                last = SET_BASE * multiplier
            if level < len(SET_MULTIPLIERS) - 1:
                layers.append(Downsample(last))
        self.layers = nn.Sequential(*layers)
        self.channels = last


class VectorUNet(nn.Module):
    """A U-Net instead of the DiT: (B, C_in, size, size) and a vector -> (B, C_out, size, size)."""

    def __init__(self, channels_in: int, channels_out: int, size: int, base: int, embedding: int) -> None:
        super().__init__()
        if size >= 32:
            widths = [max(4, base // 2), base, 2 * base, 2 * base][: levels_for(size, 4)]
            down = [0, 1, 1, 1][: len(widths)]
        else:
            widths = [2 * base, 4 * base][: levels_for(size, 2)]
            down = [1] * len(widths)
        self.body = UNet(channels_in, widths, down, [1] * len(widths), embedding)
        self.norm = group_norm(widths[0])
        self.out = zero(nn.Conv2d(widths[0], channels_out, 3, padding=1))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Map (B, C_in, H, W), given (B, embedding), to (B, C_out, H, W)."""
        x = x.contiguous(memory_format=torch.channels_last)
        return self.out(F.silu(self.norm(self.body(x, vector))))


class PublishedNet(nn.Module):
    """The published network, or the same conditioning around a U-Net.

    151,989,804 parameters at the published setting (152,028,524 with the encoder ``strided``): 65.8 M in the
    DiT with its time embedding, 43.1 M in the transformer of the a priori DEM, 43.1 M in the set encoder with
    its transformer.

    Parameters
    ----------
    core : ``DiT`` or ``VectorUNet``: called with (x_t, vector).
    width, depth, heads : of the embeddings' transformers; `width` is also the vector's.
    lr_cells : side of the a priori DEM, halo included, cells.
    size_px : side of the images, pixels.
    height_unit : unit of the network's heights.
    set_encoder : ``pooled`` (published) or ``strided``; with the former the embeddings' transformers are bare
        and initialised as published.
    missing_pixel : value of image pixels without data.

    Raises
    ------
    ValueError
        If the side of the images is no multiple of the set encoder's stride.
    """

    def __init__(
        self,
        core: nn.Module,
        width: int,
        depth: int,
        heads: int,
        lr_cells: int,
        size_px: int,
        height_unit: Literal["km", "pixel"],
        set_encoder: Literal["pooled", "strided"] = "strided",
        missing_pixel: float = 0.0,
    ) -> None:
        super().__init__()
        if size_px % SET_STRIDE:
            raise ValueError(
                f"patches.size_px: expected a multiple of {SET_STRIDE} with conditioning 'published', "
                f"found {size_px}"
            )
        self.height_unit = height_unit
        self.core = core
        self.time = TimeEmbedding(width)
        bare = set_encoder == "pooled"
        sizes = width, depth, heads, bare
        self.lr_transformer = VisionTransformer(1, lr_cells, 2 - lr_cells % 2, *sizes)
        self.set_encoder: SetEncoder | PooledSetEncoder
        self.to_set_map: nn.Module
        if bare:
            self.set_encoder = PooledSetEncoder(missing_pixel)
            self.to_set_map = pooled_map(self.set_encoder.channels, 4)
        else:
            self.set_encoder = SetEncoder(missing=missing_pixel)
            self.to_set_map = zero(nn.Conv2d(self.set_encoder.channels, 4, 1))
        cells = size_px // SET_STRIDE
        self.set_transformer = VisionTransformer(4, cells, 2 - cells % 2, *sizes)
        if bare:
            self._start_as_published()

    def _start_as_published(self) -> None:
        """Initialise as Peebles & Xie 2023: tokens by Xavier as for a linear layer, time by N(0, 0.02)."""
        for part in (self.core, self.lr_transformer, self.set_transformer):
            if isinstance(part, DiT | VisionTransformer):
                nn.init.xavier_uniform_(part.to_tokens.weight.flatten(1))
                assert part.to_tokens.bias is not None
                nn.init.zeros_(part.to_tokens.bias)
        for layer in self.time.layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def condition(self, inputs: Batch) -> PublishedCondition:
        """Embed the a priori DEM and the images of each sample set, once for all times."""
        scale = height_scale(self.height_unit, inputs.pixel_m)[:, None, None]
        lr = self.lr_transformer((inputs.lr * scale)[:, None])
        features = self.to_set_map(self.set_encoder(inputs.images, inputs.valid, inputs.present))
        return PublishedCondition(lr + self.set_transformer(features))

    def forward(self, x_t: Tensor, t: Tensor, cond: PublishedCondition) -> Tensor:
        """Map states (B, C, H, W) at times (B,) in [0, 1] to the process's target, the same shape."""
        return self.core(x_t, self.time(t) + cond.vector)
