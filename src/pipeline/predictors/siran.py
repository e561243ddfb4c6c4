"""The super-resolution network SIRAN (Paul & Gupta 2024)."""

from __future__ import annotations

from functools import partial

from pipeline.config.rivals import SiranSection
from pipeline.models.siran import Siran
from pipeline.predictors.learned import Estimate

make = partial(Estimate, name="siran", section=SiranSection, network=Siran)
