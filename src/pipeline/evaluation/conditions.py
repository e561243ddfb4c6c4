"""Batches of test patches with the images of an evaluation condition."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.evaluation import Condition
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.shards.batches import Batch, assemble, read_sample
from pipeline.shards.reader import Shard
from pipeline.shards.scene import NO_IMAGES, AllFibonacciScene, ImageSet, Scene, StoredScene
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean, fill_nearest

if TYPE_CHECKING:
    from pipeline.shards.scene_samples import SceneSample

_IMPERFECTIONS, _SCENES, _ORDER = 0x13F3C7, 0x5CE2E, 0x02DE2
_APRIORI: dict[str, dict[str, Any]] = {
    "cells": {"apriori": "cells", "cell_error_share": 0.0},
    "errors": {"apriori": "cells", "cell_error_share": 1.0},
    "altimetry": {"apriori": "altimetry"},
}


def scene_of(condition: Condition) -> Scene:
    """The stored image sets, or all Fibonacci images, that a condition names."""
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
    """Patches with the images of a condition.

    Random numbers depend on the section's seed and the patch, those of imperfections on the condition's label
    too; neither on the predictor nor on the batch.

    Parameters
    ----------
    condition : None for patches without images. label : the condition's name.
    places : B shards and positions in them; all shards have one factor.
    section : seed, reflectance law, imperfections; settings of scenes, where the condition has them.
    halo_cells : a priori cells beyond the patch, on each side. device : of the batch.

    Returns
    -------
    Batch of B patches with the truth, on `device`. Without a condition there are no images (N = 0); a
    condition that shows none gives one image per patch, which is marked absent.

    Raises
    ------
    StoreError
        If a shard lacks the images that the condition names.
    """
    entropy = [section.seed, _IMPERFECTIONS, zlib.crc32(label.encode())]
    amplitudes = section.imperfections if condition is not None and condition.imperfections else None
    rngs = None
    if amplitudes is not None:
        rngs = [np.random.default_rng([*entropy, int(s.ids[p])]) for s, p in places]
    factor = int(places[0][0].attrs["factor"])
    if condition is not None and condition.light == "scenes":
        from pipeline.shards.scene_samples import assemble_scenes  # heavy, and needed for scenes only

        scenes = [_scene(condition, s, p, section, halo_cells) for s, p in places]
        return assemble_scenes(scenes, halo_cells, factor, device, amplitudes, rngs)
    samples = [
        read_sample(s, p, NO_IMAGES if condition is None else _images(condition, s, p, section), halo_cells)
        for s, p in places
    ]
    batch = assemble(samples, halo_cells, factor, section.photometry, device, amplitudes, rngs)
    return batch if condition is None or batch.images.shape[1] else _with_an_absent_image(batch)


def _kept(
    condition: Condition, count: int, section: PredictorStage, patch_id: int
) -> slice | NDArray[np.int64]:
    """Indices of the images that a condition shows, ascending; larger numbers include smaller ones."""
    if condition.images is None or condition.images >= count:
        return slice(None)
    return np.sort(_order(count, section, patch_id)[: condition.images])


def withheld_of(
    condition: Condition, count: int, section: PredictorStage, patch_id: int
) -> NDArray[np.int64]:
    """Indices of the images that a condition does not show, in the order in which others would show them.

    Parameters
    ----------
    condition : its `images` are shown. count : number of images of the patch's draw.
    section : seed of the order in which conditions show images. patch_id : of the patch.

    Returns
    -------
    (k,) indices below `count`; empty if all images are shown.
    """
    shown = count if condition.images is None else condition.images
    return _order(count, section, patch_id)[shown:]


def _order(count: int, section: PredictorStage, patch_id: int) -> NDArray[np.int64]:
    """The images of a set in the order in which conditions show them."""
    return np.random.default_rng([section.seed, _ORDER, patch_id]).permutation(count)


def _images(condition: Condition, shard: Shard, patch: int, section: PredictorStage) -> ImageSet:
    """A patch's stored images."""
    # No generator: they are not drawn here.
    found = scene_of(condition).image_set(shard, patch, np.random.default_rng(0))
    kept = _kept(condition, len(found.images), section, int(shard.ids[patch]))
    strips = None if found.strips is None else found.strips[kept]
    return ImageSet(found.group, found.images[kept], found.suns[kept], strips)


def _scene(
    condition: Condition, shard: Shard, patch: int, section: PredictorStage, halo_cells: int
) -> SceneSample:
    """A patch's rendered images and a priori heights: the same image set for all conditions of a seed."""
    from pipeline.shards.scene_samples import read_scene

    assert section.scenes is not None and section.masks is not None
    patch_id = int(shard.ids[patch])
    rng = np.random.default_rng([section.seed, _SCENES, patch_id])
    draw = section.scenes.model_copy(update=_APRIORI[condition.apriori])
    found = read_scene(shard, patch, rng, draw, section.masks if condition.missing else None, halo_cells)
    kept = _kept(condition, len(found.suns), section, patch_id)
    return replace(
        found,
        images=found.images[kept],
        suns=found.suns[kept],
        expected=found.expected[kept],
        strips=None if found.strips is None else found.strips[kept],
    )


def _with_an_absent_image(batch: Batch) -> Batch:
    """The batch with one image marked absent: networks need at least one image."""
    size, shape = len(batch), (len(batch), 1, *batch.prior.shape[1:])
    sun = torch.zeros(size, 1, 3, dtype=batch.sun.dtype, device=batch.sun.device)
    sun[..., 2] = 1
    return replace(
        batch,
        images=batch.images.new_zeros(shape),
        valid=batch.valid.new_zeros(shape),
        sun=sun,
        present=batch.present.new_zeros(size, 1),
    )


def exact_batch(places: Sequence[tuple[Shard, int]], halo_cells: int) -> Batch:
    """Batch of double-precision heights with a reference of 0, without images; see `Predictor.exact`.

    Parameters
    ----------
    places : B shards and positions in them. halo_cells : a priori cells beyond the patch, on each side.

    Returns
    -------
    Batch of float64 heights, metres above R = 1737400 m, on the host; image sets have N = 0 images.
    """
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
