"""Direct regression: the trunk of the aligned network, without a bridge after it."""

from __future__ import annotations

from torch import Tensor

from pipeline.config.rivals import RegressionSection
from pipeline.models.aligned import Trunk
from pipeline.models.batch import Batch
from pipeline.models.rivals import RivalNetwork


class Regression(RivalNetwork):
    """The trunk's estimate of the residual.

    Parameters
    ----------
    section : its config. size_px, factor : of the patches.

    Raises
    ------
    ValueError
        If the patch's side cannot be halved often enough.
    """

    def __init__(self, section: RegressionSection, size_px: int, factor: int) -> None:
        super().__init__(section, factor)
        self.trunk = Trunk(size_px, factor, section.base, stride=1, keep_block_means=False)

    def residual(self, batch: Batch) -> Tensor:
        """See `RivalNetwork`."""
        estimate = self.trunk(batch).estimate
        assert estimate is not None
        return estimate.mean
