"""From shards to tensors: patches are read on the host, radiance is computed on the network's device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.imperfections import apply_imperfections
from pipeline.illumination.missing import strip_mask
from pipeline.illumination.photometry import radiance
from pipeline.models.batch import Batch, pad_sets
from pipeline.shards.reader import Shard
from pipeline.shards.scene import ImageSet
from pipeline.shards.surface import edge_surface
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean, fill_nearest


@dataclass(frozen=True)
class Sample:
    """One patch on the host, input of `assemble`.

    Attributes
    ----------
    surface : terrain of the patch and one pixel around it, metres, (P+2, P+2).
    lr : block means with the halo, metres, (L, L).
    visible : visible share of the solar disc x 255, (n, P, P) u1.
    suns : (n, 3) unit vectors, map frame. pixel_m : pixel size, metres.
    strips : (n, 4) or (n, 14), see `pipeline.illumination.missing`; None for complete images.
    """

    surface: NDArray[np.float32]
    lr: NDArray[np.float32]
    visible: NDArray[np.uint8]
    suns: NDArray[np.float64]
    strips: NDArray[np.float64] | None
    pixel_m: float


def read_sample(shard: Shard, patch: int, images: ImageSet, halo_cells: int) -> Sample:
    """Read one patch and its images from a shard.

    Parameters
    ----------
    shard, patch : shard, and position of the patch in it. images : directions and missing data.
    halo_cells : a priori cells beyond the patch on each side; they must lie within the shard's halo.

    Raises
    ------
    StoreError
        If the shard lacks one of the arrays.
    """
    halo, size, factor = (int(shard.attrs[k]) for k in ("halo_px", "size_px", "factor"))
    dem = shard.dem(patch)
    reach = halo_cells * factor
    window = dem[halo - reach : halo + size + reach, halo - reach : halo + size + reach]
    lr = fill_nearest(block_mean(window, factor, np.float64).astype("f4"))
    return Sample(
        surface=edge_surface(dem, halo, size, use_halo=int(shard.attrs["light_halo_px"]) > 0),
        lr=lr,
        visible=shard.visible(images.group, patch, images.images),
        suns=images.suns,
        strips=images.strips,
        pixel_m=float(shard.attrs["pixel_m"]),
    )


def valid_pixels(
    present: torch.Tensor, strips: Sequence[NDArray[np.float64] | None], size: int
) -> torch.Tensor:
    """Where images have data, (B, N, P, P) bool.

    Parameters
    ----------
    present : (B, N) bool, whether there is an image. strips : of each sample, as in `Sample`. size : P.
    """
    valid = present[:, :, None, None].expand(-1, -1, size, size)
    given = [rows for rows in strips if rows is not None]
    if not given:
        return valid
    padded = np.zeros((*present.shape, max(rows.shape[1] for rows in given)), np.float32)
    padded[..., 3] = 1e6
    for target, rows in zip(padded, strips):
        if rows is not None:
            target[: len(rows), : rows.shape[1]] = rows
    return valid & strip_mask(torch.from_numpy(padded).to(present.device), size)


def assemble(
    samples: Sequence[Sample],
    halo_cells: int,
    factor: int,
    photometry: PhotometrySection,
    device: torch.device | str = "cpu",
    imperfections: ImperfectionsSection | None = None,
    rngs: Sequence[np.random.Generator] | None = None,
) -> Batch:
    """Make a batch: pad the image sets to one size and compute the radiance on `device`.

    Parameters
    ----------
    samples : B patches of one size. halo_cells : a priori cells beyond the patch in their `lr`.
    factor : pixels per a priori cell, along a side. photometry : reflectance law. device : of the batch.
    imperfections : of images and Sun vectors; None for none.
    rngs : B generators, one per sample, of the imperfections; may be None without any.

    Returns
    -------
    Batch with the truth; N, the number of images, is that of the largest set and may be 0.

    Raises
    ------
    ValueError
        If the number of generators is not that of the samples.
    """
    size = samples[0].surface.shape[-1] - 2
    visible = pad_sets([s.visible for s in samples])
    suns = pad_sets([s.suns.astype(np.float32) for s in samples], (0, 0, 1))
    present = pad_sets([np.ones(len(s.suns), bool) for s in samples])
    to = lambda array: torch.from_numpy(array).to(device)  # noqa: E731
    lr = to(np.stack([s.lr for s in samples]))
    surface = to(np.stack([s.surface for s in samples]))
    inner = lr[:, halo_cells : lr.shape[1] - halo_cells, halo_cells : lr.shape[2] - halo_cells]
    reference = inner.mean(dim=(1, 2))
    lr = lr - reference[:, None, None]
    surface = surface - reference[:, None, None]
    pixel_m = torch.tensor([s.pixel_m for s in samples], dtype=torch.float32, device=device)
    here = to(present)
    valid = valid_pixels(here, [s.strips for s in samples], size)
    light = radiance(surface, pixel_m, to(suns), None, photometry)[..., 1:-1, 1:-1]
    images, known = light * (to(visible).float() / 255), to(suns)
    if imperfections is not None:
        images, known = apply_imperfections(images, valid, known, here, imperfections, rngs)
    return Batch(
        dem=surface[:, 1:-1, 1:-1].contiguous(),
        lr=lr,
        prior=prior_from_lr(lr, halo_cells, factor),
        images=images * valid,
        valid=valid,
        sun=known,
        present=here,
        pixel_m=pixel_m,
        reference=reference,
    )
