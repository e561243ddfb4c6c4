"""Section ``altimetry``: simulated tracks of a laser altimeter; and the a priori DEM in training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Range, Section, Share, unlike
from pipeline.config.patches import PatchesSection

NotNegative = Annotated[float, Field(ge=0)]


class AltimetrySection(Section):
    """Simulated altimetry of training windows: heights along the tracks of an orbiting laser altimeter.

    Each range gives one value per window, drawn uniformly except where another law is named.
    """

    coverage: Range = Range(low=0.03, high=1.0)
    """share of a window's pixels that are hit: low (high / low)^sqrt(u) of a uniform number u."""
    own: Share = 0.5
    """share of the windows whose spots lie where the patch's own count map (`inputs.count`) has them, if
    there is one; the others have simulated tracks."""
    spread_deg: Range = Range(low=1.0, high=30.0)
    """standard deviation of the passes' directions about one of their two dominant ones, degrees,
    log-uniform (near a pole they vary widely)."""
    one_way: Share = 0.3
    """share of windows with one dominant direction instead of two."""
    bunching: Range = Range(low=0.0, high=0.8)
    """share of passes that lie beside each other in groups, which leaves gaps."""
    exact: Share = 0.1
    """share of windows whose heights have no errors; the keys below are for the others."""
    adjusted: Share = 0.6
    """share of those whose passes were adjusted to each other, as in finished products: a tenth of
    `bias_m` and `offset_m` is left."""
    off_centre: Range = Range(low=1.0, high=1.0)
    """distance from the pixel's centre at which the height of a spot is taken, over the spot's own distance:
    1 where a pixel has the mean of its spots, 0 where the gridding accounts for their positions, as GMT's
    surface does."""
    bias_m: Range = Range(low=0.0, high=1.0)
    """standard deviation of the height error that a pass has as a whole, m; at most 0.05 pixels."""
    offset_m: Range = Range(low=3.0, high=15.0)
    """standard deviation, per axis, of the horizontal offset of a pass as a whole, m."""
    noise_m: Range = Range(low=0.1, high=0.5)
    """standard deviation of a spot's height, m."""
    outliers: Share = 0.0002
    """share of spots that are off by any height up to `outlier_m`."""
    outlier_m: NotNegative = 30.0
    """largest error of such a spot, m."""
    shifted: Share = 0.15
    """share of windows in which the altimetry as a whole is shifted against the truth."""
    shift_px: NotNegative = 1.0
    """standard deviation of that shift per axis, pixels; at most twice as much is drawn."""

    @property
    def finished(self) -> AltimetrySection:
        """That of finished products: passes adjusted to each other, spots that err, images in register."""
        return self.model_copy(update={"exact": 0.0, "adjusted": 1.0, "shifted": 0.0})

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for key, most in {"coverage": 1.0, "spread_deg": 90.0}.items():
            found: Range = getattr(self, key)
            if not 0 < found.low <= found.high <= most:
                raise ValueError(unlike(key, f"within (0, {most:g}]", found))
        self.bunching.check_within("bunching", 0.0, 0.95)
        self.off_centre.check_within("off_centre", 0.0, 1.0)
        for key, longest in {"bias_m": 100.0, "offset_m": 1000.0, "noise_m": 100.0}.items():
            getattr(self, key).check_within(key, 0.0, longest)
        return self


class TrainingPatchesSection(PatchesSection):
    """Patch geometry, and the a priori DEM that comes with a patch.

    The stages that cut patches use the geometry only: another a priori DEM changes none of their keys.
    """

    apriori: Literal["cells", "altimetry", "mixed"] = "cells"
    """a patch's heights known in training: ``cells``, exact means of `factor` x `factor` pixels
    (published), ``altimetry``, heights along simulated tracks (section `altimetry`), or ``mixed``."""
