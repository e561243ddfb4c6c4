"""Losses of the adversarial rivals: structural similarity, Sinkhorn divergence, two kinds of critics.

Maps are (B, 1, H, W), logits (B, 1, h, w).
"""

from __future__ import annotations

import math

import torch
from geomloss import SamplesLoss
from torch import Tensor
from torch.nn import functional as F

#: Gaussian window of the structural similarity: side and standard deviation, pixels (Wang et al. 2004).
SSIM_SIDE, SSIM_SIGMA = 11, 1.5
SSIM_K = (0.01, 0.03)
#: Lower bound of the similarity in the loss; the similarity itself may be negative.
SSIM_FLOOR = 1e-3
#: Ratio of successive scales in the annealing of the divergence; closer to 1 is more exact.
SINKHORN_SCALING = 0.8


def structural_similarity(x: Tensor, truth: Tensor) -> Tensor:
    """Mean structural similarity (B,) of maps, over the pixels whose whole window is inside.

    (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2)) with moments under a Gaussian
    window of 11 pixels and C = (K L)^2 (Wang et al. 2004, equation 13). Grey values are heights above the
    lowest point of the true map, and L is its range, so the similarity depends on neither unit nor datum.
    """
    offsets = torch.arange(SSIM_SIDE, device=x.device, dtype=x.dtype) - SSIM_SIDE // 2
    line = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    line = line / line.sum()
    level = truth.amin(dim=(1, 2, 3), keepdim=True)
    a, b = x - level, truth - level
    stack = torch.cat([a, b, a * a, b * b, a * b], dim=1)
    channels = stack.shape[1]
    down = line[:, None].expand(channels, 1, SSIM_SIDE, 1)
    moments = F.conv2d(F.conv2d(stack, down, groups=channels), down.transpose(2, 3), groups=channels)
    mean_a, mean_b, aa, bb, ab = moments.unbind(1)
    var_a, var_b, cov = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    span = (truth - level).amax(dim=(1, 2, 3)).clamp_min(1e-6)[:, None, None]
    c1, c2 = ((k * span) ** 2 for k in SSIM_K)
    similar = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return (similar / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(dim=(1, 2))


def similarity_loss(x: Tensor, truth: Tensor) -> Tensor:
    """Mean of -log SSIM over a batch, a scalar; `x` and `truth` are (B, 1, H, W) heights in one unit."""
    return -structural_similarity(x, truth).clamp_min(SSIM_FLOOR).log().mean()


def sinkhorn_divergence(x: Tensor, y: Tensor, epsilon: float, scaling: float = SINKHORN_SCALING) -> Tensor:
    """Debiased Sinkhorn divergence between two batches; each map is a sample of its distribution.

    S = W(x, y) - W(x, x) / 2 - W(y, y) / 2 with W the entropic optimal transport of cost |a - b|^2 / 2 (Feydy
    et al. 2019; Genevay et al. 2018), by geomloss, dense. Distances are root mean squares over the pixels, so
    `epsilon` does not depend on their number. For epsilon towards 0, S is half the squared Wasserstein
    distance; for large epsilon, half the squared distance of the means. Each process of a group compares its
    own share of the batch.

    Parameters
    ----------
    x, y : (B, 1, H, W) and (B', 1, H, W). epsilon : regularisation, unit of the maps squared. scaling : see
        `SINKHORN_SCALING`.

    Returns
    -------
    Scalar tensor, unit of the maps squared.
    """
    points = [maps.flatten(1) / math.sqrt(maps[0].numel()) for maps in (x, y)]
    both, blur = torch.cat(points).detach(), math.sqrt(epsilon)
    diameter = max((both.amax(dim=0) - both.amin(dim=0)).norm().item(), blur)
    loss = SamplesLoss(
        "sinkhorn", p=2, blur=blur, scaling=scaling, diameter=diameter, debias=True, backend="tensorized"
    )
    return loss(*points)


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean of -log D of real maps, plus that of -log(1 - D) of fake ones (Goodfellow et al. 2014); a scalar.

    Parameters
    ----------
    real, fake : logits of D, any shape.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Mean of -log D of fake maps, a scalar, from logits of any shape: the form that does not saturate."""
    return F.softplus(-fake).mean()


def relative(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the relativistic average critic: each minus the mean of the other class.

    `critic_loss` of them is the critic's loss; with both classes exchanged, it is the generator's
    (Jolicoeur-Martineau 2019, arXiv 1807.00734).
    """
    return real - fake.mean(), fake - real.mean()
