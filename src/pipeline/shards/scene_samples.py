"""Samples of rendered scenes: a realistic a priori DEM, and images of one set of a patch.

The a priori DEM is exact block means, block means with an error, or altimetry; see
`pipeline.config.altimetry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.masks import StripDraw
from pipeline.config.scene_draw import SceneDraw
from pipeline.illumination.imperfections import apply_imperfections
from pipeline.jobs.seeds import log_uniform
from pipeline.models.apriori import fill
from pipeline.models.batch import Batch, pad_sets
from pipeline.shards.batches import valid_pixels
from pipeline.shards.reader import Shard
from pipeline.shards.scene import draw_strips
from pipeline.terrain.altimetry import simulate
from pipeline.terrain.altimetry_counts import simulate_at
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean, fill_nearest

# Margin around a patch in which altimetry is simulated, pixels, since tracks are displaced.
_AROUND_PX = 8
_LEAST_SPOTS = 16


@dataclass(frozen=True)
class SceneSample:
    """One patch on the host, input of `assemble_scenes`.

    Attributes
    ----------
    dem : (P, P) truth, metres.
    lr : (L, L) block means with the halo, metres, including their errors.
    cell_error : 1-sigma error of the block means, metres; 0 if exact, infinite if altimetry replaces them.
    heights, spots : (P, P) heights (metres) and spots per pixel of altimetry; zeros without altimetry.
    images : (n, P, P) radiance factors. suns : (n, 3) unit vectors, map frame.
    strips : (n, 4) or (n, 14), see `pipeline.illumination.missing`, or None. pixel_m : pixel size, metres.
    expected : (n, P, P) whether the whole solar disc should be visible above the known terrain.
    """

    dem: NDArray[np.float32]
    lr: NDArray[np.float32]
    cell_error: float
    heights: NDArray[np.float32]
    spots: NDArray[np.float32]
    images: NDArray[np.float16]
    suns: NDArray[np.float32]
    strips: NDArray[np.float64] | None
    pixel_m: float
    expected: NDArray[np.bool_]


def read_scene(
    shard: Shard,
    patch: int,
    rng: np.random.Generator,
    draw: SceneDraw,
    masks: StripDraw | None,
    halo_cells: int,
) -> SceneSample:
    """Draw an a priori DEM of a patch, and images of one of its sets.

    Parameters
    ----------
    shard, patch : shard, and index of the patch in it. rng : of the sample. draw : settings.
    masks : missing data of the images; None for complete images.
    halo_cells : a priori cells beyond the patch on each side; they must lie within the shard's halo.

    Returns
    -------
    Sample whose heights are multiplied by the factor under which its images were rendered; it may have no
    images. Where too few pixels have altimetry, the a priori DEM is exact block means.

    Raises
    ------
    StoreError
        If the shard has no rendered sets.
    """
    halo, size, factor = (int(shard.attrs[k]) for k in ("halo_px", "size_px", "factor"))
    pixel_m = float(shard.attrs["pixel_m"])
    kinds = rng.spawn(6)
    chosen, relief = _images(shard, patch, kinds[0], draw)
    images, suns = shard.scene_images(patch, chosen), shard.scene_suns[patch][chosen]
    expected = shard.scene_expected(patch, chosen)
    if kinds[4].random() < draw.unexpected_share:
        expected = np.ones_like(expected)
    dem = shard.dem(patch) * relief
    reach = halo_cells * factor
    window = dem[halo - reach : halo + size + reach, halo - reach : halo + size + reach]
    lr = fill_nearest(block_mean(window, factor, np.float64).astype("f4"))
    inner = dem[halo : halo + size, halo : halo + size]
    strips = (
        draw_strips(kinds[1], masks, shard, patch, len(suns)) if masks is not None and len(suns) else None
    )
    cell_error, heights, spots = 0.0, np.zeros_like(inner), np.zeros_like(inner)
    kind = _kind(kinds[2], draw)
    if kind == "altimetry":
        around = min(_AROUND_PX, halo)
        wide = dem[halo - around : halo + size + around, halo - around : halo + size + around]
        spots_here = shard.spots(patch)
        if spots_here is not None and kinds[5].random() < draw.altimetry.own:
            found = simulate_at(wide, np.pad(spots_here, around), pixel_m, kinds[3], draw.altimetry)
        else:
            found = simulate(wide, pixel_m, kinds[3], draw.altimetry)
        here = np.s_[around : around + size, around : around + size]
        hit = found.count[here] > 0
        if hit.sum() >= _LEAST_SPOTS:
            heights, spots = np.nan_to_num(found.height[here]), found.count[here].astype(np.float32)
            cell_error = np.inf
    elif kind == "errors":
        cell_error = float(log_uniform(kinds[3], draw.cell_error_px)) * pixel_m
        lr = lr + (cell_error * kinds[3].standard_normal(lr.shape)).astype(np.float32)
    return SceneSample(inner.copy(), lr, cell_error, heights, spots, images, suns, strips, pixel_m, expected)


def without_images(sample: SceneSample) -> SceneSample:
    """The same sample without images."""
    images, suns, expected = sample.images[:0], sample.suns[:0], sample.expected[:0]
    return replace(sample, images=images, suns=suns, strips=None, expected=expected)


def _kind(rng: np.random.Generator, draw: SceneDraw) -> str:
    if draw.apriori == "altimetry":
        return "altimetry"
    chance = rng.random()
    if draw.apriori == "mixed" and chance < draw.altimetry_share:
        return "altimetry"
    return "errors" if rng.random() < draw.cell_error_share else "cells"


def _images(
    shard: Shard, patch: int, rng: np.random.Generator, draw: SceneDraw
) -> tuple[NDArray[np.int64], np.float32]:
    """Indices of a random number of images of one set (small numbers more often); factor on the heights."""
    sets = shard.scene_sets[patch]
    members = np.flatnonzero(sets == rng.integers(int(sets.max()) + 1))
    count = int((len(members) + 1) * rng.random() ** draw.images_power)
    chosen = np.sort(rng.permutation(members)[:count])
    if draw.pairs_share:
        twice = rng.random(len(chosen)) < draw.pairs_share
        chosen = chosen.repeat(1 + twice)[: len(chosen)]
    return chosen, np.float32(shard.scene_reliefs[patch][members[0]])


def assemble_scenes(
    samples: Sequence[SceneSample],
    halo_cells: int,
    factor: int,
    device: torch.device | str = "cpu",
    imperfections: ImperfectionsSection | None = None,
    rngs: Sequence[np.random.Generator] | None = None,
) -> Batch:
    """Make a batch: pad the image sets to one size and apply imperfections.

    Parameters
    ----------
    samples : B patches of one size. The rest as in `pipeline.shards.batches.assemble`.

    Returns
    -------
    Batch with the truth, spots, errors of the block means and expected light; N, the number of images, is at
    least 1. In patches with altimetry, `prior` is interpolated from it, and `lr` are the prior's block means.

    Raises
    ------
    ValueError
        If the number of generators is not that of the samples.
    """
    size = samples[0].dem.shape[-1]

    def to(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    images = to(pad_sets([s.images for s in samples], least=1)).float()
    suns = to(pad_sets([s.suns for s in samples], (0, 0, 1), least=1))
    present = to(pad_sets([np.ones(len(s.suns), bool) for s in samples], least=1))
    valid = valid_pixels(present, [s.strips for s in samples], size)
    known = suns
    if imperfections is not None:
        images, known = apply_imperfections(images, valid, suns, present, imperfections, rngs)
    lr, dem = (to(np.stack([getattr(s, name) for s in samples])) for name in ("lr", "dem"))
    heights, spots = (to(np.stack([getattr(s, name) for s in samples])) for name in ("heights", "spots"))
    expected = to(pad_sets([s.expected for s in samples], least=1))
    cell_error = to(np.array([s.cell_error for s in samples], np.float32))
    reference = lr[:, halo_cells : lr.shape[1] - halo_cells, halo_cells : lr.shape[2] - halo_cells].mean(
        dim=(1, 2)
    )
    level = reference[:, None, None]
    lr, dem, heights = lr - level, dem - level, torch.where(spots > 0, heights - level, 0.0)
    prior = prior_from_lr(lr, halo_cells, factor)
    measured = (spots > 0).flatten(1).any(dim=1)[:, None, None]
    prior = torch.where(measured, fill(heights, spots > 0), prior)
    edge = torch.nn.functional.pad(block_mean(prior, factor)[:, None], (halo_cells,) * 4, mode="replicate")
    lr = torch.where(measured, edge[:, 0], lr)
    pixel_m = to(np.array([s.pixel_m for s in samples], np.float32))
    return Batch(
        dem=dem, lr=lr, prior=prior, images=images * valid, valid=valid, sun=known, present=present,
        pixel_m=pixel_m, reference=reference, spots=spots, cell_error=cell_error, expected=expected,
    )  # fmt: skip
