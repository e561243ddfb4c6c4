"""Exposure: the ratio of light, not moved by shadows that lie elsewhere or a dark level that is known."""

from __future__ import annotations

import numpy as np
import pytest
from image_scenes import SIZE, hills, photograph, rendering, strip

from pipeline.imagery.exposure import exposure


def test_scale_and_scatter() -> None:
    light = rendering(hills())[0]
    image = photograph(light, 0.3, -0.2, gain=2.5, dark=0.01, noise=0.002)
    scale, scatter = exposure(image, strip(), 0.01, light)
    assert scale == pytest.approx(2.5, rel=0.02)
    assert 0 < scatter < 0.2
    exact = exposure(2 * light + 0.1, strip(), np.full((SIZE, SIZE), 0.1), light)
    assert exact.scale == pytest.approx(2) and exact.scatter == pytest.approx(0, abs=1e-9)


def test_outliers_do_not_matter() -> None:
    light = rendering(hills())[0]
    image = 3 * light
    image[:30] *= 4
    image[40] = np.nan
    assert exposure(image, strip(), 0.0, light).scale == pytest.approx(3, rel=0.01)


def test_nothing_lit() -> None:
    dark = np.zeros((20, 20))
    for image, light in ((dark, dark + 1), (dark + 1, dark), (dark + 1, dark + np.nan)):
        with pytest.raises(ValueError, match="lit in image and rendering"):
            exposure(image, np.ones((20, 20)), 0.0, light)
