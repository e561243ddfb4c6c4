"""The fast deformable kernel network for joint image filtering (FDKN; Kim, Ponce & Ham 2021).

Target and guide have a stream of convolutions each, at a quarter of the resolution, with the 4 x 4 pixels of
a cell as channels. For every pixel p each stream gives k x k weights and offsets, which are multiplied:

    w = sigmoid(w_guide) sigmoid(w_target), minus its mean over the kernel,   d = d_guide d_target,
    f'(p) = f(p) + sum over q of w(p, q) f(q + d(p, q)),

with q the k x k pixels around p and f between pixels by bilinear interpolation. From the source: this
filter, the streams' depth and their resolution. Chosen here: widths, group norms instead of batch norms, and
the guide: instead of one image, the maps that `GuideMaps` computes from a set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config.rivals import GuidedSection
from pipeline.models.batch import Batch
from pipeline.models.blocks import group_norm
from pipeline.models.guide import GuideMaps
from pipeline.models.rivals import RivalNetwork, in_pixels

#: Pixels per side of a cell of the streams.
CELL = 4


class Stream(nn.Module):
    """Six convolutions on cells, then the weights and offsets of each pixel's kernel.

    Parameters
    ----------
    channels_in : of the full-resolution input. base : channels of the first two; then 2 and 4 times as many.
    taps : pixels of a kernel.
    """

    def __init__(self, channels_in: int, base: int, taps: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(CELL)]
        last = channels_in * CELL**2
        for width in (base, base, 2 * base, 2 * base, 4 * base, 4 * base):
            layers += [nn.Conv2d(last, width, 3, padding=1), group_norm(width), nn.ReLU()]
            last = width
        self.layers = nn.Sequential(*layers)
        self.weight = nn.Conv2d(last, CELL**2 * taps, 1)
        self.offset = nn.Conv2d(last, CELL**2 * 2 * taps, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, P, P) to weights in (0, 1), (B, taps, P, P), and offsets (B, 2 taps, P, P), pixels."""
        h = self.layers(x)
        weight, offset = (F.pixel_shuffle(head(h).float(), CELL) for head in (self.weight, self.offset))
        return torch.sigmoid(weight), offset


def gather(maps: Tensor, offsets: Tensor, kernel: int) -> Tensor:
    """Values around each pixel at displaced positions.

    Parameters
    ----------
    maps : (B, 1, P, P). offsets : (B, 2 k^2, P, P) pixels along columns and rows, from each pixel of the
        kernel, row by row. kernel : k.

    Returns
    -------
    Tensor (B, k^2, P, P) by bilinear interpolation; beyond the border, the border's.
    """
    b, _, rows, columns = maps.shape
    reach = torch.arange(kernel, device=maps.device, dtype=maps.dtype) - kernel // 2
    y, x = (torch.arange(n, device=maps.device, dtype=maps.dtype) for n in (rows, columns))
    by_tap = offsets.unflatten(1, (kernel**2, 2))
    column = x + reach.repeat(kernel)[:, None, None] + by_tap[:, :, 0]
    row = y[:, None] + reach.repeat_interleave(kernel)[:, None, None] + by_tap[:, :, 1]
    places = torch.stack([2 * column / (columns - 1) - 1, 2 * row / (rows - 1) - 1], dim=-1)
    found = F.grid_sample(maps, places.flatten(1, 2), padding_mode="border", align_corners=True)
    return found.reshape(b, kernel**2, rows, columns)


class DeformableKernels(RivalNetwork):
    """The filter on the a priori DEM.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.

    Raises
    ------
    ValueError
        If the patch is no multiple of the streams' cells.
    """

    def __init__(self, section: GuidedSection, size_px: int, factor: int) -> None:
        super().__init__(section, factor)
        if size_px % CELL:
            raise ValueError(
                f"patches.size_px: expected a multiple of {CELL} with predictor 'guided', found {size_px}"
            )
        self.kernel = section.kernel
        self.guide = GuideMaps(factor, section.base // 2 or 1)
        taps = section.kernel**2
        self.of_guide = Stream(section.base // 2 or 1, section.base, taps)
        self.of_target = Stream(1, section.base, taps)

    def residual(self, batch: Batch) -> Tensor:
        """See `RivalNetwork`."""
        _, z = self.guide(batch)
        prior = in_pixels(batch.prior, batch)
        weight, offset = self.of_guide(z)
        weight_target, offset_target = self.of_target(prior / self.factor)
        weight = weight * weight_target
        weight = weight - weight.mean(dim=1, keepdim=True)
        around = gather(prior, offset * offset_target, self.kernel)
        return (weight * around).sum(dim=1, keepdim=True)
