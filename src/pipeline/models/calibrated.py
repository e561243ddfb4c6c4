"""Systems whose clones are as far apart as validation patches ask for; training knows nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.bridges.base import Generators, normal
from pipeline.config.calibration import Calibration, read_calibration
from pipeline.models.files import load_system, model_config
from pipeline.models.system import System


def level(calibration: Calibration, spread_px: Tensor) -> Tensor:
    """The mean logarithm of the factor where the network expects these standard deviations, pixels."""
    scales = torch.tensor(calibration.log_scales, dtype=spread_px.dtype, device=spread_px.device)
    if len(scales) == 1:
        return scales.expand_as(spread_px)
    knots = torch.tensor(calibration.spreads_px, dtype=spread_px.dtype, device=spread_px.device).log()
    x = spread_px.log().clamp(knots[0], knots[-1]).contiguous()
    right = torch.searchsorted(knots, x, right=True).clamp(1, len(knots) - 1)
    share = (x - knots[right - 1]) / (knots[right] - knots[right - 1])
    return torch.lerp(scales[right - 1], scales[right], share)


@dataclass(frozen=True)
class Widened:
    """A calibration as `System.widening`."""

    calibration: Calibration

    def __call__(self, states: Tensor, spread_px: Tensor | None, generators: Generators) -> Tensor:
        """Multiply each clone's departures (B, 1, P, P); one number is drawn for each.

        Raises
        ------
        ValueError
            If the law depends on a spread that the network does not give.
        """
        if spread_px is None:
            if len(self.calibration.log_scales) > 1:
                raise ValueError("calibration: expected one log scale for a network without a spread")
            spread_px = torch.ones_like(states[:, :1])
        z = normal(states.new_empty(len(states), 1, 1, 1), generators)
        return states * torch.exp(level(self.calibration, spread_px) + self.calibration.log_spread * z)


def load_calibrated(
    path: Path | str,
    vae_path: Path | str | None = None,
    device: torch.device | str = "cpu",
    calibration: Path | str | None = None,
) -> System:
    """Load a trained system, its clones spread as the stage ``calibration`` found.

    Parameters
    ----------
    path, vae_path, device : see `pipeline.models.files.load_system`.
    calibration : the stage's file; None leaves clones as the network draws them.

    Raises
    ------
    ValueError
        If files do not fit each other; the message names them.
    """
    system = load_system(path, vae_path, device)
    if calibration is not None:
        fingerprint = model_config(path, "bridge")["fingerprint"]
        system.widening = Widened(read_calibration(calibration, fingerprint))
    return system
