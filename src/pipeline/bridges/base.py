"""What every stochastic process offers: training pairs, a denoiser and samplers.

Shapes: ``B`` samples of ``C`` channels on ``H x W`` pixels; units are those of the tensors given. Schedules
live in float64; states are float32 (float64 when the start is) whatever precision the network runs in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.bridges.fields import NoiseField, WindowNoise

Generators = torch.Generator | Sequence[torch.Generator | NoiseField]
"""One generator for the whole batch, or one per sample.

A single generator draws one tensor for the whole batch, so a sample's noise depends on its position in the
batch. With one generator per sample, a sample's result does not depend on the rest of the batch.
"""

Sources = Sequence[torch.Generator] | Sequence[WindowNoise]
"""Noise sources, one per sample: random streams, or the parts of a map's noise fields."""

Predict = Callable[[Tensor, Tensor], Tensor]
"""Network with its conditioning bound: ``(x_t (B,C,H,W), t (B,) float32) -> (B,C,H,W)``."""

Draw = Callable[[], Tensor]
"""Next standard normal tensor of the state's shape."""

Evaluate = Callable[[Tensor, float], Tensor]
"""One network evaluation at a time that the whole batch shares."""

GRID_POWERS = {"uniform": 1, "quadratic": 2}


@dataclass(frozen=True)
class TrainingPair:
    """Input, target and weights of one training step.

    Attributes
    ----------
    x_t : (B, C, H, W) state shown to the network.
    t : (B,) float32 time in [0, 1] shown to the network.
    target : (B, C, H, W) what the network should return.
    weight : (B,) float32 factor of each sample's squared error.
    """

    x_t: Tensor
    t: Tensor
    target: Tensor
    weight: Tensor


class Marginal(NamedTuple):
    """Law of a state given both ends: Normal(truth * x0 + start * x1, std^2)."""

    truth: float
    start: float
    std: float


class Process(ABC):
    """A stochastic process between the a priori start ``x1`` and the truth ``x0``.

    Attributes
    ----------
    kinds : samplers that the process knows, the published one first.
    """

    kinds: ClassVar[tuple[str, ...]]

    @abstractmethod
    def training_pair(self, x0: Tensor, x1: Tensor, generator: Generators) -> TrainingPair:
        """Draw times and noise for a batch and return what the network sees and should return.

        Parameters
        ----------
        x0, x1 : (B, C, H, W) truth and a priori start.
        generator : source of every random number (times first, then noise).

        Raises
        ------
        ValueError
            When the shapes differ or the number of generators is not the batch size.
        """

    @abstractmethod
    def denoise(self, x_t: Tensor, t: Tensor, output: Tensor, x1: Tensor) -> Tensor:
        """Estimate E[x0 | x_t] from a network output.

        Parameters
        ----------
        x_t, output, x1 : (B, C, H, W) state, network output at it, a priori start.
        t : (B,) the time that the network saw.

        Returns
        -------
        (B, C, H, W) estimate of the truth; exactly ``x0`` when ``output`` is a training pair's ``target``.
        """

    @abstractmethod
    def _run(
        self, evaluate: Evaluate, x1: Tensor, nfe: int, draw: Draw, kind: str, eta: float, grid: str
    ) -> Tensor:
        """Draw one sample for each start; call ``evaluate`` exactly ``nfe`` times."""

    def check_sampler(self, nfe: int, kind: str, eta: float, grid: str) -> None:
        """Raise ValueError unless :meth:`sample` can use these settings with this process."""
        if kind not in self.kinds:
            raise ValueError(
                f"sampler.kind: expected one of {', '.join(self.kinds)} with {type(self).__name__}, "
                f"found {kind!r}"
            )
        if grid not in GRID_POWERS:
            raise ValueError(f"sampler.grid: expected one of {', '.join(GRID_POWERS)}, found {grid!r}")
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"sampler.eta: expected a number in [0, 1], found {eta}")
        if nfe < 1:
            raise ValueError(f"sampler.nfe: expected at least 1, found {nfe}")

    @torch.no_grad()
    def sample(
        self,
        predict: Predict,
        x1: Tensor,
        nfe: int,
        generator: Generators | None,
        *,
        kind: str | None = None,
        eta: float = 0.0,
        grid: str = "uniform",
        noise_free: bool = False,
    ) -> Tensor:
        """Draw one sample of the truth for each start, with exactly ``nfe`` network evaluations.

        Parameters
        ----------
        predict : the network with its conditioning bound.
        x1 : (B, C, H, W) a priori start; repeat it to draw several clones.
        nfe : number of calls of ``predict``.
        generator : source of the noise, drawn in float32 on the generator's own device, then moved.
        kind : sampler, one of ``kinds``; the first of them by default.
        eta : share of the full noise in each step of ``dbim``; other kinds ignore it.
        grid : ``uniform`` steps, or ``quadratic`` ones that shrink towards the truth.
        noise_free : replace every noise tensor by zeros; the result then depends on no generator.

        Returns
        -------
        (B, C, H, W) samples.

        Raises
        ------
        ValueError
            When :meth:`check_sampler` refuses the settings, the generators do not fit the batch, or the
            network's output has another shape than its input.
        """
        kind = self.kinds[0] if kind is None else kind
        self.check_sampler(nfe, kind, eta, grid)
        if generator is None and not noise_free:
            raise ValueError("generator: expected a torch.Generator for noisy samples, found None")
        x1 = x1.to(torch.promote_types(x1.dtype, torch.float32))

        def evaluate(x: Tensor, t: float) -> Tensor:
            output = predict(x, torch.full((x.shape[0],), t, dtype=torch.float32, device=x.device))
            if output.shape != x.shape:
                raise ValueError(
                    f"network output: expected shape {tuple(x.shape)}, found {tuple(output.shape)}"
                )
            return output.to(x.dtype)

        def draw() -> Tensor:
            return torch.zeros_like(x1) if noise_free or generator is None else normal(x1, generator)

        return self._run(evaluate, x1, nfe, draw, kind, eta, grid)


def distances(count: int, grid: str) -> np.ndarray:
    """Rising distances from the truth, from exactly 0 to exactly 1, (count + 1,) float64.

    Parameters
    ----------
    count : number of steps. grid : ``uniform`` or ``quadratic``.

    Raises
    ------
    KeyError
        If there is no such grid.
    """
    return np.linspace(0.0, 1.0, count + 1) ** GRID_POWERS[grid]


def implicit_step(
    x: Tensor, x0: Tensor, x1: Tensor, here: Marginal, there: Marginal, full: float, eta: float, draw: Draw
) -> Tensor:
    """Move a state to another time without training, by keeping its marginal law given (x0, x1).

    ``x_m = b_m x0 + a_m x1 + k (x_n - b_n x0 - a_n x1) + g z`` with ``g = min(eta full, c_m)`` and
    ``k = sqrt(c_m^2 - g^2) / c_n`` (DDIM, arXiv 2010.02502; DBIM, arXiv 2405.15885; I3SB, arXiv 2403.06069).

    Parameters
    ----------
    x, x0, x1 : (B, C, H, W) state, estimate of the truth, a priori start.
    here, there : laws of the state now and after the step. From a point mass (``here.std == 0``) the step
        must be stochastic, so all of ``there.std`` is drawn.
    full : std of the exact Markov transition given x0, reached at ``eta = 1``.
    eta : fraction of `full` that is drawn as new noise; 0 keeps the noise already in the state.
    draw : gives standard normal noise; not called when ``g = 0``.

    Returns
    -------
    (B, C, H, W) state after the step.
    """
    fresh = there.std if here.std == 0.0 else min(eta * full, there.std)
    mean = there.truth * x0 + there.start * x1
    if here.std > 0.0:
        keep = (max(there.std**2 - fresh**2, 0.0)) ** 0.5 / here.std
        mean = mean + keep * (x - here.truth * x0 - here.start * x1)
    return mean + fresh * draw() if fresh > 0.0 else mean


def normal(like: Tensor, generator: Generators) -> Tensor:
    """Draw standard normal noise for ``like``: in float32 on the generator's device, then moved and cast.

    Raises
    ------
    ValueError
        When the number of generators is not the batch size.
    """
    noise = _drawn(torch.randn, like.shape, torch.float32, generator)
    return noise.to(device=like.device, dtype=like.dtype)


def uniform(batch: int, generator: Generators) -> Tensor:
    """Draw (batch,) float64 numbers uniform in [0, 1) on the generator's device.

    Raises
    ------
    ValueError
        When the number of generators is not the batch size.
    """
    return _drawn(torch.rand, (batch,), torch.float64, generator)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) coefficients so that they multiply a (B, C, H, W) tensor, in its dtype and on its device."""
    return values.to(device=like.device, dtype=like.dtype).reshape(-1, *([1] * (like.ndim - 1)))


def check_pair(x0: Tensor, x1: Tensor) -> None:
    """Raise ValueError unless truth and start have the same shape."""
    if x0.shape != x1.shape:
        raise ValueError(f"x1: expected the truth's shape {tuple(x0.shape)}, found {tuple(x1.shape)}")


def _drawn(
    draw: Callable[..., Tensor], shape: tuple[int, ...], dtype: torch.dtype, generator: Generators
) -> Tensor:
    """Random numbers of a batch on the generators' device: drawn together, or one sample at a time."""
    if isinstance(generator, torch.Generator):
        return draw(shape, generator=generator, device=generator.device, dtype=dtype)
    if len(generator) != shape[0]:
        raise ValueError(f"generator: expected one per sample, {shape[0]} in all, found {len(generator)}")
    parts = []
    for source in generator:
        if isinstance(source, NoiseField):
            if draw is not torch.randn:
                raise ValueError(
                    "generator: expected torch.Generator for uniform numbers, found a noise field"
                )
            parts.append(source.normal(tuple(shape[1:])).to(dtype))
        else:
            parts.append(draw(shape[1:], generator=source, device=source.device, dtype=dtype))
    return torch.stack(parts)


def one_for_each(sources: Sources, clones: int) -> list[torch.Generator | NoiseField]:
    """Noise source of every clone: B * `clones` sources, those of one sample's clones in a row.

    Parameters
    ----------
    sources : one per sample. The clones of a sample draw from its random stream in turn; of a `WindowNoise`,
        each clone has its own field.
    clones : number of clones per sample.
    """
    return [
        source.clone(number) if isinstance(source, WindowNoise) else source
        for source in sources
        for number in range(clones)
    ]


def shared_by_clones(sources: Sources) -> list[torch.Generator | NoiseField]:
    """Source of the noise that all clones of a sample have in common, one per sample."""
    return [source.clone(-1) if isinstance(source, WindowNoise) else source for source in sources]
