"""The estimate that a network makes of a patch before any draw, and what it keeps of the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

from torch import Tensor

from pipeline.models.losses import gaussian_score
from pipeline.models.photometric import SetLight


@dataclass(frozen=True)
class Estimate:
    """Posterior mean of DEM minus a priori DEM, in any unit of height.

    Attributes
    ----------
    mean : (B, 1, P, P).
    light : of the sample sets, one each, also after `AlignedCondition.repeat`.
    spread : (B, 1, P, P) standard deviation of the mean's error, same unit; None where none is given.
    """

    mean: Tensor
    light: SetLight
    spread: Tensor | None = None

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Estimate:
        """Apply `change`, of unit or batch, to mean and spread."""
        spread = None if self.spread is None else change(self.spread)
        return replace(self, mean=change(self.mean), spread=spread)

    def departures(self, states: Tensor) -> Tensor:
        """States (B, 1, P, P) as departures from the mean, in units of the spread where it is given.

        The estimate is taken as it is: no gradient reaches it.
        """
        rest = states - self.mean.detach()
        return rest if self.spread is None else rest / self.spread.detach()

    def states(self, departures: Tensor) -> Tensor:
        """Invert `departures`."""
        return (departures if self.spread is None else departures * self.spread) + self.mean

    def losses(self, truth: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Squared error of the mean, that of its slopes, and the CRPS of the spread around the mean as it is.

        Parameters
        ----------
        truth : (B, 1, P, P) DEM minus a priori DEM, same unit.
        """
        spread = None
        if self.spread is not None:
            spread = gaussian_score((truth - self.mean).detach().float(), self.spread).mean()
        squared = ((self.mean.float() - truth) ** 2).mean()
        return squared, _squared_slopes(self.mean.float() - truth), spread


def _squared_slopes(error: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of an error map."""
    along_x = (error[..., :, 1:] - error[..., :, :-1]).pow(2).mean()
    along_y = (error[..., 1:, :] - error[..., :-1, :]).pow(2).mean()
    return along_x + along_y


class Condition(Protocol):
    """What a network keeps of B sample sets, whatever the time."""

    @property
    def estimate(self) -> Estimate | None:
        """What it estimates of the DEM, if it does."""

    def repeat(self, clones: int) -> Self:
        """Repeat each sample set `clones` times in a row, to draw several samples of it at once."""

    def in_states(self, scale: float) -> Self:
        """Heights, which are in the section's unit, divided by the `scale` that counts as 1."""
