"""Batches of test patches as a condition of the evaluation asks for them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch

from pipeline.config.evaluation import Condition
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.shards.batches import Batch, assemble, read_sample
from pipeline.shards.reader import Shard
from pipeline.shards.scene import NO_IMAGES, AllFibonacciScene, Scene, StoredScene
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean, fill_nearest

_IMPERFECTIONS = 0x13F3C7


def scene_of(condition: Condition) -> Scene:
    """The stored draws, or the Fibonacci images, that a condition names."""
    if condition.light == "fibonacci":
        return AllFibonacciScene()
    return StoredScene(condition.draw, condition.missing)


def batch_under(
    condition: Condition | None,
    label: str,
    places: Sequence[tuple[Shard, int]],
    section: PredictorStage,
    halo_cells: int,
    device: torch.device,
) -> Batch:
    """Patches with the images of a condition; without images for None.

    Imperfections, where the condition asks for them, depend on the section's seed, the condition's label and
    the patch: neither on the predictor nor on the batch.

    Parameters
    ----------
    places : shards and positions in them. halo_cells : a priori cells beyond the patch.
    """
    entropy = [section.seed, _IMPERFECTIONS, zlib.crc32(label.encode())]
    how = section.imperfections if condition is not None and condition.imperfections else None
    rngs = None if how is None else [np.random.default_rng([*entropy, int(s.ids[p])]) for s, p in places]
    scene, unused = None if condition is None else scene_of(condition), np.random.default_rng(0)
    samples = [
        read_sample(s, p, NO_IMAGES if scene is None else scene.image_set(s, p, unused), halo_cells)
        for s, p in places
    ]
    factor = int(places[0][0].attrs["factor"])
    return assemble(samples, halo_cells, factor, section.photometry, device, how, rngs)


def exact_batch(places: Sequence[tuple[Shard, int]], halo_cells: int) -> Batch:
    """Terrain in double precision above zero, without images; see `Predictor.exact`."""
    halo, size, factor = (int(places[0][0].attrs[k]) for k in ("halo_px", "size_px", "factor"))
    reach, dems, cells = halo_cells * factor, [], []
    for shard, patch in places:
        dem = torch.from_numpy(shard.dem(patch).astype("f8"))
        inner, wide = (slice(halo - r, halo + size + r) for r in (0, reach))
        dems.append(dem[inner, inner])
        cells.append(torch.from_numpy(fill_nearest(block_mean(dem[wide, wide], factor).numpy())))
    lr, none = torch.stack(cells), torch.zeros(len(places), 0, dtype=torch.float64)
    images = none[..., None, None].expand(-1, -1, size, size)
    pixel_m = torch.tensor([float(shard.attrs["pixel_m"]) for shard, _ in places], dtype=torch.float64)
    return Batch(
        dem=torch.stack(dems),
        lr=lr,
        prior=prior_from_lr(lr, halo_cells, factor),
        images=images,
        valid=images.bool(),
        sun=none[..., None].expand(-1, -1, 3),
        present=none.bool(),
        pixel_m=pixel_m,
        reference=torch.zeros_like(pixel_m),
    )
