"""Direct regression with the trunk of the aligned network."""

from __future__ import annotations

from functools import partial

from pipeline.config.rivals import RegressionSection
from pipeline.models.regression import Regression
from pipeline.predictors.learned import Estimate

make = partial(Estimate, name="regression", section=RegressionSection, network=Regression)
