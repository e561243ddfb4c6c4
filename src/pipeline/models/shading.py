"""Classical shape from shading: heights whose renderings fit the images, found by gradient descent.

The cost is the usual one of shape from shading with an a priori DEM, as users of the Ames Stereo Pipeline's
`sfs` know it (Alexandrov & Beyer 2018, Earth and Space Science 5, 652). Nothing here is that program:

    sum over images and lit pixels of rho(I - (e A R(z) + h))
        + mu * sum of z_xx^2 + 2 z_xy^2 + z_yy^2 + lambda * sum of (z - z0)^2

with heights z and lengths in pixels, radiance I over the set's mean lit radiance, a law of reflectance R, an
exposure e and a haze h for each image, and the albedo A, which all images share. rho is the square, or
Cauchy's c^2 log(1 + r^2 / c^2). Exposures, haze and the albedo's logarithm are unknowns, too: exposures are
held near each other, the others near 0.
Where the a priori DEM is block means without error, only heights that keep them are searched.

Each scale is solved by L-BFGS, the coarsest first. Unknowns are cosine coefficients in units of about what
the cost leaves open, so that wide and narrow surfaces come near at the same rate. Patches are solved one by
one: a result depends on nothing else in its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config.photometry import PhotometrySection
from pipeline.config.predictors import ShadingSection
from pipeline.illumination.photometry import radiance_factor, surface_gradients
from pipeline.models import refinement_kernels as kernels
from pipeline.models.apriori import crop_halo, match_block_means
from pipeline.models.batch import Batch
from pipeline.models.nodes import spline
from pipeline.models.photometric import cosines
from pipeline.terrain.blocks import block_mean

#: What is darker than this share of the set's mean lit radiance is not lit either.
LIT_OVERALL = 0.05
#: Weights of squared log exposures about the set's, and of squared haze, in pixels' squared residuals.
EXPOSURE_WEIGHT, HAZE_WEIGHT = 20.0, 2000.0
#: Pixels over which the albedo is smooth.
ALBEDO_PX = 4.0
#: Cosine of incidence below which the ground's brightness falls off exponentially, so that it has a slope.
GRAZING = 0.02
#: Coarser maps than this, in pixels, show no terrain.
LEAST_PX = 12
#: Steps that L-BFGS remembers.
HISTORY = 12
#: Of altimetry in a start: error of spots, metres and pixels, and the stiffness of the spline.
SPOT_M, SPOT_PX, STIFFNESS = 0.5, 0.012, 24.0


def start_of(batch: Batch, factor: int) -> Tensor:
    """Where the search begins: the a priori DEM with its block means, or a spline of its altimetry.

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
    """Whose block means have no error, (B,) bool."""
    if batch.cell_error is None:
        return torch.ones_like(batch.pixel_m, dtype=torch.bool)
    return batch.cell_error == 0


def rendered(height: Tensor, sun: Tensor, photometry: PhotometrySection) -> Tensor:
    """Radiance factor of a DEM that casts no shadows, with a slope everywhere.

    Parameters
    ----------
    height : (H, W) in pixels. sun : (N, 3) unit vectors to the Suns. photometry : the law.

    Returns
    -------
    (N, H, W).
    """
    right, up = surface_gradients(height, 1.0)
    upright = torch.rsqrt(1 + right.square() + up.square())
    east, north, zenith = sun[:, :, None, None].unbind(1)
    cosine = (zenith - east * right - north * up) * upright
    mu0 = torch.where(cosine > GRAZING, cosine, GRAZING * (cosine.clamp(max=GRAZING) / GRAZING - 1).exp())
    phase = torch.acos(sun[:, 2].clamp(-1, 1))[:, None, None]
    return radiance_factor(mu0, upright[None], phase, photometry)


@dataclass(frozen=True)
class _Light:
    """One patch's images on one scale.

    (N, P, P) radiance over the set's mean lit radiance; (N, P, P) 1 where lit, else 0; (N, 3) Suns.
    """

    images: Tensor
    lit: Tensor
    sun: Tensor

    def coarser(self, factor: int) -> _Light:
        """On blocks of pixels; those that are not lit as a whole are left out."""
        lit = (block_mean(self.lit, factor) > 0.999).to(self.lit.dtype)
        return _Light(block_mean(self.images * self.lit, factor), lit, self.sun)


@dataclass
class _State:
    """What is searched for.

    (P, P) heights above the start, pixels; (P, P) log albedo; (N,) log exposures; (N,) haze.
    """

    height: Tensor
    albedo: Tensor
    exposure: Tensor
    haze: Tensor


@dataclass(frozen=True)
class Shaded:
    """What shape from shading finds of B patches.

    Attributes
    ----------
    dem : (B, P, P) metres above the batch's reference.
    albedo : (B, P, P) relative to the set's.
    exposure : (B, N) factor on each image's radiance over the set's; 1 where an image lights nothing.
    haze : (B, N) over the set's mean lit radiance.
    """

    dem: Tensor
    albedo: Tensor
    exposure: Tensor
    haze: Tensor


def well_lit(batch: Batch, share: float) -> Tensor:
    """Where images are lit and no shadow is beside, and where the whole Sun is expected to be seen.

    Parameters
    ----------
    batch : B sets. share : of an image's mean lit radiance below which a pixel is in shadow.

    Returns
    -------
    (B, N, P, P) bool.
    """
    images = batch.images.detach().float().cpu().contiguous().numpy()
    seen = (batch.valid & batch.present[..., None, None]).cpu().contiguous().numpy()
    lit = np.zeros(images.shape, np.bool_)
    kernels.well_lit(images, seen, share, LIT_OVERALL, lit, np.zeros(images.shape[:2]))  # type: ignore[call-arg]
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
        # A predictor may be called where tensors know no gradients.
        with torch.inference_mode(False), torch.enable_grad():
            light, pixel = _light(batch, row, lit, used), float(batch.pixel_m[row])
            kept = factor if exact[row] else 0
            found = _solve(light, start[row].float().clone() / pixel, kept, section)
        dem[row] = start[row] + pixel * found.height
        albedo[row], exposure[row, used], haze[row, used] = (
            found.albedo.exp(),
            found.exposure.exp(),
            found.haze,
        )
    return Shaded(dem, albedo, exposure, haze)


def _light(batch: Batch, row: int, lit: Tensor, used: Tensor) -> _Light:
    """The images of a patch that light some of it."""
    weight = lit[row, used].float()
    images = batch.images[row, used].float().clone()
    level = (images * weight).sum() / weight.sum()
    return _Light(images / level, weight, batch.sun[row, used].float().clone())


def _solve(light: _Light, start: Tensor, kept: int, section: ShadingSection) -> _State:
    """Search on each scale, the coarsest first; block means of `kept` pixels a side stay, for 0 none."""
    size, count = start.shape[-1], len(light.sun)
    state = _State(*start.new_zeros(2, size, size).unbind(), *start.new_zeros(2, count).unbind())
    law = PhotometrySection(law=section.reflectance)
    brightness = _brightness(light, start, law)
    for level in range(section.coarse_levels, -1, -1):
        step = 2**level
        if level and (size % step or size // step < LEAST_PX or kept % step):
            continue
        some = light if level == 0 else light.coarser(step)
        if not bool(some.lit.any()):
            continue
        iterations = section.max_coarse_iterations if level else section.max_iterations
        state = _descend(some, start, state, step, kept, section, law, brightness, iterations)
    return state


def _brightness(light: _Light, start: Tensor, law: PhotometrySection) -> Tensor:
    """What the set's radiance is over the rendering of the start."""
    model = rendered(start, light.sun, law)
    return (light.lit * light.images * model).sum() / (light.lit * model.square()).sum()


def _coarse(values: Tensor, step: int) -> Tensor:
    return values if step == 1 else block_mean(values, step)


def _fine(values: Tensor, size: int) -> Tensor:
    """A coarse map on `size` pixels, between the centres of its own."""
    if values.shape[-1] == size:
        return values
    wide = F.interpolate(values[None, None], size=(size, size), mode="bicubic", align_corners=False)
    return wide[0, 0]


def _descend(
    light: _Light,
    start: Tensor,
    state: _State,
    step: int,
    kept: int,
    section: ShadingSection,
    law: PhotometrySection,
    brightness: Tensor,
    iterations: int,
) -> _State:
    """Search on one scale, from `state`, and return what is found on the fine one."""
    base = _coarse(start, step) / step
    size = base.shape[-1]
    basis, eigenvalues = cosines(size, base.device)
    bent = eigenvalues[:, None] + eigenvalues
    # In pixels of this scale: the sums' weights against that of the images.
    stiff, near = section.smoothness_weight / step**2, section.initial_dem_constraint_weight * step**2
    pixels = light.lit.sum(dim=(1, 2))
    tilt = light.sun[:, :2].square().sum(dim=1) / 2 * brightness.square()
    told = (pixels * tilt).sum() / size**2
    open_ = torch.rsqrt(near + told * _hinder(eigenvalues) + stiff * bent.square() + 1e-9)
    held = section.albedo_constraint_weight * (1 + (ALBEDO_PX / step) ** 2 * bent)
    open_albedo = torch.rsqrt(held + (pixels.sum() / size**2))
    open_exposure = torch.rsqrt(pixels + EXPOSURE_WEIGHT / step**2)
    open_haze = torch.rsqrt(pixels + HAZE_WEIGHT / step**2)

    def waves(values: Tensor) -> Tensor:
        return basis @ values @ basis.T

    unknowns = [
        waves(_coarse(state.height, step) / step) / open_,
        waves(_coarse(state.albedo, step)) / open_albedo,
        state.exposure / open_exposure,
        state.haze / open_haze,
    ]
    unknowns = [each.detach().clone().requires_grad_() for each in unknowns]

    def now() -> _State:
        height, albedo = (basis.T @ (u * o) @ basis for u, o in zip(unknowns, (open_, open_albedo)))
        if kept > step:
            cells = height.new_zeros(size * step // kept, size * step // kept)
            height = match_block_means(height, cells, kept // step)
        return _State(height, albedo, unknowns[2] * open_exposure, unknowns[3] * open_haze)

    def cost() -> Tensor:
        at = now()
        model = rendered(base + at.height, light.sun, law) * at.albedo.exp()
        gain = (brightness * at.exposure.exp())[:, None, None]
        left = light.lit * (light.images - gain * model - at.haze[:, None, None])
        total = robust(left.square(), section.robust_threshold).sum()
        total = total + stiff * roughness(base + at.height) + near * at.height.square().sum()
        total = total + (held * (unknowns[1] * open_albedo).square()).sum()
        common = (at.exposure * pixels).sum() / pixels.sum()
        apart = EXPOSURE_WEIGHT * (at.exposure - common).square().sum()
        return total + (apart + HAZE_WEIGHT * at.haze.square().sum()) / step**2

    minimise(cost, unknowns, iterations)
    with torch.no_grad():
        found, size = now(), start.shape[-1]
        height, albedo = _fine(found.height, size) * step, _fine(found.albedo, size)
        return _State(height, albedo, found.exposure, found.haze)


def _hinder(eigenvalues: Tensor) -> Tensor:
    """Squared slopes of waves by central differences, rows and columns together."""
    square = eigenvalues * (1 - eigenvalues / 4)
    return square[:, None] + square


def robust(squares: Tensor, threshold: float) -> Tensor:
    """Cauchy's loss of squared residuals, alike for small ones; the squares themselves for 0."""
    if threshold == 0:
        return squares
    return threshold**2 * torch.log1p(squares / threshold**2)


def roughness(height: Tensor) -> Tensor:
    """Sum of squared second differences, z_xx^2 + 2 z_xy^2 + z_yy^2, of a map."""
    along, down = height.diff(n=2, dim=1), height.diff(n=2, dim=0)
    across = height.diff(dim=0).diff(dim=1)
    return along.square().sum() + 2 * across.square().sum() + down.square().sum()


def minimise(cost: Callable[[], Tensor], unknowns: list[Tensor], iterations: int) -> None:
    """L-BFGS with a strong Wolfe line search, in place."""
    search = torch.optim.LBFGS(
        unknowns, max_iter=iterations, history_size=HISTORY, tolerance_grad=1e-6, tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        search.zero_grad()
        value = cost()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(closure)  # type: ignore[no-untyped-call]
