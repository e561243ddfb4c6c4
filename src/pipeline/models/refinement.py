"""Refinement of the a priori DEM by images before the network: Gauss-Newton steps of photometric stereo.

One step renders the DEM under each image's Sun, fits every image's exposure, haze and shift, linearises the
radiance about the DEM's slopes, and solves for the heights that fit the images, the altimetry and a
self-affine prior together:

    sum over images of w (J - R - dR . grad z)^2 + sum over spots of (z - h)^2 / s^2
        + |z - z0|^2 in the inverse of the spectrum k^-(2H + 2) + block means, where they are exact.

Heights are in pixels. The quadratic problem is solved for coarse surfaces first (`pipeline.models.nodes`),
then by a fixed number of conjugate-gradient steps, preconditioned in the cosine basis. Robust weights
(Cauchy's, squared) suppress effects that the rendering lacks, above all penumbrae and shadows, which only
darken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models import refinement_kernels as kernels
from pipeline.models.batch import Batch
from pipeline.models.refinement_ground import ground_of
from pipeline.models.refinement_images import light_of, linearised
from pipeline.models.refinement_slopes import slopes_of
from pipeline.terrain.blocks import block_mean

#: Assumed relative error of images, step by step: large while the DEM is coarse.
ERRORS = (0.3, 0.15, 0.1)
#: Conjugate-gradient steps for the first DEM, and for each of the others.
START_STEPS, SOLVER_STEPS = 60, (10, 20, 50)
#: Images with at least this many lit pixels are left out if their correlation with the rendering is lower.
TELLING_PX, ALIKE = 500, 0.3


@dataclass(frozen=True)
class Refined:
    """The refinement of B sample sets.

    Attributes
    ----------
    batch : with the refined DEM as its a priori DEM, and images corrected for exposure, haze and shift.
    about : (B, `CHANNELS`, P, P), per pixel. From the images: logarithm of the information on the slopes, its
        anisotropy (2), albedo, misfit. From altimetry: whether the pixel has a spot, the distance to the
        nearest one. Last, refined minus given a priori DEM, in pixels.
    """

    batch: Batch
    about: Tensor


CHANNELS = 8


@torch.no_grad()
def refined(inputs: Batch, factor: int) -> Refined:
    """Refine the a priori DEM of B sample sets, in single precision.

    Parameters
    ----------
    inputs : images of roughly equal exposure. factor : pixels per cell of the a priori DEM.
    """
    with torch.autocast(inputs.images.device.type, enabled=False):
        ground, light = ground_of(inputs, factor), light_of(inputs)
        height = ground.start
        with_spots = (ground.weight > 0).flatten(1).any(dim=1)
        if inputs.spots is not None and bool(with_spots.any()):
            # Only where there are spots: a result must not depend on the other samples of its batch.
            start = ground.solve(None, height, START_STEPS)
            height = torch.where(with_spots[:, None, None], start, height)
        for error, steps in zip(ERRORS, SOLVER_STEPS, strict=True):
            normal, fits, alike = linearised(height, light, error)
            height = ground.solve(normal, height, steps)
        normal, fits, alike = linearised(height, light, ERRORS[-1])
        freed = np.empty_like(light.images)
        slopes = [slope.cpu().contiguous().numpy() for slope in slopes_of(height)]
        kernels.free(*slopes, light.images, light.seen, light.suns, fits, freed)  # type: ignore[call-arg]
        telling = torch.from_numpy(light.lit.sum(axis=(2, 3)) >= TELLING_PX).to(height.device)
        present = inputs.present & ~(telling & (alike < ALIKE))
        pixel = inputs.pixel_m[:, None, None]
        moved = height - ground.start
        cells = inputs.lr.clone()
        halo = (cells.shape[-1] - height.shape[-1] // factor) // 2
        inner = slice(halo, cells.shape[-1] - halo)
        if inputs.cell_error is not None:
            # Block means that are not exact are replaced by those of the refined DEM.
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
    """Scaled logarithm of the distance to the nearest spot: 0 at a spot, 1 from 13 pixels on."""
    far = torch.full(hit.shape, 1.0, device=hit.device)
    reach, near = hit.float()[:, None], hit
    for step in range(1, 13):
        reach = F.max_pool2d(reach, 3, 1, 1)
        new = (reach[:, 0] > 0) & ~near
        far = torch.where(new, math.log1p(step) / math.log1p(13), far)
        near = near | new
    return torch.where(hit, 0.0, far)
