"""The stochastic interpolant (SM of Yasuda 2025)."""

from __future__ import annotations

from functools import partial

from pipeline.config.stochastic import YasudaSection
from pipeline.models.stochastic import InterpolantNetwork
from pipeline.predictors.stochastic import Stochastic

make = partial(Stochastic, name="yasuda", section=YasudaSection, network=InterpolantNetwork)
