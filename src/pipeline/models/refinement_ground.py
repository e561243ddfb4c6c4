"""Least-squares heights from altimetry, a self-affine prior, and the images' information on slopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pipeline.models.apriori import crop_halo
from pipeline.models.batch import Batch
from pipeline.models.nodes import solve_on_nodes, spline
from pipeline.models.photometric import cosines
from pipeline.models.refinement_images import Normal
from pipeline.models.refinement_slopes import slopes_adjoint, slopes_of
from pipeline.terrain.blocks import block_mean

#: Fractions of the mean information on slopes, and of the mean weight of spots, in the preconditioner. Poorly
#: determined heights converge last, so that the means themselves are too large (chosen for the fewest steps).
FIRM, FIRM_SPOTS = 0.1, 0.01
#: Slope of the terrain over one pixel and its Hurst exponent, of the prior.
SLOPE, HURST = 0.12, 0.9
#: Stiffness of surfaces between nodes: that of the prior at a wavelength of 6 pixels.
STIFFNESS = 24.0
#: Error of altimetry: metres, and pixels, since a spot is not the mean of its pixel.
SPOT_M, SPOT_PX = 0.5, 0.012
#: Error of exact block means, pixels: small enough to keep them, large enough for a well-conditioned system.
CELL_PX = 0.02


@lru_cache(maxsize=32)
def _precision(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inverse power spectrum of self-affine relief in the cosine basis, and squared wavenumbers."""
    with torch.inference_mode(False), torch.no_grad():
        k = math.pi / size * torch.arange(size, dtype=torch.float64, device="cpu")
        square = k[:, None] ** 2 + k**2
        shape = square.clamp_min((math.pi / size) ** 2) ** (HURST + 1)
        power = 1 / shape
        power[0, 0] = 0
        variance = ((2 - 2 * torch.cos(k))[:, None] * power).sum() / size**2
        return (shape * variance / SLOPE**2).float().to(device), square.float().to(device)


def _conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], right: Tensor, near: Tensor, x: Tensor, steps: int
) -> Tensor:
    """Solve for B maps at once, starting from `x`, with the diagonal preconditioner `near`."""
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
class Ground:
    """Information on the heights without images, in pixels.

    Attributes
    ----------
    start, middle : (B, P, P) start of the solution; mean of the prior.
    weight, height : (B, P, P) of spots: inverse variance and height.
    exact : (B, 1, 1) weight of block means. cells : (B, P / factor, P / factor) block means.
    factor : pixels per side of a cell.
    """

    start: Tensor
    middle: Tensor
    weight: Tensor
    height: Tensor
    exact: Tensor
    cells: Tensor
    factor: int

    def solve(self, normal: Normal | None, height: Tensor, steps: int) -> Tensor:
        """Heights (B, P, P), pixels, that fit best; the unknowns are cosine coefficients.

        Parameters
        ----------
        normal : of the images; None without. height : (B, P, P) to start from, pixels.
        steps : of the conjugate gradients.
        """
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
                out.addcmul_(share, over_pixels(block_mean(z, self.factor), self.factor))
            if normal is not None:
                right, up = slopes_of(z)
                out += slopes_adjoint(
                    torch.addcmul(normal.xy * up, normal.xx, right),
                    torch.addcmul(normal.xy * right, normal.yy, up),
                )
            return out

        def matrix(waves: Tensor) -> Tensor:
            return torch.addcmul(to_cosines(data(_both_sides(waves, basis))), precision, waves)

        wanted = self.weight * self.height + share * over_pixels(self.cells, self.factor)
        about = torch.zeros_like(self.exact)
        if normal is not None:
            wanted = wanted + slopes_adjoint(normal.x, normal.y)
            trace = 0.5 * (normal.xx + normal.yy)
            typical = trace.mean(dim=(1, 2), keepdim=True)
            about = FIRM * (trace + 1e-3 * typical + 1e-9).log().mean(dim=(1, 2), keepdim=True).exp()
        diagonal = precision + about * square + FIRM_SPOTS * self.weight.mean(dim=(1, 2), keepdim=True)
        right = torch.addcmul(to_cosines(wanted), precision, to_cosines(self.middle))
        waves = to_cosines(height)
        if normal is not None:
            # Long wavelengths are solved on nodes first, with a line search so that the cost cannot grow.
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
    """The product matrix.T z matrix of each of B square maps, with all maps at once, which is faster."""
    half = (z @ matrix).transpose(1, 2).contiguous()
    return (half @ matrix).transpose(1, 2).contiguous()


def over_pixels(cells: Tensor, factor: int) -> Tensor:
    """Values of cells (B, h, w) repeated at their pixels, (B, h factor, w factor)."""
    count, rows, columns = cells.shape
    wide = cells[:, :, None, :, None].expand(count, rows, factor, columns, factor)
    return wide.reshape(count, rows * factor, columns * factor)


def ground_of(inputs: Batch, factor: int) -> Ground:
    """Information without images on B sample sets whose cells have `factor` pixels per side."""
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
    return Ground(start, middle, weight, prior, exact, cells, factor)


def _plane(height: Tensor) -> Tensor:
    """Least-squares plane through each map."""
    ramps = [torch.linspace(-1, 1, n, device=height.device) for n in height.shape[-2:]]
    down, right = ramps[0][:, None], ramps[1][None]
    level = height.mean(dim=(1, 2), keepdim=True)
    tilts = [(height * r).mean(dim=(1, 2), keepdim=True) / r.square().mean() for r in (down, right)]
    return level + tilts[0] * down + tilts[1] * right
