"""Units of a network's heights, and means over a sample set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: Number of chunks of images that a GPU encodes at once: with small ones, kernel launches would dominate.
CHUNKS_ON_GPU = 8


def height_scale(unit: Literal["km", "pixel"], pixel_m: Tensor) -> Tensor:
    """Factors (B,) from metres to the section's unit of height; `pixel_m` (B,) in metres.

    ``km`` divides by 1000 as published; ``pixel`` divides by the pixel size, which makes a network
    independent of scale.
    """
    return torch.full_like(pixel_m, 1e-3) if unit == "km" else 1.0 / pixel_m


def mean_over_set(
    encode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], present: Tensor, chunk: int
) -> Tensor:
    """Weighted mean of per-image features over the images present, a chunk at a time.

    Memory is bounded by the chunk: with gradients, the chunks' inner values are computed again in the
    backward pass. Images of one patch may fall into different chunks.

    Parameters
    ----------
    encode : maps the indices (n,) of patches and (n,) of images to features (n, C, h, w) and
        their weights (n, 1, h, w).
    present : (B, N) bool, which images exist; padding is never encoded.
    chunk : images per call of `encode`; a GPU takes `CHUNKS_ON_GPU` times as many.

    Returns
    -------
    Tensor (B, C, h, w), zero where no image has weight.
    """
    patches, images = present.nonzero(as_tuple=True)
    if len(patches) == 0:
        # One image of weight zero, to learn the shape of the features.
        patches = images = torch.zeros(1, dtype=torch.long, device=present.device)
    rows = torch.arange(len(present), device=present.device)[:, None]

    def accumulate(patch: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        features, weights = encode(patch, image)
        # A product with the 0/1 membership matrix is deterministic on every device; scattered sums are not.
        member = ((patch[None] == rows) & present[patch, image][None]).to(torch.float32)
        with torch.autocast(features.device.type, enabled=False):
            features, weights = features.float(), weights.float()
            total = (member @ (features * weights).flatten(1)).reshape(len(rows), *features.shape[1:])
            weight = (member @ weights.flatten(1)).reshape(len(rows), *weights.shape[1:])
        return total, weight

    chunk *= CHUNKS_ON_GPU if present.is_cuda else 1
    parts = list(zip(patches.split(chunk), images.split(chunk)))
    recompute = torch.is_grad_enabled() and len(parts) > 1
    total, weight = torch.zeros(()), torch.zeros(())
    for k, (patch, image) in enumerate(parts):
        if recompute:
            part_total, part_weight = checkpoint(accumulate, patch, image, use_reentrant=False)
        else:
            part_total, part_weight = accumulate(patch, image)
        total, weight = (total + part_total, weight + part_weight) if k else (part_total, part_weight)
    return total / weight.clamp_min(1e-6)
