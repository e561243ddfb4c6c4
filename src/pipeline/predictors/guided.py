"""Guided super-resolution by a deformable kernel network (Kim, Ponce & Ham 2021)."""

from __future__ import annotations

from functools import partial

from pipeline.config.rivals import GuidedSection
from pipeline.models.guided import DeformableKernels
from pipeline.predictors.learned import Estimate

make = partial(Estimate, name="guided", section=GuidedSection, network=DeformableKernels)
