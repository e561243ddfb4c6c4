"""Input of the networks: patches with their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Patches with their images. Heights are metres above `reference`; B patches of side P pixels.

    Attributes
    ----------
    dem : truth, (B, P, P), or None where there is none.
    lr : a priori DEM as block means, with `halo_cells` cells beyond the patch on each side, (B, L, L).
    prior : bicubic of `lr`, cropped to the patch, (B, P, P); of patches with `spots`, the interpolated
        altimetry.
    images : radiance, (B, N, P, P); 0 where data are missing.
    valid : pixels where an image has data, (B, N, P, P).
    sun : assumed unit vectors to the Sun, (B, N, 3), in map axes (right, up on the map, zenith).
    present : False for images that only pad a smaller set, (B, N).
    pixel_m : pixel size, metres, (B,).
    reference : mean of the patch's own a priori pixels, metres, (B,).
    spots : altimetry spots per pixel, (B, P, P): where there are some, `prior` is measured. None where no
        a priori DEM of the batch is altimetry.
    cell_error : 1-sigma error of the block means `lr`, metres, (B,): 0 where they are exact, infinite
        where they add nothing to `prior`. None where all are exact.
    expected : whether the whole Sun is expected to be visible, predicted from the a priori terrain,
        (B, N, P, P). None where unknown.
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
    spots: Tensor | None = None
    cell_error: Tensor | None = None
    expected: Tensor | None = None

    def __len__(self) -> int:
        return self.lr.shape[0]

    def part(self, rows: slice) -> Batch:
        """Some of the patches."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[rows] for name, value in values.items() if value is not None})


def pad_sets(sets: Sequence[NDArray[Any]], fill: Any = 0, least: int = 0) -> NDArray[Any]:
    """Stack image sets of different sizes, each (n, ...), into (B, N, ...): N is the largest n.

    Parameters
    ----------
    fill : value that pads smaller sets; broadcast to one image's entry.
    least : lower bound of N; networks need one image, even if it is padding.
    """
    most = max(least, *(len(entries) for entries in sets))
    out = np.full((len(sets), most, *sets[0].shape[1:]), fill, sets[0].dtype)
    for row, entries in zip(out, sets):
        row[: len(entries)] = entries
    return out


def _turned(batch: Batch, turn: Callable[[Tensor], Tensor], sun: Tensor) -> Batch:
    """Apply a symmetry to every map of a batch; `sun` are the transformed Sun vectors."""
    maps = {name: turn(getattr(batch, name)) for name in ("lr", "prior", "images", "valid")}
    for name in ("spots", "expected"):
        if (map_ := getattr(batch, name)) is not None:
            maps[name] = turn(map_)
    return replace(batch, dem=None if batch.dem is None else turn(batch.dem), sun=sun, **maps)


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
    """Exchange rows and columns of chosen patches: DEM, images and Suns together.

    Parameters
    ----------
    chosen : (B,) bool. With `flip` this gives the eight symmetries of the square.
    """
    which = torch.from_numpy(chosen).to(batch.lr.device)
    # Map x runs along columns, y against rows: a step down the rows becomes one along the columns.
    across = torch.stack([-batch.sun[..., 1], -batch.sun[..., 0], batch.sun[..., 2]], dim=-1)

    def turn(x: Tensor) -> Tensor:
        return torch.where(_rows(which, x), x.transpose(-1, -2), x)

    return _turned(batch, turn, torch.where(_rows(which, across), across, batch.sun))


def _rows(which: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) choices so that they broadcast over a map."""
    return which.view((-1,) + (1,) * (like.ndim - 1))
