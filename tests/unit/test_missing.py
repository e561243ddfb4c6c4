"""Missing-data strips."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.base import Range
from pipeline.config.light import StripDraw
from pipeline.illumination.missing import WHOLE_HALF_WIDTH_PX, draw_strip, strip_mask


@given(st.floats(0, 180), st.floats(0, 95), st.floats(25, 50))
def test_is_the_published_strip_wherever_that_one_is_defined(t, centre, half_width):
    tangent = np.tan(np.radians(t))
    if abs(t - 90) < 1e-3 or abs(1 + tangent) < 1e-3:
        return
    m = (1 - tangent) / (1 + tangent)
    y, x = np.mgrid[:96, :96]
    margin = abs(y - (m * x + centre - m * centre)) - half_width * np.sqrt(m**2 + 1)
    mask = strip_mask(np.array([centre, centre, 45 - t, half_width]), 96)
    clear = abs(margin) > 1e-6 * (1 + abs(m))
    np.testing.assert_array_equal(mask[clear], (margin < 0)[clear])


def test_singular_direction_keeps_an_upright_strip():
    mask = strip_mask(np.array([40.0, 40.0, -90.0, 10.5]), 96)
    np.testing.assert_array_equal(mask, np.tile(abs(np.arange(96) - 40) <= 10, (96, 1)))


def test_level_strip_and_batches_in_torch_and_numpy():
    strips = np.array([[[10.0, 50.0, 0.0, 5.0], [0.0, 0.0, 30.0, WHOLE_HALF_WIDTH_PX]]])
    mask = strip_mask(strips, 96)
    assert mask.shape == (1, 2, 96, 96) and mask.dtype == bool
    np.testing.assert_array_equal(mask[0, 0], np.tile((abs(np.arange(96) - 50) < 5)[:, None], (1, 96)))
    assert mask[0, 1].all()
    in_torch = strip_mask(torch.from_numpy(strips), 96)
    assert in_torch.dtype == torch.bool
    np.testing.assert_array_equal(in_torch.numpy(), mask)


def test_draws_lie_on_both_diagonals_and_in_range():
    rng = np.random.default_rng(0)
    strips = np.array([draw_strip(rng, StripDraw(), 96) for _ in range(4000)])
    x0, y0, q, half_width = strips.T
    main, anti = np.isclose(x0, y0), np.isclose(x0 + y0, 95)
    assert (main | anti).all()
    assert main.mean() == pytest.approx(0.5, abs=0.03)
    assert 0 <= x0.min() and x0.max() <= 95 and x0.mean() == pytest.approx(47.5, abs=1.5)
    assert -135 <= q.min() and q.max() <= 45 and q.mean() == pytest.approx(-45, abs=3)
    assert 25 <= half_width.min() and half_width.max() <= 50
    assert half_width.mean() == pytest.approx(37.5, abs=0.4)
    # Every image keeps something: its strip's centre lies on the patch.
    assert strip_mask(strips[:200], 96).any(axis=(1, 2)).all()


def test_share_of_whole_images():
    rng = np.random.default_rng(0)
    draw = StripDraw(share=0.3, half_width_px=Range(low=4, high=8))
    widths = np.array([draw_strip(rng, draw, 32)[3] for _ in range(4000)])
    lost = widths < WHOLE_HALF_WIDTH_PX
    assert lost.mean() == pytest.approx(0.3, abs=0.03)
    assert set(widths[~lost]) == {WHOLE_HALF_WIDTH_PX}
    assert draw_strip(rng, StripDraw(share=0), 32)[3] == WHOLE_HALF_WIDTH_PX
    assert all(draw_strip(rng, StripDraw(share=1), 32)[3] <= 50 for _ in range(100))


def test_draws_survive_json():
    strip = draw_strip(np.random.default_rng(0), StripDraw(share=0.5), 96)
    assert tuple(json.loads(json.dumps(strip, allow_nan=False))) == strip
