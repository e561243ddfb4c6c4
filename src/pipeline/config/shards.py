"""Section ``shards``."""

from __future__ import annotations

from pipeline.config.base import PositiveInt, Section


class ShardsSection(Section):
    """Training shards, one per tile and split."""

    statistics_patches: PositiveInt = 2000
    """most training patches a shard contributes to the train-only statistics."""
    radiance: bool = False
    """also store plain images, for other uses: of the test patches only, under the 360 fixed directions
    only (not the Fibonacci ones); up to 6.6 MB per patch of 96 pixels a side."""
