"""From shards to tensors: patches are read on the host, radiance is computed where the network lives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.imperfections import ImperfectionsSection
from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.imperfections import apply_imperfections
from pipeline.illumination.missing import STRIP, strip_mask
from pipeline.illumination.photometry import radiance
from pipeline.models.apriori import prior_from_lr
from pipeline.shards.reader import Shard
from pipeline.shards.scene import ImageSet
from pipeline.shards.surface import edge_surface


@dataclass(frozen=True)
class Batch:
    """Patches with their images. Heights are metres above `reference_B`; P is the patch side.

    Attributes
    ----------
    dem : truth, (B, P, P), or None where there is none.
    lr : a priori DEM with `halo_cells` cells beyond the patch on each side, (B, L, L).
    prior : bicubic of `lr`, cropped to the patch, (B, P, P).
    images : radiance, (B, N, P, P); 0 where data are missing.
    valid : whether an image has data, (B, N, P, P).
    sun : unit vectors to the Sun as it is known, (B, N, 3), map frame.
    present : False for images that only pad a smaller set, (B, N).
    pixel_m : pixel size, metres, (B,).
    reference : mean of the patch's own a priori pixels, metres, (B,).
    """

    dem: Tensor | None
    lr: Tensor
    prior: Tensor
    images: Tensor
    valid: Tensor
    sun: Tensor
    present: Tensor
    pixel_m: Tensor
    reference: Tensor

    def __len__(self) -> int:
        return self.lr.shape[0]


@dataclass(frozen=True)
class Sample:
    """One patch on the host: what `assemble` turns into tensors.

    Attributes
    ----------
    surface : terrain of the patch and one pixel around it, metres, (P+2, P+2).
    lr : block means with the halo, metres, (L, L).
    visible : visible share of the Sun, (n, P, P) u1.
    suns : (n, 3); strips : (n, 4) or (n, 14), see `pipeline.illumination.missing`, or None.
    """

    surface: NDArray[np.float32]
    lr: NDArray[np.float32]
    visible: NDArray[np.uint8]
    suns: NDArray[np.float64]
    strips: NDArray[np.float64] | None
    pixel_m: float


def fill_nearest(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace NaN by the nearest value: the edge of the data is held, as bicubic interpolation does."""
    bad = np.isnan(cells)
    if not bad.any():
        return cells
    from scipy import ndimage  # heavy, and needed at the edge of the data alone

    nearest = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
    return cells[tuple(nearest)]


def read_sample(shard: Shard, patch: int, images: ImageSet, halo_cells: int) -> Sample:
    """Read one patch and its images from a shard; arrays are copies of the little that is needed."""
    halo, size, factor = (int(shard.attrs[k]) for k in ("halo_px", "size_px", "factor"))
    dem = shard.dem(patch)
    reach = halo_cells * factor
    window = dem[halo - reach : halo + size + reach, halo - reach : halo + size + reach]
    n = window.shape[0] // factor
    lr = fill_nearest(window.reshape(n, factor, n, factor).mean(axis=(1, 3), dtype=np.float64).astype("f4"))
    return Sample(
        surface=edge_surface(dem, halo, size, use_halo=int(shard.attrs["light_halo_px"]) > 0),
        lr=lr,
        visible=shard.visible(images.group, patch, images.images),
        suns=images.suns,
        strips=images.strips,
        pixel_m=float(shard.attrs["pixel_m"]),
    )


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

    Images and Sun vectors get `imperfections`, each sample's drawn from its own generator in `rngs`.
    """
    size = samples[0].surface.shape[-1] - 2
    most = max(len(s.suns) for s in samples)
    visible = np.zeros((len(samples), most, size, size), np.uint8)
    suns = np.zeros((len(samples), most, 3), np.float32)
    suns[..., 2] = 1.0
    present = np.zeros((len(samples), most), bool)
    numbers = max((s.strips.shape[1] for s in samples if s.strips is not None), default=STRIP)
    strips = np.zeros((len(samples), most, numbers), np.float32)
    strips[..., 3] = 1e6
    for b, sample in enumerate(samples):
        n = len(sample.suns)
        visible[b, :n], suns[b, :n], present[b, :n] = sample.visible, sample.suns, True
        if sample.strips is not None:
            strips[b, :n, : sample.strips.shape[1]] = sample.strips
    to = lambda array: torch.from_numpy(array).to(device)  # noqa: E731
    lr = to(np.stack([s.lr for s in samples]))
    surface = to(np.stack([s.surface for s in samples]))
    inner = lr[:, halo_cells : lr.shape[1] - halo_cells, halo_cells : lr.shape[2] - halo_cells]
    reference = inner.mean(dim=(1, 2))
    lr = lr - reference[:, None, None]
    surface = surface - reference[:, None, None]
    pixel_m = torch.tensor([s.pixel_m for s in samples], dtype=torch.float32, device=device)
    here = to(present)
    valid = here[:, :, None, None].expand(-1, -1, size, size)
    if any(s.strips is not None for s in samples):
        valid = valid & strip_mask(to(strips), size)
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


def _turned(batch: Batch, turn: Callable[[Tensor], Tensor], sun: Tensor) -> Batch:
    """Turn every map of a batch; `sun` are the Sun vectors after it."""
    return replace(
        batch,
        dem=None if batch.dem is None else turn(batch.dem),
        lr=turn(batch.lr),
        prior=turn(batch.prior),
        images=turn(batch.images),
        valid=turn(batch.valid),
        sun=sun,
    )


def flip(batch: Batch, mirrored: NDArray[np.bool_]) -> Batch:
    """Mirror chosen patches: DEM, images and Suns together.

    Parameters
    ----------
    mirrored : (B, 2) bool; which patches are mirrored along columns (left to right) and along rows.
    """
    horizontal, vertical = torch.from_numpy(mirrored).to(batch.lr.device).unbind(1)

    def turn(x: Tensor) -> Tensor:
        x = torch.where(_rows(horizontal, x), x.flip(-1), x)
        return torch.where(_rows(vertical, x), x.flip(-2), x)

    sign = torch.ones_like(batch.sun)
    sign[..., 0] = torch.where(horizontal, -1.0, 1.0)[:, None]
    sign[..., 1] = torch.where(vertical, -1.0, 1.0)[:, None]
    return _turned(batch, turn, batch.sun * sign)


def transpose(batch: Batch, chosen: NDArray[np.bool_]) -> Batch:
    """Let rows and columns of chosen patches change places, in DEM and images, and turn the Suns with them.

    Parameters
    ----------
    chosen : (B,) bool. With `flip` this makes the eight symmetries of the square.
    """
    which = torch.from_numpy(chosen).to(batch.lr.device)
    # Map x runs along columns, y against rows: what was a step down the rows is one along the columns.
    across = torch.stack([-batch.sun[..., 1], -batch.sun[..., 0], batch.sun[..., 2]], dim=-1)

    def turn(x: Tensor) -> Tensor:
        return torch.where(_rows(which, x), x.transpose(-1, -2), x)

    return _turned(batch, turn, torch.where(_rows(which, across), across, batch.sun))


def _rows(which: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) choices so that they broadcast over a map."""
    return which.view((-1,) + (1,) * (like.ndim - 1))
