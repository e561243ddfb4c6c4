"""The diffusion (DM of Yasuda 2025)."""

from __future__ import annotations

from functools import partial

from pipeline.config.stochastic import DiffusionSection
from pipeline.models.stochastic import DiffusionNetwork
from pipeline.predictors.stochastic import Stochastic

make = partial(Stochastic, name="diffusion", section=DiffusionSection, network=DiffusionNetwork)
