"""Section ``coverage``: the altimetry filter."""

from __future__ import annotations

from pipeline.config.base import Section, Share


class CoverageSection(Section):
    """Altimetry coverage filter: keep a patch with enough pixels that hold a LOLA spot."""

    min_share: Share = 2242 / 9216
    """least share of pixels with count > 0 (published 2242 of 9216); 0 needs no count map."""
