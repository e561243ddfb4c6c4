"""Section ``predictors``: which rivals are scored beside the trained systems, and their options."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.base import Positive, Section
from pipeline.config.rivals import GanSection, GuidedSection, RegressionSection, SiranSection


class PhotometricSection(Section):
    """Photometric stereo in closed form (Woodham 1980; Frankot & Chellappa 1988).

    Attributes
    ----------
    damping : weight of the a priori normal against the mean of s sᵀ over a pixel's lit images: light for many
        Suns, firm for few.
    length_cells : a priori cells; longer scales are the a priori DEM's.
    """

    damping: Positive = 0.001
    length_cells: Positive = 2.0


class PredictorsSection(Section):
    """Rivals of the trained systems, scored under the same conditions.

    Attributes
    ----------
    scored : names from the registry of predictors, beside the bicubics and the VAE's floors; learned ones are
        trained.
    """

    scored: list[str] = Field(default=["photometric"])
    photometric: PhotometricSection = PhotometricSection()
    regression: RegressionSection = RegressionSection()
    guided: GuidedSection = GuidedSection()
    siran: SiranSection = SiranSection()
    gan: GanSection = GanSection()
