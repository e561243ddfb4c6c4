"""A generative adversarial network after ESRGAN (Wang et al. 2018)."""

from __future__ import annotations

from functools import partial

from pipeline.config.rivals import GanSection
from pipeline.models.gan import Gan
from pipeline.predictors.learned import Estimate

make = partial(Estimate, name="gan", section=GanSection, network=Gan)
