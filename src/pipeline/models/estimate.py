"""A network's estimate of a patch, from which samples start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.models.losses import gaussian_score
from pipeline.models.photometric import SetLight

#: Ratio of squared to expected squared error beyond which a sample has less weight.
TAIL = 4.0


@dataclass(frozen=True)
class Estimate:
    """Posterior mean of DEM minus a priori DEM, in any unit of height.

    Attributes
    ----------
    mean : (B, 1, P, P).
    light : of the sample sets, one each, also after `AlignedCondition.repeat`.
    spread : (B, 1, P, P) standard deviation of the mean's error, same unit; None where not estimated.
    start : (B, 1, P, P) refined DEM minus a priori DEM, from which the estimate starts, same unit; None for
    0.
    """

    mean: Tensor
    light: SetLight
    spread: Tensor | None = None
    start: Tensor | None = None

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Estimate:
        """Apply `change`, of unit or batch, to mean, spread and start."""
        spread = None if self.spread is None else change(self.spread)
        start = None if self.start is None else change(self.start)
        return replace(self, mean=change(self.mean), spread=spread, start=start)

    def nearer_start(self, where: Tensor, share: float) -> Estimate:
        """The estimate with only `share` of the change of its start in some pixels (B, 1, P, P).

        Raises
        ------
        ValueError
            If there is no start.
        """
        if self.start is None:
            raise ValueError("estimate: expected one that starts from a refined DEM, found none")
        return replace(self, mean=torch.where(where, torch.lerp(self.start, self.mean, share), self.mean))

    def relative_losses(self, truth: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """Losses relative to the network's expected error, sample by sample.

        Well known and poorly known terrain have the same weight. A sample's weight must not depend on its
        actual error, nor on that of the estimate's start: samples with the smallest errors would then have
        the largest weights, the estimate would learn to correct too little, and the spread would be too
        small. Squared errors of the mean, and of its slopes, are therefore divided by the sample's mean
        square of the spread; beyond `TAIL` times that, as with shifted altimetry, they count by their
        logarithm (as in the likelihood of Student's t). The loss of the spread is the Gaussian log score,
        which has no unit and is smallest where the spread is the root mean square of the errors.

        Parameters
        ----------
        truth : (B, 1, P, P) DEM minus a priori DEM, same unit. floor : RMS error below which there is no
            further gain, same unit.

        Returns
        -------
        Losses of mean, slopes and spread, scalars without unit.

        Raises
        ------
        ValueError
            If there is no spread.
        """
        if self.spread is None:
            raise ValueError("relative losses: expected a network with a spread, found none")
        begin = truth if self.start is None else truth - self.start
        error = self.mean.float() - truth
        variance = self.spread.square() + floor**2
        expected = variance.detach().mean(dim=(1, 2, 3))
        size = begin.square().mean(dim=(1, 2, 3)) + floor**2
        score = torch.log(variance / size[:, None, None, None]) + error.detach().square() / variance
        slopes = torch.stack([_squared_slopes(each) for each in error])
        squared = error.square().mean(dim=(1, 2, 3))
        return _without_tail(squared / expected), _without_tail(slopes / expected), 0.5 * score.mean()

    def losses(self, truth: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Squared error of the mean, that of its slopes, and the CRPS of the spread (mean without gradient).

        Parameters
        ----------
        truth : (B, 1, P, P) DEM minus a priori DEM, same unit.

        Returns
        -------
        Scalars; the third is None where there is no spread.
        """
        spread = None
        if self.spread is not None:
            spread = gaussian_score((truth - self.mean).detach().float(), self.spread).mean()
        squared = ((self.mean.float() - truth) ** 2).mean()
        return squared, _squared_slopes(self.mean.float() - truth), spread


def _without_tail(ratios: Tensor) -> Tensor:
    """Mean over samples of ratios that count by their logarithm beyond `TAIL`."""
    return (TAIL * torch.log1p(ratios / TAIL)).mean()


def _squared_slopes(error: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of an error map."""
    along_x = (error[..., :, 1:] - error[..., :, :-1]).pow(2).mean()
    along_y = (error[..., 1:, :] - error[..., :-1, :]).pow(2).mean()
    return along_x + along_y
