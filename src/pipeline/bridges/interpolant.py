"""Stochastic interpolant with a Föllmer drift (Yasuda 2025; Chen et al. 2024, arXiv 2403.13724).

Time runs from the a priori start at t = 0 to the truth at t = 1:
``I_t = (1-t) x1 + t^2 x0 + eps (1-t) W_t`` with ``W_t = sqrt(t) z``. The network returns the drift ``b``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from pipeline.bridges import base
from pipeline.bridges.base import Draw, Evaluate, Generators, Marginal, Process, TrainingPair, per_sample

FIRST_SHARE = 0.25  # first informed evaluation of `dbim`, as a share of the first step


class StochasticInterpolant(Process):
    """The interpolant and its samplers ``euler`` (published), ``heun`` and ``dbim``.

    ``heun`` spends two evaluations per step, so its ``nfe`` must be even. ``dbim`` with ``eta = 1`` makes the
    exact transitions of the published equation given the denoiser; ``eta = 0`` keeps the noise drawn first.

    Parameters
    ----------
    noise : eps, noise amplitude in units of the tensors (published 0.2).
    """

    kinds: ClassVar[tuple[str, ...]] = ("euler", "heun", "dbim")

    def __init__(self, noise: float = 0.2) -> None:
        self.noise = noise

    def training_pair(self, x0: Tensor, x1: Tensor, generator: Generators) -> TrainingPair:
        """Draw t uniform in (0, 1]; the target is the interpolant's velocity; weights are 1.

        Shapes and errors as in `Process`.
        """
        base.check_pair(x0, x1)
        t = 1.0 - base.uniform(x0.shape[0], generator)  # never 0, where the drift carries no information
        wiener = per_sample(t.sqrt(), x0) * base.normal(x0, generator)
        x_t = per_sample(1 - t, x0) * x1 + per_sample(t**2, x0) * x0
        x_t = x_t + per_sample(self.noise * (1 - t), x0) * wiener
        target = per_sample(2 * t, x0) * x0 - x1 - self.noise * wiener
        t_shown = t.to(device=x0.device, dtype=torch.float32)
        return TrainingPair(x_t, t_shown, target, torch.ones_like(t_shown))

    def denoise(self, x_t: Tensor, t: Tensor, output: Tensor, x1: Tensor) -> Tensor:
        """Return ``(x_t + (1-t) b) / (t (2-t))``; the start is not needed. Shapes as in `Process`.

        An error of the drift is amplified by ``(1-t)/(t(2-t))``, about ``1/(2t)`` near the start.

        Raises
        ------
        ValueError
            When a time is not positive: at t = 0 the drift is ``-x1`` whatever the truth.
        """
        if bool((t <= 0).any()):
            raise ValueError(
                "t: expected positive times, as the drift at 0 carries no information on the truth, found 0"
            )
        time = t.double()
        scale = per_sample(1.0 / (time * (2.0 - time)), x_t)
        return scale * (x_t + per_sample(1.0 - time, x_t) * output)

    def diffusion(self, t: float) -> float:
        """Noise rate ``g_t = eps sqrt((3-t)(1-t))`` of the sampled equation."""
        return self.noise * ((3.0 - t) * (1.0 - t)) ** 0.5

    def marginal(self, t: float) -> Marginal:
        """Coefficients of I_t given (x0, x1)."""
        return Marginal(t * t, 1.0 - t, self.noise * (1.0 - t) * t**0.5)

    def transition_std(self, t: float, later: float) -> float:
        """Std of the sampled equation's exact transition from ``t`` to ``later`` given (x0, x1).

        Given both ends, the deviation n from the mean obeys ``dn = -(1+t)/(t(1-t)) n dt + g dW``, which keeps
        the share ``(t/later) ((1-later)/(1-t))^2`` of n. (Follows from the marginal variance and g.)

        Parameters
        ----------
        t, later : times of the state before and after, 0 <= t < later <= 1.
        """
        keep = (t / later) * ((1.0 - later) / (1.0 - t)) ** 2
        return (self.marginal(later).std ** 2 - (keep * self.marginal(t).std) ** 2) ** 0.5

    def check_sampler(self, nfe: int, kind: str, eta: float, grid: str) -> None:
        """Raise ValueError also when Heun's evaluations do not make whole steps."""
        super().check_sampler(nfe, kind, eta, grid)
        if kind == "heun" and nfe % 2:
            raise ValueError(
                f"sampler.nfe: expected an even number with 'heun' (two evaluations per step), found {nfe}"
            )

    def _run(
        self, evaluate: Evaluate, x1: Tensor, nfe: int, draw: Draw, kind: str, eta: float, grid: str
    ) -> Tensor:
        if kind == "dbim":
            return self._implicit(evaluate, x1, nfe, draw, eta, grid)
        steps = nfe // 2 if kind == "heun" else nfe
        y = x1
        for t, later in pairwise(_times(steps, grid)):
            # The score is 0/0 at t = 0: the first step follows the interpolant itself, drift b and noise eps.
            first = t == 0.0
            slope = self._drift(y, t, evaluate(y, t), x1, first)
            kick = (self.noise if first else self.diffusion(t)) * (later - t) ** 0.5 * draw()
            moved = y + (later - t) * slope + kick
            if kind == "heun":
                # Noise does not depend on the state: Heun's rule on the drift, one kick for both stages.
                end = self._drift(moved, later, evaluate(moved, later), x1, first)
                moved = y + 0.5 * (later - t) * (slope + end) + kick
            y = moved
        return y

    @staticmethod
    def _drift(y: Tensor, t: float, b: Tensor, x1: Tensor, first: bool) -> Tensor:
        """``b + (g^2 - gamma^2)/2 score`` with the score written through b; regular up to t = 1."""
        if first:
            return b
        return (1.0 + 1.0 / (2.0 - t)) * b - (2.0 * y - (2.0 - t) * x1) / (t * (2.0 - t))

    def _implicit(
        self, evaluate: Evaluate, x1: Tensor, nfe: int, draw: Draw, eta: float, grid: str
    ) -> Tensor:
        """Exact transitions through the denoiser, on Euler's grid.

        An evaluation at t = 0 would carry no information. It is made at a quarter of the first step instead,
        at a state drawn from the interpolant with x1 in place of the unknown truth, whose weight there is
        only t^2.
        """
        times = _times(nfe, grid)
        times[0] = FIRST_SHARE * times[1]
        here = Marginal(truth=0.0, start=1.0, std=0.0)
        there = self.marginal(times[0])
        y = base.implicit_step(x1, x1, x1, here, there, there.std, eta, draw)
        for t, later in pairwise(times):
            here, there = self.marginal(t), self.marginal(later)
            x0 = (y + (1.0 - t) * evaluate(y, t)) / (t * (2.0 - t))
            y = base.implicit_step(y, x0, x1, here, there, self.transition_std(t, later), eta, draw)
        return y


def _times(steps: int, grid: str) -> list[float]:
    """``steps + 1`` rising times from exactly 0 to exactly 1; never past 1, where nothing was learned."""
    return [float(1.0 - s) for s in base.distances(steps, grid)[::-1]]
