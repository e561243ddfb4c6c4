"""Given weights from Python: load a model, give it a coarse DEM and images, get clones of the terrain.

One patch at a time; the stage ``region`` makes maps of any size (config section ``pretrained``).
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
    """What a model makes of one patch of P x P pixels; heights in metres above the coarse DEM's zero.

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
    vae : the same of its VAE, for a latent model.

    Returns
    -------
    The system in evaluation mode. `size_px`, `factor` and `halo_cells` say what `super_resolve` expects.

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
    """Block means of a DEM: (rows, cols) to (rows / factor, cols / factor); a block with NaN is NaN.

    Raises
    ------
    ValueError
        If the DEM does not divide into blocks.
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
    """Sharpen one patch of P = `system.size_px` pixels.

    Parameters
    ----------
    system : made by `load`.
    lr : (L, L) coarse DEM, metres above any zero, L = P / factor + 2 `system.halo_cells`: the patch and the
        cells around it that the network sees. Cells around the patch may be NaN where there are no data: the
        nearest one is held there, as in training. See `coarse`.
    images : (N, P, P) radiance factors I/F on the patch's pixels, or any one multiple of them for aligned
        networks, which divide by the set's mean lit radiance. NaN means no data. N may be 0.
    suns : (N, 3) unit vectors to the Sun in map axes: right (along columns), up (against rows), zenith.
    pixel_m : size of a pixel of the patch, metres.
    valid : (N, P, P) bool, False where an image has no data; None for all that is finite.
    members : clones M, at least 2.
    seed : of the clones; equal seeds give equal clones.
    sampler : how they are drawn; None takes the default of ``pretrained.sampler``.
    noise : in the place of `seed`: the patch is a window of a map, and its noise a part of the map's.
    altimetry : (P, P) heights of a fine DEM, metres above the zero of `lr`, which says little then: for
        systems that begin from refined DEMs (`bridge.refine`).
    spots : (P, P) altimetry spots per pixel: where there are some, `altimetry` is measured, elsewhere it is
        not looked at.
    cell_error_m : 1-sigma error of `lr`, metres, for the same systems; others hold it as exact.
    expected : (N, P, P) bool, whether the terrain around, as far as it is known, lets the whole Sun be seen:
        the same systems learn nothing from other pixels. None: they take every lit pixel.

    Raises
    ------
    ValueError
        If an array has another shape or unit than said above; the message names it.
    """
    cells, pictures, sun, seen = _checked(system, lr, images, suns, valid)
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
        valid=to(pad_sets([seen], least=1), torch.bool),
        sun=to(pad_sets([sun], (0, 0, 1), least=1)),
        present=to(pad_sets([np.ones(len(sun), bool)], least=1), torch.bool),
        pixel_m=to(np.array([pixel_m])),
        reference=to(np.array([reference])),
        spots=None if hits is None else to(hits)[None],
        cell_error=to(np.array([error])) if error else None,
        expected=None if whole is None else to(pad_sets([whole], least=1), torch.bool),
    )
    how = sampler or PretrainedSection().sampler
    sources = [seeded(seed, _CLONES)] if noise is None else [noise]
    drawn = system.sample(batch, members, sources, how)
    clones = drawn[0].double().cpu().numpy() + reference
    return Prediction(clones.mean(axis=0), clones.std(axis=0, ddof=1), clones, prior.numpy() + reference)


def _expected(system: System, expected: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Where the whole Sun is expected to be seen, of the images' shape."""
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
    """Heights along tracks and the spots that they come from, of the right shape; both or none."""
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
    """Arrays of the right shapes: cells without NaN, images that are 0 where there are no data."""
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
    seen = np.isfinite(pictures)
    if valid is not None:
        given = np.asarray(valid, dtype=bool)
        if given.shape != shape:
            raise ValueError(f"valid: expected {shape}, the shape of the images, found {given.shape}")
        seen &= given
    return held, np.where(seen, pictures, 0.0), sun, seen
