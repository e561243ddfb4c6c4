"""Conditional diffusion of the residual, the baseline of Yasuda (2025).

Noise is added to ``y_0 = (x0 - x1) / scale`` by ``dy = -lambda_t/2 y dt + sqrt(lambda_t) dW``, with lambda
rising linearly (variance preserving; Song et al. 2021, arXiv 2011.13456): ``y_t = mu_t y_0 + sigma_t eta``.
Time runs from the truth at t = 0 to noise at t = 1.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pipeline.bridges import base
from pipeline.bridges.base import Draw, Evaluate, Generators, Marginal, Process, TrainingPair, per_sample

LAMBDA_START, LAMBDA_END = 1e-3, 10.0  # as published
# Smallest time learned: the last evaluation of 1000 uniform steps, the most that the config allows.
T_MIN = 1e-3


class Diffusion(Process):
    """The diffusion and its samplers ``euler`` (published) and ``dbim`` (DDIM's family, arXiv 2010.02502).

    The published loss ``|| -eta/sigma_t - s ||^2`` diverges at t = 0. The network returns the noise
    ``-sigma_t s`` instead of the score s, so target and output are of order one, and the very same loss
    reads ``|| eta - output ||^2 / sigma_t^2``. Times below ``T_MIN`` are not drawn, yet the weight still
    reaches 1.7e5 at a mean of 183, and half of it lies on t < 0.0021, one sample in a thousand: a batch of
    256 has an effective size of 3 samples, (sum w)^2 / sum w^2, and training makes hardly any progress. With
    the weight 1 every time is learned at the same pace; the optimal network is the same, since it is optimal
    at each time.

    Parameters
    ----------
    scale : std of the residual, by which it is divided: the forward process assumes a std of about one.
    weighting : weight of a sample's squared error: ``noise`` (1; Ho et al. 2020, arXiv 2006.11239) or
        ``score`` (1/sigma_t^2, the published loss).

    Raises
    ------
    ValueError
        If the scale is not positive or there is no such weighting.
    """

    kinds: ClassVar[tuple[str, ...]] = ("euler", "dbim")

    def __init__(self, scale: float = 1.0, weighting: Literal["noise", "score"] = "noise") -> None:
        if not scale > 0.0:
            raise ValueError(f"scale: expected a positive number, found {scale}")
        if weighting not in ("noise", "score"):
            raise ValueError(f"weighting: expected 'noise' or 'score', found {weighting!r}")
        self.scale = scale
        self.weighting = weighting

    def training_pair(self, x0: Tensor, x1: Tensor, generator: Generators) -> TrainingPair:
        """Draw t uniform in [T_MIN, 1); the state is the noisy residual, the target its noise.

        Shapes and errors as in `Process`.
        """
        base.check_pair(x0, x1)
        t = T_MIN + (1.0 - T_MIN) * base.uniform(x0.shape[0], generator)
        mu, sigma = _signal(t), _noise(t)
        eta = base.normal(x0, generator)
        x_t = per_sample(mu / self.scale, x0) * (x0 - x1) + per_sample(sigma, x0) * eta
        weight = sigma**-2 if self.weighting == "score" else torch.ones_like(sigma)
        weight = weight.to(device=x0.device, dtype=torch.float32)
        return TrainingPair(x_t, t.to(device=x0.device, dtype=torch.float32), eta, weight)

    def denoise(self, x_t: Tensor, t: Tensor, output: Tensor, x1: Tensor) -> Tensor:
        """Return ``x1 + scale (y_t - sigma_t output) / mu_t``; shapes as in `Process`."""
        time = t.double()
        residual = (x_t - per_sample(_noise(time), x_t) * output) / per_sample(_signal(time), x_t)
        return x1 + self.scale * residual

    def marginal(self, t: float) -> Marginal:
        """Coefficients of y_t given y_0; the a priori start does not enter."""
        time = torch.tensor(t, dtype=torch.float64)
        return Marginal(float(_signal(time)), 0.0, float(_noise(time)))

    def check_sampler(self, nfe: int, kind: str, eta: float, grid: str) -> None:
        """Raise ValueError also when the last evaluation would come earlier than any time learned."""
        super().check_sampler(nfe, kind, eta, grid)
        last = float(base.distances(nfe, grid)[1])
        if last < T_MIN * (1.0 - 1e-9):
            raise ValueError(
                f"sampler.nfe: expected a last evaluation at t >= {T_MIN}, found t = {last:.2g} "
                f"with {nfe} evaluations on the {grid} grid"
            )

    def _run(
        self, evaluate: Evaluate, x1: Tensor, nfe: int, draw: Draw, kind: str, eta: float, grid: str
    ) -> Tensor:
        times = [float(s) for s in base.distances(nfe, grid)[::-1]]
        y = draw()
        for t, earlier in pairwise(times):
            here, there = self.marginal(t), self.marginal(earlier)
            output = evaluate(y, t)
            y0 = (y - here.std * output) / here.truth
            if earlier == 0.0:
                # lambda dt / sigma^2 is about 2 here: Euler-Maruyama would go twice as far as the denoised
                # residual, and add noise. The last step goes exactly to the residual.
                y = y0
            elif kind == "dbim":
                keep = here.truth / there.truth * (there.std / here.std) ** 2
                full = (there.std**2 - (keep * here.std) ** 2) ** 0.5
                y = base.implicit_step(y, y0, torch.zeros_like(y), here, there, full, eta, draw)
            else:
                rate = _rate(t) * (t - earlier)
                y = y + rate * (0.5 * y - output / here.std) + rate**0.5 * draw()
        return x1 + self.scale * y


def _rate(t: float) -> float:
    """lambda_t."""
    return LAMBDA_START + (LAMBDA_END - LAMBDA_START) * t


def _integral(t: Tensor) -> Tensor:
    """Integral of lambda from 0 to t."""
    return LAMBDA_START * t + 0.5 * (LAMBDA_END - LAMBDA_START) * t**2


def _signal(t: Tensor) -> Tensor:
    """mu_t."""
    return torch.exp(-0.5 * _integral(t))


def _noise(t: Tensor) -> Tensor:
    """sigma_t = sqrt(1 - mu_t^2), without cancellation near t = 0."""
    return torch.sqrt(-torch.expm1(-_integral(t)))
