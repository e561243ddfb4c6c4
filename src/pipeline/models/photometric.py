"""Photometric sums over an aligned image set, and the closed-form slopes that they imply.

Lambert's law (Woodham 1980): radiance I = s . g at a lit pixel, with s the Sun's direction and g the
albedo-scaled normal. The sums of I s and s s^T over the lit pixels are sufficient for the least-squares
estimate of g, whatever the number of images. Arrays are (B, C, P, P); axes are the map's: x along columns, y
up the map (against rows), z to the zenith.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pipeline.models.batch import Batch

#: A pixel darker than this fraction of the set's mean lit radiance counts as shadow.
LIT_SHARE = 0.01
#: A pixel darker than this many standard deviations of the shadows' noise counts as shadow, too.
NOISE_STEPS = 3.0
#: Number of images summed at a time; bounds the memory.
SUM_CHUNK = 32
#: The stored components of a symmetric matrix, in this order.
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class PhotometricSums:
    """Means over the valid images of each pixel, radiance over the set's mean lit radiance.

    Attributes
    ----------
    moments : (B, 3, P, P) of I s.
    matrix : (B, 6, P, P) of s s^T of images in which the pixel is lit: xx, yy, zz, xy, xz, yz.
    shadow : (B, 3, P, P) of s of images in which it is in shadow.
    mean, lit : (B, 1, P, P) of radiance; fraction of images in which it is lit.
    square : (B, 1, P, P) of radiance squared.
    valid : (B, 1, P, P) fraction of the present images that are valid there.
    """

    moments: Tensor
    matrix: Tensor
    shadow: Tensor
    mean: Tensor
    lit: Tensor
    square: Tensor
    valid: Tensor

    def stack(self) -> Tensor:
        """The linear fields as channels: (B, 15, P, P)."""
        return torch.cat([self.moments, self.matrix, self.shadow, self.mean, self.lit, self.valid], dim=1)


@dataclass(frozen=True)
class SetLight:
    """Properties of B image sets on which a calibration depends.

    Attributes
    ----------
    noise : (B,) fraction of the mean lit radiance below which a pixel counts as shadow, see `set_radiance`.
    unlit : (B, 1, P, P) bool, pixels that no image lights: in shadow, or outside, in all of them.
    kind : (B,) index of the set's kind in `pipeline.storage.calibration_law.KINDS`; None for networks that do
        not refine. Sets without images have their own kinds, and none of their pixels counts as unlit.
    """

    noise: Tensor
    unlit: Tensor
    kind: Tensor | None = None


def set_radiance(images: Tensor, valid: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Mean lit radiance of each set, by which images are normalised, and the threshold of shadows.

    Shadows contain the cameras' noise, which must not be taken for light; its size is estimated from negative
    values.

    Parameters
    ----------
    images, valid : (B, N, P, P) radiance; bool. present : (B, N) bool.

    Returns
    -------
    radiance : (B,) mean lit radiance; 1 where nothing is lit.
    threshold : (B,) fraction of it below which a pixel counts as shadow: `LIT_SHARE`, or `NOISE_STEPS`
        standard deviations of the noise.
    """
    negative, below = images.new_zeros(2, len(images)).unbind()
    parts = [slice(k, k + SUM_CHUNK) for k in range(0, images.shape[1], SUM_CHUNK)]
    for part in parts:
        dark = images[:, part].clamp_max(0) * (valid[:, part] & present[:, part, None, None])
        negative = negative + dark.square().sum(dim=(1, 2, 3))
        below = below + (dark < 0).sum(dim=(1, 2, 3))
    noise = NOISE_STEPS * (negative / below.clamp_min(1)).sqrt()
    total, count = images.new_zeros(2, len(images)).unbind()
    for part in parts:
        bright = images[:, part] > noise[:, None, None, None]
        lit = bright & valid[:, part] & present[:, part, None, None]
        total = total + (images[:, part] * lit).sum(dim=(1, 2, 3))
        count = count + lit.sum(dim=(1, 2, 3))
    radiance = torch.where(count > 0, total / count.clamp_min(1), torch.ones_like(total))
    return radiance, (noise / radiance).clamp_min(LIT_SHARE)


def photometric_sums(
    inputs: Batch, radiance: Tensor, threshold: Tensor, gain: Tensor | None = None
) -> PhotometricSums:
    """Sum over the set in chunks of images.

    Parameters
    ----------
    inputs : the sample sets.
    radiance, threshold : (B,) the set's mean lit radiance, and the fraction of it above which pixels count as
        lit; see `set_radiance`.
    gain : (B, N) factor on each image's radiance; None for 1.
    """
    b, n, rows, columns = inputs.images.shape
    totals = [torch.zeros(b, c, rows * columns, device=inputs.images.device) for c in (3, 6, 3, 1, 1, 1, 1)]
    with torch.autocast(inputs.images.device.type, enabled=False):
        for k in range(0, n, SUM_CHUNK):
            part = slice(k, k + SUM_CHUNK)
            valid = inputs.valid[:, part] & inputs.present[:, part, None, None]
            light = (inputs.images[:, part] / radiance[:, None, None, None]).flatten(2) * valid.flatten(2)
            lit = (light > threshold[:, None, None]).float()
            light = light * lit
            sun = inputs.sun[:, part].float().transpose(1, 2) * inputs.present[:, None, part]
            factor = torch.ones_like(sun[:, :1]) if gain is None else gain[:, None, part]
            products = torch.stack([sun[:, i] * sun[:, j] for i, j in PAIRS], dim=1)
            dark = valid.flatten(2).float() - lit
            ones = torch.ones_like(sun[:, :1])
            terms = (
                (sun * factor) @ light,
                products @ lit,
                sun @ dark,
                factor @ light,
                ones @ lit,
                factor.square() @ light.square(),
                ones @ (lit + dark),
            )
            totals = [total + term for total, term in zip(totals, terms)]
    count = totals[6].clamp_min(1)
    means = [(total / count).unflatten(2, (rows, columns)) for total in totals[:6]]
    images = inputs.present.sum(dim=1).clamp_min(1)[:, None, None]
    share = (totals[6] / images).unflatten(2, (rows, columns))
    moments, matrix, shadow, mean, lit, square = means
    return PhotometricSums(moments, matrix, shadow, mean, lit, square, share)


@torch.no_grad()
def exposure_ratios(
    inputs: Batch, radiance: Tensor, threshold: Tensor, normal: Tensor
) -> tuple[Tensor, Tensor]:
    """Ratio of each image's brightness to its shading by the a priori normals, over its lit pixels.

    Parameters
    ----------
    inputs : the sample sets. radiance, threshold : (B,), see `set_radiance`. normal : (B, 3, P, P).

    Returns
    -------
    ratio : (B, N) logarithm of image over shading, between -0.5 and 0.5; the set's mean, weighted with the
        lit shares, is subtracted, so that the exposure of the whole set does not matter.
    lit : (B, N) fraction of the patch that is lit, a measure of the ratio's reliability; 0 for padding.
    """
    ratios, shares = [], []
    facing = normal.flatten(2)
    for k in range(0, inputs.images.shape[1], SUM_CHUNK):
        part = slice(k, k + SUM_CHUNK)
        valid = inputs.valid[:, part] & inputs.present[:, part, None, None]
        light = (inputs.images[:, part] / radiance[:, None, None, None] * valid).flatten(2)
        lit = (light > threshold[:, None, None]).float()
        shading = (inputs.sun[:, part].float() @ facing).clamp_min(0)
        bright, expected = (light * lit).sum(dim=2), (shading * lit).sum(dim=2)
        known = (bright > 0) & (expected > 0)
        ratios.append(torch.where(known, bright / expected.clamp_min(1e-6), 1.0).clamp_min(1e-6).log())
        shares.append(torch.where(known, lit.mean(dim=2), 0.0))
    ratio, share = torch.cat(ratios, dim=1), torch.cat(shares, dim=1)
    level = (ratio * share).sum(dim=1, keepdim=True) / share.sum(dim=1, keepdim=True).clamp_min(1e-6)
    return torch.where(share > 0, ratio - level, 0.0).clamp(-0.5, 0.5), share


def map_slopes(height: Tensor) -> Tensor:
    """Slopes of a height field (B, H, W) in its own pixels: (B, 2, H, W), d/dx and d/dy in map axes."""
    down, right = torch.gradient(height, dim=(1, 2))
    return torch.stack([right, -down], dim=1)


def normals(slopes: Tensor) -> Tensor:
    """Unit normals (B, 3, H, W) of slopes (B, 2, H, W)."""
    upward = torch.cat([-slopes, torch.ones_like(slopes[:, :1])], dim=1)
    return upward * torch.rsqrt(upward.square().sum(dim=1, keepdim=True))


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    xx, yy, zz, xy, xz, yz = matrix.unbind(1)
    x, y, z = vector.unbind(1)
    return torch.stack([xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z], 1)


def solve_normal(matrix: Tensor, moments: Tensor, guess: Tensor, damping: float) -> Tensor:
    """Solve (A + damping) g = b + damping * guess at every pixel, by Cramer's rule on the update.

    Parameters
    ----------
    matrix : (B, 6, P, P) symmetric A.
    moments, guess : (B, 3, P, P) b; the guess determines directions of g that the Suns do not.
    damping : added to the diagonal.

    Returns
    -------
    Tensor (B, 3, P, P).
    """
    xx, yy, zz, xy, xz, yz = matrix.unbind(1)
    xx, yy, zz = xx + damping, yy + damping, zz + damping
    c_xx, c_yy, c_zz = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
    c_xy, c_xz, c_yz = xz * yz - xy * zz, xy * yz - xz * yy, xy * xz - xx * yz
    determinant = xx * c_xx + xy * c_xy + xz * c_xz
    cofactors = torch.stack([c_xx, c_yy, c_zz, c_xy, c_xz, c_yz], dim=1)
    return guess + _times(cofactors, moments - _times(matrix, guess)) / determinant[:, None]


def stereo_slopes(
    sums: PhotometricSums, prior_slopes: Tensor, damping: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes from the sums, regularised by the a priori slopes where the images do not determine them.

    Parameters
    ----------
    sums : the photometric sums.
    prior_slopes : (B, 2, P, P).
    damping : weight of the a priori normal against the mean s s^T.

    Returns
    -------
    slopes : (B, 2, P, P), differing from the a priori slopes by at most 3.
    albedo : (B, 1, P, P), relative to the set's.
    misfit : (B, 1, P, P) RMS residual of Lambert's law, over the set's mean lit radiance: noise,
        misregistration, other laws.
    """
    normal = normals(prior_slopes)
    shading = _times(sums.matrix, normal)
    # One albedo per set: the one that explains most of the light with the a priori normals.
    power = (shading**2).sum(dim=(1, 2, 3))
    albedo = (shading * sums.moments).sum(dim=(1, 2, 3)) / power.clamp_min(1e-12)
    albedo = torch.where(power > 1e-12, albedo, torch.ones_like(albedo)).clamp(1e-2, 1e2)
    guess = normal * albedo[:, None, None, None]
    g = solve_normal(sums.matrix, sums.moments, guess, damping) / albedo[:, None, None, None]
    upward = g[:, 2:].clamp_min(0.1)
    slopes = prior_slopes + (-g[:, :2] / upward - prior_slopes).clamp(-3.0, 3.0)
    size = g.square().sum(dim=1, keepdim=True).clamp(1e-6, 100.0).sqrt()
    scaled = g * albedo[:, None, None, None]
    left = sums.square + (scaled * (_times(sums.matrix, scaled) - 2 * sums.moments)).sum(dim=1, keepdim=True)
    # The floor keeps rounding errors of the difference of squares out of the root.
    return slopes, size, (left.clamp(0.0, 100.0) + 1e-4).sqrt()


@lru_cache(maxsize=32)
def cosines(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Orthonormal cosine basis (DCT-II) and the eigenvalues of the mirrored second difference."""
    with torch.inference_mode(False), torch.no_grad():
        k = torch.arange(size, dtype=torch.float64, device="cpu")
        basis = torch.cos(math.pi / size * k[:, None] * (k + 0.5)) * math.sqrt(2 / size)
        basis[0] /= math.sqrt(2)
        eigenvalues = 2 - 2 * torch.cos(math.pi * k / size)
        return basis.float().to(device), eigenvalues.float().to(device)


def integrate(slopes: Tensor, length_px: float) -> Tensor:
    """Heights whose slopes fit best, high-pass filtered at a scale of `length_px`.

    Minimises the squared misfit of the slopes plus (pi / (2 length))^2 times the squared height: the screened
    Poisson equation with mirrored edges, solved exactly in the cosine basis (Frankot & Chellappa 1988).

    Parameters
    ----------
    slopes : (B, 2, H, W) in map axes, dimensionless.
    length_px : pixels.

    Returns
    -------
    Tensor (B, 1, H, W), pixels.
    """
    x, y = slopes[:, 0], -slopes[:, 1]
    # Slope of each edge between neighbours; edges beyond the border carry none.
    across = torch.nn.functional.pad(0.5 * (x[:, :, 1:] + x[:, :, :-1]), (1, 1))
    along = torch.nn.functional.pad(0.5 * (y[:, 1:] + y[:, :-1]), (0, 0, 1, 1))
    divergence = across.diff(dim=2) + along.diff(dim=1)
    rows, values_r = cosines(slopes.shape[2], slopes.device)
    columns, values_c = cosines(slopes.shape[3], slopes.device)
    with torch.autocast(slopes.device.type, enabled=False):
        spectrum = rows @ divergence @ columns.T
        screened = values_r[:, None] + values_c + (math.pi / (2 * length_px)) ** 2
        return (-(rows.T @ (spectrum / screened) @ columns))[:, None]
