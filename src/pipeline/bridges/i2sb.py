"""Image-to-image Schrödinger bridge (Liu et al. 2023, arXiv 2302.05872), the published process.

A Brownian bridge with a symmetric noise schedule joins the truth (index 0) to the a priori start (index N-1).
The network sees ``t = k/(N-1)`` and returns ``(x_k - x0) / sf_k``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pipeline.bridges import base
from pipeline.bridges.base import Draw, Evaluate, Generators, Marginal, Process, TrainingPair, per_sample

BETA_MIN = 1e-4  # a step's variance at both ends of the schedule, as published

TRUTH = Marginal(truth=1.0, start=0.0, std=0.0)


class I2SB(Process):
    """The discrete bridge and its samplers ``posterior`` (published), ``ode`` and ``dbim``.

    Parameters
    ----------
    beta_max : N times the variance at which the linear ramp of standard deviations would end (published 0.3).
    steps : N, number of time indices (published 1000). The total variance depends on it: ``sum b`` is 0.1410
        only for N = 1000, because the first step's variance is fixed, not scaled by N.
    start_share : fraction of the training pairs at the a priori end, index N-1, where the state carries no
        information about the truth and sampling begins. Uniform indices (0, published) give 1/N; where the
        noise is small, lower indices already reveal the truth, so few pairs train the first evaluation.

    Attributes
    ----------
    variance : (N,) float64 ``b_k``.
    sf, sb : (N,) float64 standard deviation accumulated from the truth up to k, and from the start down to k.
    truth, start, std : (N,) float64 coefficients of the marginal q(x_k | x0, x1).
    """

    kinds: ClassVar[tuple[str, ...]] = ("posterior", "ode", "dbim")

    def __init__(self, beta_max: float = 0.3, steps: int = 1000, start_share: float = 0.0) -> None:
        ramp = np.linspace(np.sqrt(BETA_MIN), np.sqrt(beta_max / steps), steps) ** 2
        self.steps, self.start_share = steps, start_share
        # A mirror image of the first half; an odd number of steps keeps its middle once.
        self.variance = np.concatenate([ramp[: (steps + 1) // 2], ramp[: steps // 2][::-1]])
        forward = np.cumsum(self.variance)
        backward = np.cumsum(self.variance[::-1])[::-1]
        self.sf, self.sb = np.sqrt(forward), np.sqrt(backward)
        self.truth = backward / (forward + backward)
        self.start = forward / (forward + backward)
        self.std = np.sqrt(forward * backward / (forward + backward))

    def training_pair(self, x0: Tensor, x1: Tensor, generator: Generators) -> TrainingPair:
        """Draw an index for each sample, uniform in 0..N-1 or the start, and a state there; weights are 1.

        Shapes and errors as in `Process`.
        """
        base.check_pair(x0, x1)
        draws = base.uniform(x0.shape[0], generator)
        if self.start_share > 0:
            draws = (draws / (1.0 - min(self.start_share, 1.0 - 1e-9))).clamp_max(1.0)
        index = (draws * self.steps).long().clamp_(max=self.steps - 1)
        mean = self._at(self.truth, index, x0) * x0 + self._at(self.start, index, x0) * x1
        x_t = mean + self._at(self.std, index, x0) * base.normal(x0, generator)
        t = (index.double() / (self.steps - 1)).to(device=x0.device, dtype=torch.float32)
        return TrainingPair(x_t, t, (x_t - x0) / self._at(self.sf, index, x0), torch.ones_like(t))

    def denoise(self, x_t: Tensor, t: Tensor, output: Tensor, x1: Tensor) -> Tensor:
        """Return ``x_k - sf_k * output``; the start is not needed. Shapes as in `Process`."""
        index = (t.double() * (self.steps - 1)).round().long()
        return x_t - self._at(self.sf, index, x_t) * output

    def posterior(self, n: int, m: int) -> tuple[float, float, float]:
        """Weight of the truth, weight of the state and std of p(x_m | x0, x_n), for indices m < n."""
        near, far = float(self.sf[m] ** 2), float(self.sf[n] ** 2)
        between = far - near
        return between / far, near / far, float(np.sqrt(near * between / far))

    def marginal(self, k: int) -> Marginal:
        """Coefficients of q(x_k | x0, x1)."""
        return Marginal(float(self.truth[k]), float(self.start[k]), float(self.std[k]))

    def indices(self, nfe: int, grid: str) -> list[int]:
        """``nfe + 1`` strictly falling indices from N-1 to 0, for nfe < N."""
        rising: list[int] = []
        for wanted in np.rint((self.steps - 1) * base.distances(nfe, grid)).astype(int):
            # Quadratic grids round several points to the same index near the truth: push them apart.
            rising.append(max(int(wanted), rising[-1] + 1) if rising else int(wanted))
        return rising[::-1]

    def check_sampler(self, nfe: int, kind: str, eta: float, grid: str) -> None:
        """Raise ValueError also when there are fewer indices than evaluations."""
        super().check_sampler(nfe, kind, eta, grid)
        if nfe >= self.steps:
            raise ValueError(f"sampler.nfe: expected less than steps = {self.steps}, found {nfe}")

    def _run(
        self, evaluate: Evaluate, x1: Tensor, nfe: int, draw: Draw, kind: str, eta: float, grid: str
    ) -> Tensor:
        x = x1
        here = Marginal(truth=0.0, start=1.0, std=0.0)  # the sampler starts at x1 itself, a point mass
        for n, m in pairwise(self.indices(nfe, grid)):
            x0 = x - float(self.sf[n]) * evaluate(x, n / (self.steps - 1))
            of_truth, of_state, std = self.posterior(n, m)
            if kind == "dbim":
                # Index 0 still holds a noise of 0.01; the last implicit step goes on to the truth instead.
                there = TRUTH if m == 0 else self.marginal(m)
                x = base.implicit_step(x, x0, x1, here, there, std, eta, draw)
                here = there
                continue
            x = of_truth * x0 + of_state * x
            if kind == "posterior" and m > 0:
                x = x + std * draw()
        return x

    @staticmethod
    def _at(table: np.ndarray, index: Tensor, like: Tensor) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(table)).to(index.device)
        return per_sample(values[index], like)
