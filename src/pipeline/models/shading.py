"""Classical shape from shading: heights whose renderings fit the images, by differentiable rendering.

The cost is the usual one of shape from shading with an a priori DEM, as in the Ames Stereo Pipeline's `sfs`
(Alexandrov & Beyer 2018, Earth and Space Science 5, 652); the implementation is independent of that program:

    sum over images and lit pixels of rho(I - (e A R(z) + h))
        + mu * sum of z_xx^2 + 2 z_xy^2 + z_yy^2 + lambda * sum of (z - z0)^2

with heights z and lengths in pixels, radiance I over the set's mean lit radiance, a law of reflectance R, an
exposure e and a haze h for each image, and the albedo A, which all images share. rho is the square, or
Cauchy's c^2 log(1 + r^2 / c^2). Exposures, haze and the albedo's logarithm are unknowns, too: exposures are
constrained to be near each other, the others near 0. Lambda is larger where the a priori DEM is altimetry;
where it is block means without error, heights are restricted to those that keep them.

Gauss-Newton steps, on coarse scales first: each fits exposures and haze in closed form, linearises the
renderings about the heights, and solves for heights and albedo together by conjugate gradients in the cosine
basis, preconditioned with the approximate posterior standard deviations. Patches are solved one by one, so
that a result does not depend on the rest of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.config.photometry import PhotometrySection
from pipeline.config.predictors import ShadingSection
from pipeline.illumination.photometry import surface_gradients
from pipeline.models import refinement_kernels as kernels
from pipeline.models.apriori import crop_halo, match_block_means
from pipeline.models.batch import Batch
from pipeline.models.nodes import spline
from pipeline.models.shading_scale import Light, Scale, State, common_gain, rendered

#: Pixels below this fraction of the set's mean lit radiance are not lit either.
LIT_OVERALL = 0.05
#: Smallest side of a coarse map, pixels.
LEAST_PX = 12
#: Altimetry in the start: error of spots, metres and pixels, and stiffness of the spline.
SPOT_M, SPOT_PX, STIFFNESS = 0.5, 0.012, 24.0


def start_of(batch: Batch, factor: int) -> Tensor:
    """Start of the search: the a priori DEM with its block means, or a spline of its altimetry.

    Parameters
    ----------
    batch : B sample sets. factor : pixels per side of a block.

    Returns
    -------
    (B, P, P) metres above the batch's reference.
    """
    pixel = batch.pixel_m[:, None, None]
    lr = crop_halo(batch.lr, batch.prior.shape[-1] // factor)
    start = torch.where(_exact(batch)[:, None, None], match_block_means(batch.prior, lr, factor), batch.prior)
    if batch.spots is None:
        return start
    hit = batch.spots > 0
    weight = torch.where(hit, 1 / (SPOT_PX**2 + (SPOT_M / pixel).square()), 0.0)
    measured = hit.flatten(1).any(dim=1)[:, None, None]
    return torch.where(measured, spline(batch.prior / pixel, weight, STIFFNESS) * pixel, start)


def _exact(batch: Batch) -> Tensor:
    """Patches whose block means have no error, (B,) bool."""
    if batch.cell_error is None:
        return torch.ones_like(batch.pixel_m, dtype=torch.bool)
    return batch.cell_error == 0


@dataclass(frozen=True)
class Shaded:
    """Result of shape from shading for B patches.

    Attributes
    ----------
    dem : (B, P, P) metres above the batch's reference.
    albedo : (B, P, P) relative to the set's.
    exposure : (B, N) of each image relative to the set's; 1 where an image has no lit pixels.
    haze : (B, N) over the set's mean lit radiance.
    """

    dem: Tensor
    albedo: Tensor
    exposure: Tensor
    haze: Tensor


def well_lit(batch: Batch, share: float) -> Tensor:
    """Lit pixels that are not next to a shadow and are expected to see the whole Sun.

    Parameters
    ----------
    batch : B sets. share : fraction of an image's mean lit radiance below which a pixel is in shadow.

    Returns
    -------
    (B, N, P, P) bool.
    """
    images = batch.images.detach().float().cpu().contiguous().numpy()
    seen = (batch.valid & batch.present[..., None, None]).cpu().contiguous().numpy()
    lit = np.zeros(images.shape, np.bool_)
    kernels.well_lit(images, seen, share, LIT_OVERALL, lit, np.zeros(images.shape[:2]))
    if batch.expected is not None:
        lit &= batch.expected.cpu().numpy()
    return torch.from_numpy(lit).to(batch.images.device)


def shape_from_shading(batch: Batch, start: Tensor, factor: int, section: ShadingSection) -> Shaded:
    """Heights that minimise the cost.

    Parameters
    ----------
    batch : B sample sets. start : (B, P, P) z0, metres above the reference.
    factor : pixels per side of a block. section : weights and iterations.
    """
    lit, exact = well_lit(batch, section.shadow_threshold), _exact(batch)
    dem, albedo = start.float().clone(), torch.ones_like(start, dtype=torch.float32)
    exposure = torch.ones(lit.shape[:2], device=start.device)
    haze = torch.zeros_like(exposure)
    for row in range(len(batch)):
        used = lit[row].flatten(1).any(dim=1)
        if not bool(used.any()):
            continue
        # A predictor may be called in inference mode, which has no gradients.
        with torch.inference_mode(False):
            light, pixel = _light(batch, row, lit, used), float(batch.pixel_m[row])
            kept = factor if exact[row] else 0
            near = torch.full_like(light.lit[0], section.initial_dem_constraint_weight)
            if batch.spots is not None:
                near = near + section.spot_constraint_weight * (batch.spots[row] > 0)
            found = _solve(light, start[row].float().clone() / pixel, near, kept, section)
        pixels = light.lit.sum(dim=(1, 2))
        dem[row] = start[row] + pixel * found.height
        albedo[row], haze[row, used] = found.albedo.exp(), found.haze
        exposure[row, used] = found.gain / common_gain(found.gain, pixels)
    return Shaded(dem, albedo, exposure, haze)


def _light(batch: Batch, row: int, lit: Tensor, used: Tensor) -> Light:
    """The images of a patch that have lit pixels (`used`)."""
    weight = lit[row, used].float()
    images = batch.images[row, used].float().clone()
    level = (images * weight).sum() / weight.sum()
    return Light(images / level, weight, batch.sun[row, used].float().clone())


def _solve(light: Light, start: Tensor, near: Tensor, kept: int, section: ShadingSection) -> State:
    """Search on each scale, the coarsest first; `kept`: side of blocks whose mean is kept, pixels, or 0."""
    size, law = start.shape[-1], PhotometrySection(law=section.reflectance)
    right, up = surface_gradients(start, 1.0)
    model = rendered(right, up, light.sun, law)
    gain = (light.lit * light.images * model).sum() / (light.lit * model.square()).sum()
    gains = gain.expand(len(light.sun))
    level_ground = start.new_zeros(size, size)
    state = State(level_ground, level_ground, gains, torch.zeros_like(gains))
    for level in range(section.coarse_levels, -1, -1):
        step = 2**level
        # On pixels as large as the blocks whose means are kept, there is no freedom.
        if level and (size % step or size // step < LEAST_PX or kept % step or kept == step):
            continue
        some = light if level == 0 else light.coarser(step)
        if bool(some.lit.any()):
            steps = section.max_coarse_iterations if level else section.max_iterations
            state = Scale(some, start, near, step, kept, section, law).search(state, steps)
    return state
