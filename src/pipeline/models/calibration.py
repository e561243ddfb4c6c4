"""Applies a fitted calibration to a loaded system; unused in training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.bridges.base import Generators, normal
from pipeline.models.files import load_system, model_config
from pipeline.models.photometric import SetLight
from pipeline.models.system import System
from pipeline.storage.calibration_law import BLIND, KINDS, Calibration, Curve, read_calibration


def _around(knots: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the knot to the right of each x, clamped to the knots, and the fraction of the interval."""
    inside = x.clamp(knots[0], knots[-1]).contiguous()
    right = torch.searchsorted(knots, inside, right=True).clamp(1, len(knots) - 1)
    return right, (inside - knots[right - 1]) / (knots[right] - knots[right - 1])


def level(curve: Curve, spread_px: Tensor) -> Tensor:
    """Mean logarithm of the calibration factor for these standard deviations of the network.

    Parameters
    ----------
    curve : with one knot, the level is constant. spread_px : any shape, pixels.

    Returns
    -------
    Levels of the shape of `spread_px`. Above the last of several knots they fall as -log(spread), so that the
    calibrated spread is constant there; below the first knot they are constant.
    """
    scales = torch.tensor(curve.log_scales, dtype=spread_px.dtype, device=spread_px.device)
    if len(scales) == 1:
        return scales.expand_as(spread_px)
    knots = torch.tensor(curve.spreads_px, dtype=spread_px.dtype, device=spread_px.device).log()
    x = spread_px.log()
    right, share = _around(knots, x)
    # Above the last knot the calibrated spread stays constant.
    return torch.lerp(scales[right - 1], scales[right], share) - (x - knots[-1]).clamp_min(0)


def places(noises: tuple[float, ...], noise: Tensor) -> Tensor:
    """Interpolation weights (B, L) of the laws for sets of these noises (B,); they add up to 1."""
    if len(noises) == 1:
        return torch.ones_like(noise)[:, None]
    knots = torch.tensor(noises, dtype=noise.dtype, device=noise.device).log()
    right, share = _around(knots, noise.log())
    weights = torch.zeros(len(noise), len(knots), dtype=noise.dtype, device=noise.device)
    weights.scatter_(1, (right - 1)[:, None], (1 - share)[:, None])
    return weights.scatter_(1, right[:, None], share[:, None])


def law_of(kinds: tuple[str, ...], kind: str) -> int:
    """Index of the law for sets of a kind: its own, that of the same heights with images, or the last."""
    for name in (kind, kind.removesuffix(BLIND)):
        if name in kinds:
            return kinds.index(name)
    return len(kinds) - 1


@dataclass(frozen=True)
class Widened:
    """A calibration as `System.widening`."""

    calibration: Calibration

    def __call__(
        self, states: Tensor, spread_px: Tensor | None, light: SetLight, generators: Generators
    ) -> Tensor:
        """Scale the departures (B M, 1, P, P) of B sets' clones; one random number is drawn per clone.

        Raises
        ------
        ValueError
            If a law depends on a spread that the network does not give, or the laws do not fit its sets.
        """
        laws = self.calibration.laws
        known = spread_px is not None
        if spread_px is None:
            if any(len(curve.log_scales) > 1 for law in laws for curve in (law.lit, law.unlit)):
                raise ValueError("calibration: expected one log scale for a network without a spread")
            spread_px = states.new_ones(len(light.unlit), 1, 1, 1)
        weights = self._weights(light, spread_px.dtype)
        each = [
            torch.where(light.unlit, level(law.unlit, spread_px), level(law.lit, spread_px)) for law in laws
        ]
        levels = (weights.T[..., None, None, None] * torch.stack(each)).sum(dim=0)
        tails = weights @ weights.new_tensor([law.log_spread for law in laws])
        if known:
            # The random spread of the factor adds to the variance.
            expected = spread_px * torch.exp(levels + tails.square()[:, None, None, None])
            whole = expected.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            levels = levels - (whole / self.calibration.most_px).clamp_min(1.0).log()
        members = len(states) // len(weights)
        z = normal(states.new_empty(len(states), 1, 1, 1), generators)
        tail = tails.repeat_interleave(members)[:, None, None, None] * z
        return states * torch.exp(levels.repeat_interleave(members, dim=0) + tail)

    def _weights(self, light: SetLight, dtype: torch.dtype) -> Tensor:
        """Weights (B, L) of the laws for B sets."""
        kinds = self.calibration.kinds
        if not kinds:
            return places(self.calibration.noises, light.noise.to(dtype))
        if light.kind is None:
            raise ValueError("calibration: expected laws of noises for a network that does not refine")
        laws = torch.tensor([law_of(kinds, name) for name in KINDS], device=light.kind.device)
        return F.one_hot(laws[light.kind], len(kinds)).to(dtype)


def load_calibrated(
    path: Path | str,
    vae_path: Path | str | None = None,
    device: torch.device | str = "cpu",
    calibration: Path | str | None = None,
) -> System:
    """Load a trained system with the calibration of its clones from the stage ``calibration``.

    Parameters
    ----------
    path, vae_path, device : see `pipeline.models.files.load_system`.
    calibration : the stage's file; None for no calibration.

    Raises
    ------
    ValueError
        If files do not fit each other; the message names them.
    """
    system = load_system(path, vae_path, device)
    if calibration is not None:
        fingerprint = model_config(path, "bridge")["fingerprint"]
        found = read_calibration(calibration, fingerprint)
        system.widening, system.hit_share = Widened(found), found.hit_share
    return system
