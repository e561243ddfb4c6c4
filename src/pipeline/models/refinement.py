"""The a priori DEM refined by its images before a network sees it: Gauss-Newton steps of photometric stereo.

One step renders the DEM under each image's Sun, fits every image's exposure, haze and shift, linearises the
radiance about the DEM's slopes, and solves for the heights that fit the images, the altimetry and a
self-affine prior together:

    sum over images of w (J - R - dR . grad z)^2 + sum over spots of (z - h)^2 / s^2
        + |z - z0|^2 in the inverse of the spectrum k^-(2H + 2) + block means, where they are exact.

Heights and slopes are in pixels. The quadratic problem is solved among coarse surfaces first
(`pipeline.models.nodes`), then by conjugate gradients, preconditioned in the cosine basis; a fixed number of
steps makes the result the same everywhere. Robust weights (Cauchy's, squared) keep out what the rendering
lacks: penumbrae and shadows above all, which only darken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.models import refinement_kernels as kernels
from pipeline.models.apriori import crop_halo
from pipeline.models.batch import Batch
from pipeline.models.nodes import solve_on_nodes, spline
from pipeline.models.photometric import cosines
from pipeline.terrain.blocks import block_mean

#: Relative error that images are allowed, in the order of the steps: large while the DEM is coarse.
ERRORS = (0.3, 0.15, 0.1)
#: Steps of the conjugate gradients for the first DEM, and for each of the others.
START_STEPS, SOLVER_STEPS = 60, (10, 20, 50)
#: Shares of the mean information on slopes and of the mean weight of spots that precondition them: what is
#: loosely held converges last, so that the mean itself is too firm (chosen by the number of steps needed).
FIRM, FIRM_SPOTS = 0.1, 0.01
#: Error of an image whatever its brightness, over its mean lit radiance.
FLOOR = 0.02
#: Residuals of so many errors have a quarter of their weight; those of dark pixels count `DARKER` times.
ROBUST, DARKER = 3.0, 3.0
#: Standard deviations of what is fitted to each image: exposure, haze over the mean lit radiance, shift (px).
EXPOSURE, HAZE, SHIFT = 0.5, 0.02, 0.4
#: Standard deviation of a pixel's albedo.
ALBEDO = 0.4
#: Pixels whose residuals are alike: a fit to n pixels knows as much as n over this.
ALIKE_PX = 20.0
#: What is darker than this share of an image's mean lit radiance is not lit, neither what is beside it.
LIT = 0.25
#: The same of the set's mean lit radiance.
LIT_OVERALL = 0.05
#: Slope of the terrain over one pixel and its Hurst exponent, of the prior.
SLOPE, HURST = 0.12, 0.9
#: Stiffness of surfaces between nodes: the prior's where waves are 6 pixels long.
STIFFNESS = 24.0
#: Error of altimetry: metres, and pixels, since a spot is not the mean of its pixel.
SPOT_M, SPOT_PX = 0.5, 0.012
#: Error of exact block means, pixels: small enough to hold, large enough to be solved.
CELL_PX = 0.02
#: An image of so many lit pixels that looks less like the refined DEM than this shows something else.
TELLING_PX, ALIKE = 500, 0.3


@dataclass(frozen=True)
class Refined:
    """What a refinement makes of B sample sets.

    Attributes
    ----------
    batch : with the refined DEM as its a priori DEM, and images freed of exposure, haze and shift.
    about : (B, `CHANNELS`, P, P) of what the images tell of each pixel: logarithm of the information on the
        slopes, its anisotropy (2), albedo, misfit; and of what altimetry does: whether a spot lies in the
        pixel, the distance to the next one; and refined minus given a priori DEM, in pixels.
    """

    batch: Batch
    about: Tensor


CHANNELS = 8


def _differences(height: Tensor, dim: int) -> Tensor:
    """First differences of fourth order along an axis, of second order at the edges.

    Of a wave of 4 pixels a central difference gives 0.64 of the slope, this 0.85.
    """
    n = height.shape[dim]

    def at(start: int, stop: int) -> Tensor:
        return height.narrow(dim, start, stop - start)

    inside = (2 / 3) * (at(3, n - 1) - at(1, n - 3)) - (1 / 12) * (at(4, n) - at(0, n - 4))
    low = 0.5 * (at(2, 3) - at(0, 1)), 0.5 * (at(n - 1, n) - at(n - 3, n - 2))
    first, last = at(1, 2) - at(0, 1), at(n - 1, n) - at(n - 2, n - 1)
    return torch.cat([first, low[0], inside, low[1], last], dim=dim)


def _differences_adjoint(slope: Tensor, dim: int) -> Tensor:
    """The adjoint of `_differences`."""
    n = slope.shape[dim]
    out = torch.zeros_like(slope)

    def add(where: int, factor: float, start: int, stop: int) -> None:
        out.narrow(dim, where, stop - start).add_(slope.narrow(dim, start, stop - start), alpha=factor)

    add(3, 2 / 3, 2, n - 2)
    add(1, -2 / 3, 2, n - 2)
    add(4, -1 / 12, 2, n - 2)
    add(0, 1 / 12, 2, n - 2)
    for row, (before, after), factor in (
        (0, (0, 1), 1.0), (1, (0, 2), 0.5), (n - 2, (n - 3, n - 1), 0.5), (n - 1, (n - 2, n - 1), 1.0)
    ):  # fmt: skip
        add(after, factor, row, row + 1)
        add(before, -factor, row, row + 1)
    return out


def _slopes(height: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes to the right and up of heights (B, H, W)."""
    return _differences(height, 2), -_differences(height, 1)


def _adjoint(right: Tensor, up: Tensor) -> Tensor:
    """The adjoint of `_slopes`."""
    return _differences_adjoint(right, 2) - _differences_adjoint(up, 1)


@lru_cache(maxsize=32)
def _precision(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inverse spectrum of self-affine relief in the cosine basis and the squared wavenumber."""
    with torch.inference_mode(False), torch.no_grad():
        k = math.pi / size * torch.arange(size, dtype=torch.float64, device="cpu")
        square = k[:, None] ** 2 + k**2
        shape = square.clamp_min((math.pi / size) ** 2) ** (HURST + 1)
        power = 1 / shape
        power[0, 0] = 0
        variance = ((2 - 2 * torch.cos(k))[:, None] * power).sum() / size**2
        return (shape * variance / SLOPE**2).float().to(device), square.float().to(device)


@dataclass(frozen=True)
class _Light:
    """Images on the host, as the compiled loops take them.

    (B, N, P, P) radiance, where it is seen and where well lit; (B, N) mean lit radiance; (B, N, 3) Suns.
    """

    images: NDArray[np.float32]
    seen: NDArray[np.bool_]
    lit: NDArray[np.bool_]
    level: NDArray[np.float64]
    suns: NDArray[np.float32]


def _light(inputs: Batch) -> _Light:
    """Which pixels an image lights: by itself, and by what is expected."""
    images = inputs.images.detach().float().cpu().contiguous().numpy()
    seen = (inputs.valid & inputs.present[..., None, None]).cpu().contiguous().numpy()
    lit, level = np.zeros(images.shape, np.bool_), np.zeros(images.shape[:2])
    kernels.well_lit(images, seen, LIT, LIT_OVERALL, lit, level)
    if inputs.expected is not None:
        lit &= inputs.expected.cpu().numpy()
    return _Light(images, seen, lit, level, inputs.sun.float().cpu().contiguous().numpy())


@dataclass(frozen=True)
class _Normal:
    """The images' part of the quadratic problem of one step.

    Attributes
    ----------
    xx, yy, xy : (B, P, P) information on the slopes. x, y : (B, P, P) its product with the slopes that fit.
    albedo, misfit : (B, P, P).
    """

    xx: Tensor
    yy: Tensor
    xy: Tensor
    x: Tensor
    y: Tensor
    albedo: Tensor
    misfit: Tensor


def _linearised(height: Tensor, light: _Light, error: float) -> tuple[_Normal, NDArray[np.float64], Tensor]:
    """Fit the cameras and linearise the radiance about a DEM.

    Returns
    -------
    The normal equations; (B, N, 4) the cameras; and (B, N) the correlation of each image with its rendering.
    """
    p, q = _slopes(height)
    host = [slope.cpu().contiguous().numpy() for slope in (p, q)]
    count, images = light.images.shape[:2]
    sums = np.zeros((count, 11, *height.shape[1:]))
    fits, alike = np.zeros((count, images, kernels.CAMERA)), np.zeros((count, images))
    widths = np.array([EXPOSURE, HAZE, SHIFT])
    kernels.linearise(  # type: ignore[call-arg]
        *host, light.images, light.lit, light.level, light.suns, error, widths, ALIKE_PX, FLOOR, ROBUST,
        DARKER,
        sums, fits, alike,
    )  # fmt: skip
    xx, yy, xy, xr, yr, rr, x, y, r, misfit, _ = torch.from_numpy(sums).to(height).unbind(1)
    # The albedo of a pixel is eliminated.
    free = rr + 1 / ALBEDO**2
    xx, yy, xy = xx - xr * xr / free, yy - yr * yr / free, xy - xr * yr / free
    x, y = x - xr * r / free, y - yr * r / free
    relative = (misfit / rr.clamp_min(1e-6)).sqrt()
    normal = _Normal(xx, yy, xy, x + xx * p + xy * q, y + xy * p + yy * q, r / free, relative)
    return normal, fits, torch.from_numpy(alike).to(height)


def _conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], right: Tensor, near: Tensor, x: Tensor, steps: int
) -> Tensor:
    """Solve for B maps at once, from `x`, with an approximate inverse `near`, which is diagonal."""
    left = right - matrix(x)
    z = left * near
    way, size = z, (left * z).sum(dim=(1, 2), keepdim=True)
    for _ in range(steps):
        ahead = matrix(way)
        step = size / (way * ahead).sum(dim=(1, 2), keepdim=True).clamp_min(1e-20)
        x, left = torch.addcmul(x, step, way), torch.addcmul(left, step, ahead, value=-1)
        z = left * near
        new = (left * z).sum(dim=(1, 2), keepdim=True)
        way, size = torch.addcmul(z, new / size.clamp_min(1e-20), way), new
    return x


@dataclass(frozen=True)
class _Ground:
    """What is known of the heights without images, in pixels.

    Attributes
    ----------
    start, middle : (B, P, P) where the solution begins; what the prior is centred on.
    weight, height : (B, P, P) of spots: inverse variance and height.
    exact : (B, 1, 1) weight of block means. cells : (B, P / factor, P / factor) block means.
    """

    start: Tensor
    middle: Tensor
    weight: Tensor
    height: Tensor
    exact: Tensor
    cells: Tensor
    factor: int

    def solve(self, normal: _Normal | None, height: Tensor, steps: int) -> Tensor:
        """Heights (B, P, P) that fit best, searched for from `height` among sums of cosines."""
        size = height.shape[-1]
        basis, _ = cosines(size, height.device)
        precision, square = _precision(size, height.device)
        share = self.exact / self.factor**2
        with_spots, with_cells = bool((self.weight > 0).any()), bool((share > 0).any())

        def to_cosines(z: Tensor) -> Tensor:
            return _both_sides(z, basis.T)

        def data(z: Tensor) -> Tensor:
            out = torch.zeros_like(z)
            if with_spots:
                out.addcmul_(self.weight, z)
            if with_cells:
                out.addcmul_(share, _spread(block_mean(z, self.factor), self.factor))
            if normal is not None:
                right, up = _slopes(z)
                out += _adjoint(
                    torch.addcmul(normal.xy * up, normal.xx, right),
                    torch.addcmul(normal.xy * right, normal.yy, up),
                )
            return out

        def matrix(waves: Tensor) -> Tensor:
            return torch.addcmul(to_cosines(data(_both_sides(waves, basis))), precision, waves)

        wanted = self.weight * self.height + share * _spread(self.cells, self.factor)
        about = torch.zeros_like(self.exact)
        if normal is not None:
            wanted = wanted + _adjoint(normal.x, normal.y)
            trace = 0.5 * (normal.xx + normal.yy)
            typical = trace.mean(dim=(1, 2), keepdim=True)
            about = FIRM * (trace + 1e-3 * typical + 1e-9).log().mean(dim=(1, 2), keepdim=True).exp()
        diagonal = precision + about * square + FIRM_SPOTS * self.weight.mean(dim=(1, 2), keepdim=True)
        right = torch.addcmul(to_cosines(wanted), precision, to_cosines(self.middle))
        waves = to_cosines(height)
        if normal is not None:
            # What is wide is solved on nodes first, and scaled so that it surely comes nearer.
            left = right - matrix(waves)
            info = (normal.xx, normal.yy, normal.xy)
            near = solve_on_nodes(
                _both_sides(left, basis), self.weight, info, self.exact[:, 0, 0], self.factor, STIFFNESS
            )
            way = to_cosines(near)
            bent = (way * matrix(way)).sum(dim=(1, 2), keepdim=True)
            waves = waves + (way * left).sum(dim=(1, 2), keepdim=True) / bent.clamp_min(1e-20) * way
        return _both_sides(_conjugate_gradients(matrix, right, 1 / diagonal, waves, steps), basis)


def _both_sides(z: Tensor, matrix: Tensor) -> Tensor:
    """The product matrix.T z matrix of each of B square maps; products with all maps at once are faster."""
    half = (z @ matrix).transpose(1, 2).contiguous()
    return (half @ matrix).transpose(1, 2).contiguous()


def _spread(cells: Tensor, factor: int) -> Tensor:
    """Cells (B, h, w) over their pixels."""
    count, rows, columns = cells.shape
    wide = cells[:, :, None, :, None].expand(count, rows, factor, columns, factor)
    return wide.reshape(count, rows * factor, columns * factor)


def _ground(inputs: Batch, factor: int) -> _Ground:
    pixel = inputs.pixel_m[:, None, None]
    prior = inputs.prior / pixel
    cells = crop_halo(inputs.lr, prior.shape[-1] // factor) / pixel
    off = torch.zeros_like(pixel) if inputs.cell_error is None else inputs.cell_error[:, None, None] / pixel
    exact = off.clamp_min(CELL_PX) ** -2
    weight = torch.zeros_like(prior)
    start = middle = prior
    if inputs.spots is not None:
        hit = inputs.spots > 0
        error = (SPOT_PX**2 + (SPOT_M / pixel).square()).expand_as(prior)
        weight = torch.where(hit, 1 / error, 0.0)
        measured = hit.flatten(1).any(dim=1)[:, None, None]
        start = torch.where(measured, spline(prior, weight, STIFFNESS), prior)
        middle = torch.where(measured, _plane(start), prior)
    return _Ground(start, middle, weight, prior, exact, cells, factor)


def fill(height: Tensor, known: Tensor) -> Tensor:
    """Maps (B, P, P) whose gaps hold averages over ever larger squares around them, joined bilinearly.

    Parameters
    ----------
    height : maps. known : (B, P, P) where their values count; elsewhere they are not looked at.
    """
    levels = [(torch.where(known, height, 0.0)[:, None], known.to(height.dtype)[:, None])]
    while min(levels[-1][0].shape[-2:]) > 1 and bool((levels[-1][1] == 0).any()):
        values, weights = levels[-1]
        total = F.avg_pool2d(weights, 2, ceil_mode=True)
        means = F.avg_pool2d(values * weights, 2, ceil_mode=True) / total.clamp_min(1e-9)
        levels.append((means, (total > 0).to(height.dtype)))
    out = levels[-1][0]
    for values, weights in reversed(levels[:-1]):
        wide = F.interpolate(out, size=values.shape[-2:], mode="bilinear", align_corners=False)
        out = torch.where(weights > 0, values, wide)
    return out[:, 0]


def _plane(height: Tensor) -> Tensor:
    """Least-squares plane through each map."""
    ramps = [torch.linspace(-1, 1, n, device=height.device) for n in height.shape[-2:]]
    down, right = ramps[0][:, None], ramps[1][None]
    level = height.mean(dim=(1, 2), keepdim=True)
    tilts = [(height * r).mean(dim=(1, 2), keepdim=True) / r.square().mean() for r in (down, right)]
    return level + tilts[0] * down + tilts[1] * right


@torch.no_grad()
def refined(inputs: Batch, factor: int) -> Refined:
    """Refine the a priori DEM of B sample sets, in single precision.

    Parameters
    ----------
    inputs : images in one unit of exposure, roughly. factor : pixels a cell of the a priori DEM.
    """
    with torch.autocast(inputs.images.device.type, enabled=False):
        ground, light = _ground(inputs, factor), _light(inputs)
        height = ground.start
        if inputs.spots is not None and bool((ground.weight > 0).any()):
            height = ground.solve(None, height, START_STEPS)
        for error, steps in zip(ERRORS, SOLVER_STEPS, strict=True):
            normal, fits, alike = _linearised(height, light, error)
            height = ground.solve(normal, height, steps)
        normal, fits, alike = _linearised(height, light, ERRORS[-1])
        freed = np.empty_like(light.images)
        slopes = [slope.cpu().contiguous().numpy() for slope in _slopes(height)]
        kernels.free(*slopes, light.images, light.seen, light.suns, fits, freed)  # type: ignore[call-arg]
        telling = torch.from_numpy(light.lit.sum(axis=(2, 3)) >= TELLING_PX).to(height.device)
        present = inputs.present & ~(telling & (alike < ALIKE))
        pixel = inputs.pixel_m[:, None, None]
        moved = height - ground.start
        cells = inputs.lr.clone()
        halo = (cells.shape[-1] - height.shape[-1] // factor) // 2
        inner = slice(halo, cells.shape[-1] - halo)
        if inputs.cell_error is not None:
            # Block means that are not exact are those of the refined DEM from here on.
            own = block_mean(height * pixel, factor)
            loose = (inputs.cell_error > 0)[:, None, None]
            cells[:, inner, inner] = torch.where(loose, own, cells[:, inner, inner])
        trace = 0.5 * (normal.xx + normal.yy)
        uneven = torch.stack([0.5 * (normal.xx - normal.yy), normal.xy], dim=1) / (trace[:, None] + 1.0)
        about = torch.stack(
            [torch.log1p(trace) / 10.0, *uneven.unbind(1), normal.albedo.clamp(-1, 1),
            normal.misfit.clamp(0, 2),
             (ground.weight > 0).float(), _distance(ground.weight > 0), moved.clamp(-4, 4)], dim=1,
        )  # fmt: skip
        images = torch.from_numpy(freed).to(inputs.images.device)
        batch = replace(inputs, prior=height * pixel, lr=cells, images=images, present=present)
        return Refined(batch, about)


def _distance(hit: Tensor) -> Tensor:
    """Logarithm of the distance to the next spot in pixels, 0 at a spot, 1 from 13 pixels on."""
    far = torch.full(hit.shape, 1.0, device=hit.device)
    reach, near = hit.float()[:, None], hit
    for step in range(1, 13):
        reach = F.max_pool2d(reach, 3, 1, 1)
        new = (reach[:, 0] > 0) & ~near
        far = torch.where(new, math.log1p(step) / math.log1p(13), far)
        near = near | new
    return torch.where(hit, 0.0, far)
