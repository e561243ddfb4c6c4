"""How real images differ from rendered ones: albedo, registration, exposure, noise, levels, Sun vectors.

Random numbers are drawn on the host from one NumPy generator per sample, and the device only adds,
multiplies, divides, rounds and takes roots, element by element: the result depends neither on the device nor
on the other samples of the batch. Each imperfection has its own random stream, so that switching one on or
off does not change the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.jobs.seeds import log_uniform

if TYPE_CHECKING:
    from pipeline.config.imperfections import (
        AlbedoBlocks,
        AlbedoField,
        AlbedoSpots,
        DarkSection,
        ImperfectionsSection,
        NoiseSection,
    )

Floats = NDArray[np.float32]
Generators = Sequence[np.random.Generator]

#: Lower bound of relative albedo and gain, which must be positive.
LEAST_FACTOR = 0.05
#: The median lit radiance is taken over every third row and column, which saves 8/9 of the work.
MEDIAN_STEP = 3
# Order of the streams of a sample; new ones are added at the end.
(
    _ALBEDO, _BLOCKS, _SHIFT, _EXPOSURE, _NOISE, _SUN, _SHARE, _DARK, _WRONG, _CLIP, _SPOTS, _STRENGTH,
    _STREAMS,
) = range(13)  # fmt: skip


def gaussian_field(size: int, section: AlbedoField, rng: np.random.Generator) -> Floats:
    """A stationary Gaussian field, (size, size): white noise filtered with a Gaussian, scaled to the rms.

    The noise extends beyond the patch, so that its edges have the same statistics as its middle; the rms is
    that of the ensemble, so that patches differ in their means as parts of a large map do.
    """
    from scipy import ndimage  # heavy, and needed for this only

    reach = math.ceil(4 * section.sigma_px)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / section.sigma_px) ** 2)
    kernel *= math.sqrt(section.rms) / np.sqrt((kernel**2).sum())
    field = rng.standard_normal((size + 2 * reach, size + 2 * reach), dtype=np.float32)
    field = ndimage.correlate1d(field, kernel, axis=0)[reach : reach + size]
    return ndimage.correlate1d(field, kernel, axis=1)[:, reach : reach + size]


def block_field(size: int, section: AlbedoBlocks, rng: np.random.Generator) -> NDArray[np.float64]:
    """Square cells with independent normal values, (size, size); the offset of their grid is random."""
    row, column = rng.integers(0, section.cell_px, 2)
    cells = -(-size // section.cell_px) + 1
    values = section.rms * rng.standard_normal((cells, cells))
    values = values.repeat(section.cell_px, axis=0).repeat(section.cell_px, axis=1)
    return values[row : row + size, column : column + size]


def spot_field(size: int, section: AlbedoSpots, rng: np.random.Generator) -> NDArray[np.float64]:
    """Bright Gaussian spots, (size, size); some lie partly beyond the edges."""
    reach = 3 * section.radius_px.high
    count = rng.poisson(section.count * (size + 2 * reach) ** 2 / 1000)
    places = rng.uniform(-reach, size - 1 + reach, (count, 2))
    excess, radius = (log_uniform(rng, span, count) for span in (section.excess, section.radius_px))
    at = np.arange(size)
    rows, cols = (np.exp(-0.5 * ((at - places[:, axis, None]) / radius[:, None]) ** 2) for axis in (0, 1))
    return np.einsum("k,ky,kx->yx", excess, rows, cols)


def albedo_map(
    size: int,
    section: ImperfectionsSection,
    smooth: np.random.Generator,
    blocky: np.random.Generator,
    spotted: np.random.Generator,
) -> Floats:
    """Relative albedo of one patch: 1 + smooth field + cells + spots, at least `LEAST_FACTOR`.

    Parameters
    ----------
    size : side of the patch, pixels. section : amplitudes; what has the amplitude 0 is left out.
    smooth, blocky, spotted : generators of the field, of the cells and of the spots.

    Returns
    -------
    (size, size) float32, without unit.
    """
    out = np.ones((size, size))
    if section.albedo.rms:
        out += gaussian_field(size, section.albedo, smooth)
    if section.albedo_blocks.rms:
        out += block_field(size, section.albedo_blocks, blocky)
    if section.albedo_spots.count:
        out += spot_field(size, section.albedo_spots, spotted)
    return out.clip(LEAST_FACTOR).astype(np.float32)


def shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Move the content of each image by a vector, with bilinear interpolation; edge pixels are repeated.

    Parameters
    ----------
    images : (N, Y, X). shift : (N, 2), pixels down the rows and to the right along the columns.

    Returns
    -------
    (N, Y, X); pixel (y, x) is the image at (y - shift[0], x - shift[1]).
    """
    for dim in (-2, -1):
        length = images.shape[dim]
        whole = torch.floor(shift[:, dim + 2])
        part = (shift[:, dim + 2] - whole)[:, None, None]
        place = torch.arange(-1, length, device=images.device) - whole.long()[:, None]
        place = place.clamp(0, length - 1).unsqueeze(-1 if dim == -2 else -2)
        shape = [*images.shape]
        shape[dim] = length + 1
        moved = images.gather(dim, place.expand(shape))
        images = moved.narrow(dim, 1, length) * (1 - part)
        images += moved.narrow(dim, 0, length) * part
    return images


def median_lit(images: Tensor, valid: Tensor) -> Tensor:
    """Median radiance of the lit pixels of a set, over every `MEDIAN_STEP`-th row and column.

    Parameters
    ----------
    images : (N, Y, X) radiance; a pixel is lit where it is positive. valid : (N, Y, X) bool.

    Returns
    -------
    Scalar tensor in the unit of `images`; 0 if nothing is lit.
    """
    images, valid = (x[:, ::MEDIAN_STEP, ::MEDIAN_STEP] for x in (images, valid))
    return torch.where(valid & (images > 0), images, torch.nan).nanmedian().nan_to_num(0.0)


def noisy(images: Tensor, valid: Tensor, section: NoiseSection, draw: Tensor) -> Tensor:
    """Add noise of variance (m / snr)^2 + I m / photons to a set, with m its median lit radiance.

    `draw`, (N, Y, X) standard normal numbers, is overwritten.
    """
    median = median_lit(images, valid)
    variance = (median / section.snr).square() if section.snr else torch.zeros_like(median)
    if section.photons:
        variance = (images.clamp(min=0) * (median / section.photons)).add_(variance)
    return draw.mul_(variance.sqrt_()).add_(images)


def quantised(images: Tensor, valid: Tensor, bits: int) -> Tensor:
    """Round a set to 2^bits - 1 steps from 0 to its largest valid radiance; negative codes are kept."""
    top = torch.where(valid, images, 0.0).amax()
    step = torch.where(top > 0, top, 1.0) / (2**bits - 1)
    return (images / step).round_().mul_(step)


def apply_imperfections(
    images: Tensor,
    valid: Tensor,
    suns: Tensor,
    present: Tensor,
    section: ImperfectionsSection,
    rngs: Generators | None,
) -> tuple[Tensor, Tensor]:
    """Images as a camera records them, and Sun vectors with errors.

    In this order: albedo (the same in all images of a set); shift; exposure; error of the dark level; read
    and shot noise, together one normal number per pixel; saturation; clipping at 0; quantisation. Unless they
    are clipped, images may be slightly negative in shadow, as bias-subtracted ones are. Shadows move with
    the shift; `valid` does not.

    Parameters
    ----------
    images : (B, N, P, P) radiance times visibility, before missing data.
    valid : (B, N, P, P) where images have data; these pixels give the scales of noise and quantisation. The
        caller masks the returned images.
    suns : (B, N, 3) unit vectors. present : (B, N); the images of a set come first, padding last.
    section : amplitudes.
    rngs : one generator per sample; may be None when everything is off.

    Returns
    -------
    images : (B, N, P, P). suns : (B, N, 3), unit vectors. The given tensors themselves where nothing changes.

    Raises
    ------
    ValueError
        If the number of generators is not that of the samples.
    """
    if section.off:
        return images, suns
    if rngs is None or len(rngs) != len(images):
        found = None if rngs is None else len(rngs)
        raise ValueError(f"imperfections: expected {len(images)} generators, one per sample, found {found}")
    light = not section.model_copy(update={"sun_deg": 0.0, "wrong": 0.0}).off
    out_images = torch.zeros_like(images) if light else images
    out_suns = suns.clone() if section.sun_deg or section.wrong else suns
    # One sample at a time: a set fits into a processor's cache, a batch does not.
    for b, (rng, count) in enumerate(zip(rngs, present.sum(dim=1).tolist())):
        streams = rng.spawn(_STREAMS)
        if section.share < 1 and streams[_SHARE].random() >= section.share:
            out_images[b] = images[b]
            continue
        here = section
        if (section.strength.low, section.strength.high) != (1.0, 1.0):
            here = section.times(float(log_uniform(streams[_STRENGTH], section.strength)))
        if light and count:
            one = slice(0, count)
            out_images[b, one] = _recorded(images[b, one], valid[b, one], suns[b, one], here, streams)
        if here.sun_deg:
            error = _normal(streams[_SUN], (count, 3), suns) * math.radians(here.sun_deg)
            x, y, z = (moved := suns[b, :count] + error).unbind(-1)
            out_suns[b, :count] = moved / torch.sqrt(x * x + y * y + z * z)[:, None]
        if section.wrong:
            out_suns[b, :count] = _turned(out_suns[b, :count], section.wrong, streams[_WRONG])
    return out_images, out_suns


def _turned(suns: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Suns (N, 3) of which a fraction is turned about the vertical by a random angle."""
    turned, angle = rng.random(len(suns)) < share, rng.uniform(0, 2 * np.pi, len(suns))
    angle = np.where(turned, angle, 0.0)
    sine, cosine = (torch.from_numpy(f(angle).astype(np.float32)).to(suns.device) for f in (np.sin, np.cos))
    x, y, z = suns.unbind(-1)
    return torch.stack([x * cosine + y * sine, y * cosine - x * sine, z], dim=-1)


def _dark(
    images: Tensor, valid: Tensor, suns: Tensor, section: DarkSection, rng: np.random.Generator
) -> Tensor:
    """Error of the dark level of each image, (N, Y, X): a constant and a ramp of random direction."""
    count, height, width = images.shape
    offset, down, right = (_normal(rng, (count, 1, 1), images) for _ in range(3))
    if section.pairs:
        # Consecutive images with equal Suns share the error of the first of them.
        new = torch.ones(count, dtype=torch.bool, device=suns.device)
        new[1:] = (suns[1:] != suns[:-1]).any(dim=1)
        first = torch.where(new, torch.arange(count, device=suns.device), 0).cummax(0).values
        offset, down, right = offset[first], down[first], right[first]
    y, x = (
        (torch.arange(n, device=images.device, dtype=images.dtype) + 0.5) / n - 0.5 for n in (height, width)
    )
    ramp = (down * y[:, None] + right * x) * section.ramp
    return (offset * section.offset + ramp) * median_lit(images, valid)


def _recorded(
    images: Tensor, valid: Tensor, suns: Tensor, section: ImperfectionsSection, streams: Generators
) -> Tensor:
    """One set's images (N, P, P) as a camera records them."""
    count, size = len(images), images.shape[-1]
    if section.albedo.rms or section.albedo_blocks.rms or section.albedo_spots.count:
        albedo = albedo_map(size, section, streams[_ALBEDO], streams[_BLOCKS], streams[_SPOTS])
        images = images * torch.from_numpy(albedo).to(images.device)
    if section.shift_px:
        images = shifted(images, _normal(streams[_SHIFT], (count, 2), images) * section.shift_px)
    if section.exposure:
        gain = 1 + section.exposure * _normal(streams[_EXPOSURE], (count, 1, 1), images)
        images = images * gain.clamp(min=LEAST_FACTOR)
    if section.dark.offset or section.dark.ramp:
        images = images + _dark(images, valid, suns, section.dark, streams[_DARK])
    if section.noise.snr or section.noise.photons:
        draw = _normal(streams[_NOISE], (count, size, size), images)
        images = noisy(images, valid, section.noise, draw)
    if section.saturation:
        images = images.clamp(max=median_lit(images, valid) * section.saturation)
    if section.clip and streams[_CLIP].random() < section.clip:
        images = images.clamp(min=0)
    if section.quantise_bits:
        images = quantised(images, valid, section.quantise_bits)
    return images


def _normal(rng: np.random.Generator, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard normal numbers, drawn on the host and moved to the device of `like`."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(like.device)
