"""Python interface to saved models: draw clones of the terrain from a coarse DEM and images.

One patch at a time; the stages ``region`` and ``map`` reconstruct areas of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.bridges.fields import WindowNoise
from pipeline.config.bridge import SamplerSection
from pipeline.config.pretrained import PretrainedSection, weights_file
from pipeline.config.shipped import shipped
from pipeline.jobs.seeds import seeded
from pipeline.models.apriori import fill
from pipeline.models.batch import Batch, pad_sets
from pipeline.models.calibration import load_calibrated
from pipeline.models.system import System
from pipeline.storage.calibration_law import FILE as CALIBRATION
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean, fill_nearest

_CLONES = 0x9AED1C7


@dataclass(frozen=True)
class Prediction:
    """Reconstruction of one patch of P x P pixels; heights in metres above the coarse DEM's zero.

    Attributes
    ----------
    mean : (P, P) mean of the clones, the reconstruction.
    std : (P, P) standard deviation of the clones (ddof 1), its uncertainty.
    clones : (M, P, P) equally likely terrains.
    prior : (P, P) bicubic of the coarse DEM, for comparison.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    clones: NDArray[np.float64]
    prior: NDArray[np.float64]


def load(path: Path | str, device: torch.device | str = "cpu", vae: Path | str | None = None) -> System:
    """Load a model saved by the pipeline, ready to be used, with its ``calibration.json`` where it has one.

    Parameters
    ----------
    path : folder with ``model.safetensors`` and ``config.json``, or the safetensors file. An installed wheel
        carries ``pretrained/moon`` and ``pretrained/lola40``, which are taken where no such folder is here.
    device : where it computes, e.g. ``cpu`` or ``cuda``.
    vae : folder or file of its VAE, for a latent model.

    Returns
    -------
    The system in evaluation mode. Its `size_px`, `factor` and `halo_cells` define the shapes of
    `super_resolve`.

    Raises
    ------
    ValueError
        If a file is absent, is no model, or does not fit the others; the message names it.
    """
    model = weights_file(shipped(path))
    beside = model.with_name(CALIBRATION)
    calibration = beside if beside.is_file() else None
    return load_calibrated(model, None if vae is None else weights_file(vae), device, calibration)


def coarse(dem: ArrayLike, factor: int) -> NDArray[np.float64]:
    """Block means of a DEM: (rows, cols) to (rows / factor, cols / factor), metres; a block with NaN is NaN.

    Raises
    ------
    ValueError
        If rows or columns are not multiples of `factor`.
    """
    heights = np.asarray(dem, dtype=np.float64)
    if heights.ndim != 2 or any(n % factor for n in heights.shape):
        raise ValueError(
            f"dem: expected (rows, cols), both multiples of factor = {factor}, found {heights.shape}"
        )
    return block_mean(heights, factor)


def super_resolve(
    system: System,
    lr: ArrayLike,
    images: ArrayLike,
    suns: ArrayLike,
    pixel_m: float,
    *,
    valid: ArrayLike | None = None,
    members: int = 16,
    seed: int = 0,
    sampler: SamplerSection | None = None,
    noise: WindowNoise | None = None,
    altimetry: ArrayLike | None = None,
    spots: ArrayLike | None = None,
    cell_error_m: float = 0.0,
    expected: ArrayLike | None = None,
) -> Prediction:
    """Super-resolve one patch of P x P pixels, P = `system.size_px`.

    Parameters
    ----------
    system : from `load`.
    lr : (L, L) coarse DEM, metres above any zero, L = P / factor + 2 `system.halo_cells`: the patch and its
        halo, the surrounding cells that the network uses. Cells of the halo may be NaN if there are no data:
        they take the value of the nearest cell, as in training. See `coarse`.
    images : (N, P, P) radiance factors I/F on the patch's pixels. For aligned networks, which divide by the
        set's mean lit radiance, one common factor is arbitrary. NaN means no data. N may be 0.
    suns : (N, 3) unit vectors to the Sun in map axes: right (along columns), up (against rows), zenith.
    pixel_m : size of a pixel of the patch, metres.
    valid : (N, P, P) bool, False where an image has no data; None for all finite pixels.
    members : number of clones M, at least 2.
    seed : of the clones; equal seeds give equal clones.
    sampler : settings of the sampler; None takes the default of ``pretrained.sampler``.
    noise : replaces `seed` for a patch that is a window of a larger map, whose noise it shares.
    altimetry : (P, P) heights of a fine DEM, metres above the zero of `lr`. The cells of `lr` are then not
        used as data. For systems that begin from refined DEMs (`bridge.refine`).
    spots : (P, P) altimetry spots per pixel; `altimetry` is used only where there is at least one.
    cell_error_m : 1-sigma error of `lr`, metres, for the same systems; others take `lr` as exact.
    expected : (N, P, P) bool, whether the whole solar disc should be visible above the known terrain. The
        same systems use only these pixels; None: every lit pixel.

    Returns
    -------
    (P, P) mean, standard deviation (divisor M - 1) and prior, and (M, P, P) clones, metres above the zero of
    `lr`. The prior is the bicubic of `lr`, or the interpolated altimetry.

    Raises
    ------
    ValueError
        If an array has another shape or unit than stated above; if `members` is below 2, `pixel_m` not
        positive or `cell_error_m` negative; if only one of `altimetry` and `spots` is given; or if
        `altimetry`, `cell_error_m` or `expected` is given to a system without `bridge.refine`. The message
        names the argument.
    """
    cells, pictures, sun, usable = _checked(system, lr, images, suns, valid)
    if not (np.isfinite(pixel_m) and pixel_m > 0):
        raise ValueError(f"pixel_m: expected metres > 0, found {pixel_m}")
    if members < 2:
        raise ValueError(f"members: expected at least 2 clones, found {members}")
    measured, hits = _altimetry(system, altimetry, spots, cell_error_m)
    whole = _expected(system, expected, pictures.shape)
    halo, device = system.halo_cells, next(system.parameters()).device
    inner = cells[halo : len(cells) - halo, halo : len(cells) - halo]
    reference = float(inner.mean())
    prior = prior_from_lr(torch.from_numpy(cells - reference), halo, system.factor)
    if measured is not None:
        assert hits is not None
        prior = fill(torch.from_numpy(measured - reference)[None], torch.from_numpy(hits > 0)[None])[0]
    error = np.inf if measured is not None else cell_error_m

    def to(array: NDArray[Any] | torch.Tensor, kind: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.as_tensor(array).to(device=device, dtype=kind)

    batch = Batch(
        dem=None,
        lr=to(cells - reference)[None],
        prior=to(prior)[None],
        images=to(pad_sets([pictures], least=1)),
        valid=to(pad_sets([usable], least=1), torch.bool),
        sun=to(pad_sets([sun], (0, 0, 1), least=1)),
        present=to(pad_sets([np.ones(len(sun), bool)], least=1), torch.bool),
        pixel_m=to(np.array([pixel_m])),
        reference=to(np.array([reference])),
        spots=None if hits is None else to(hits)[None],
        cell_error=to(np.array([error])) if error else None,
        expected=None if whole is None else to(pad_sets([whole], least=1), torch.bool),
    )
    settings = sampler or PretrainedSection().sampler
    sources = [seeded(seed, _CLONES)] if noise is None else [noise]
    drawn = system.sample(batch, members, sources, settings)
    clones = drawn[0].double().cpu().numpy() + reference
    return Prediction(clones.mean(axis=0), clones.std(axis=0, ddof=1), clones, prior.numpy() + reference)


def _expected(system: System, expected: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """`expected`, checked: it must have the images' shape, and the system must use it."""
    if expected is None:
        return None
    if not system.section.refine:
        raise ValueError("expected: expected none with a system without bridge.refine, found an array")
    whole = np.asarray(expected, dtype=bool)
    if whole.shape != shape:
        raise ValueError(f"expected: expected {shape}, found {whole.shape}")
    return whole


def _altimetry(
    system: System, altimetry: ArrayLike | None, spots: ArrayLike | None, cell_error_m: float
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """`altimetry` and `spots`, checked; both or none. Heights without spots become 0."""
    if not (np.isfinite(cell_error_m) and cell_error_m >= 0):
        raise ValueError(f"cell_error_m: expected metres >= 0, found {cell_error_m}")
    if (altimetry is None) != (spots is None):
        raise ValueError("altimetry, spots: expected both or none, found one of them")
    if not system.section.refine and (altimetry is not None or cell_error_m):
        raise ValueError("altimetry, cell_error_m: expected none with a system without bridge.refine")
    if altimetry is None:
        return None, None
    shape = (system.size_px, system.size_px)
    heights, hits = (
        np.asarray(altimetry, dtype=np.float64),
        np.nan_to_num(np.asarray(spots, dtype=np.float64)),
    )
    for name, array in (("altimetry", heights), ("spots", hits)):
        if array.shape != shape:
            raise ValueError(f"{name}: expected {shape}, found {array.shape}")
    if not np.isfinite(heights[hits > 0]).all():
        raise ValueError(
            "altimetry: expected finite heights where there are spots, found NaN or infinite ones"
        )
    return np.where(hits > 0, heights, 0.0), hits


def _checked(
    system: System, lr: ArrayLike, images: ArrayLike, suns: ArrayLike, valid: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Coarse cells without NaN, images that are 0 without data, Suns, and a mask of pixels with data."""
    size, halo = system.size_px, system.halo_cells
    side = size // system.factor + 2 * halo
    cells = np.asarray(lr, dtype=np.float64)
    if cells.shape != (side, side):
        raise ValueError(
            f"lr: expected ({side}, {side}) cells, the patch's {size // system.factor} and {halo} on each "
            f"side, found {cells.shape}"
        )
    if not np.isfinite(cells[halo : side - halo, halo : side - halo]).all():
        raise ValueError("lr: expected finite heights on the patch, found NaN or infinite ones")
    held: NDArray[Any] = fill_nearest(np.where(np.isfinite(cells), cells, np.nan))
    sun = np.asarray(suns, dtype=np.float64).reshape(-1, 3) if np.size(suns) == 0 else np.asarray(suns, float)
    if sun.ndim != 2 or sun.shape[1] != 3:
        raise ValueError(f"suns: expected (N, 3) vectors, found {sun.shape}")
    length = np.linalg.norm(sun, axis=1)
    if not np.allclose(length, 1, atol=1e-3):
        raise ValueError(f"suns: expected unit vectors, found lengths {length.min():g} to {length.max():g}")
    shape = (len(sun), size, size)
    pictures = np.asarray(images, dtype=np.float64)
    pictures = pictures.reshape(shape) if pictures.size == 0 == len(sun) else pictures
    if pictures.shape != shape:
        raise ValueError(f"images: expected {shape}, one for each Sun, found {pictures.shape}")
    usable = np.isfinite(pictures)
    if valid is not None:
        given = np.asarray(valid, dtype=bool)
        if given.shape != shape:
            raise ValueError(f"valid: expected {shape}, the shape of the images, found {given.shape}")
        usable &= given
    return held, np.where(usable, pictures, 0.0), sun, usable
