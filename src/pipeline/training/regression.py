"""Stage ``regression``: the training of direct regression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from pipeline.config.rivals import RegressionSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import RivalStage
from pipeline.models.regression import Regression
from pipeline.training.rivals import DirectTask, train_rival_network


class RegressionTask(DirectTask[RegressionSection]):
    """See `DirectTask`."""

    def build(self, size_px: int, factor: int) -> dict[str, nn.Module]:
        """The network."""
        return {"model": Regression(self.section, size_px, factor)}


def train(
    section: RivalStage,
    key: str,
    manifest: Path | str,
    runtime: RuntimeSection,
    out: Path | str,
    track: Sequence[Path | str] = (),
) -> None:
    """See `pipeline.training.rival.train_rival`."""
    train_rival_network(
        "regression", RegressionTask, RegressionSection, section, key, manifest, runtime, out, track
    )
