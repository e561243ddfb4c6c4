"""Windows and blending: coverage, published weights, and the mosaic against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.region.blend import Mosaic, blend_weights
from pipeline.region.windows import Window, moving_windows, starts


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 80), st.integers(0, 80), st.data())
def test_windows_cover_every_pixel_and_know_the_border(size, more_rows, more_cols, data):
    rows, cols = size + more_rows, size + more_cols
    stride = data.draw(st.integers(1, size))
    count = np.zeros((rows, cols), int)
    for w in moving_windows(rows, cols, size, stride):
        view = count[w.pixels]
        assert view.shape == (size, size)
        view += 1
        assert w.border == (w.row == 0, w.col + size == cols, w.row + size == rows, w.col == 0)
    assert count.min() >= 1


def test_last_window_is_flush_and_none_is_repeated():
    assert starts(480, 96, 48) == list(range(0, 385, 48))
    assert starts(100, 32, 24) == [0, 24, 48, 68]
    assert starts(32, 32, 8) == [0]
    assert len(moving_windows(480, 480, 96, 48)) == 81


@pytest.mark.parametrize(("length", "size", "stride"), [(31, 32, 8), (64, 32, 33), (64, 32, 0)])
def test_windows_that_cannot_cover_are_refused(length, size, stride):
    with pytest.raises(ValueError, match=r"region\.(size_px|stride_px): expected"):
        starts(length, size, stride)


def test_weights_without_blur_are_the_squared_grassfire_distance():
    assert blend_weights(5, 48, 0)[2].tolist() == [1, 4, 9, 4, 1]
    assert blend_weights(5, 48, 0)[0].tolist() == [1] * 5
    assert blend_weights(7, 2, 0)[3].tolist() == [1, 4, 4, 4, 4, 4, 1]  # at most blend_px


def test_published_weights_are_the_squared_distance_to_the_outside_blurred():
    """The blur mirrors the window at its border: outside it is the window again, not 0."""
    inside = np.pad(np.ones((96, 96)), 1)
    distance = np.minimum(ndimage.distance_transform_cdt(inside, "taxicab"), 48)[1:-1, 1:-1].astype(float)
    mirrored = np.pad(distance**2, 16, mode="symmetric")
    expected = ndimage.gaussian_filter(mirrored, 2.0, mode="constant")[16:-16, 16:-16]
    weights = blend_weights(96, 48, 2.0)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    assert weights.min() > 0
    np.testing.assert_allclose(weights, weights[::-1, ::-1], rtol=1e-12)


def test_published_weights_of_the_outermost_rings_are_those_of_a_mirrored_parabola():
    """Closed form far from corners: sum over k of g(k) |k + d - 1/2, mirrored|^2 with the kernel g."""
    at = np.arange(-8, 9)
    kernel = np.exp(-(at**2) / 8)
    kernel /= kernel.sum()
    rings = [(kernel * (np.abs(at + ring - 0.5) + 0.5) ** 2).sum() for ring in range(1, 9)]
    np.testing.assert_allclose(blend_weights(96, 48, 2.0)[:8, 48], rings, rtol=1e-12)
    np.testing.assert_allclose(rings[:3], [6.160, 8.536, 13.208], atol=1e-3)


def test_sides_on_the_region_border_do_not_end_the_weights():
    top_left = blend_weights(9, 4, 0, (True, False, False, True))
    assert top_left[0].tolist() == [16, 16, 16, 16, 16, 16, 9, 4, 1]
    assert top_left[:, 0].tolist() == [16, 16, 16, 16, 16, 16, 9, 4, 1]
    alone = blend_weights(8, 4, 2.0, (True,) * 4)
    np.testing.assert_allclose(alone, 16.0)
    # Far from the open side the published weights are untouched.
    open_top = blend_weights(96, 48, 2.0, (True, False, False, False))
    np.testing.assert_allclose(open_top[60:], blend_weights(96, 48, 2.0)[60:], rtol=1e-12)


def mosaic_of(rows, cols, size, stride, members, clones_of, blend=6, sigma=1.5):
    def weigh(w):
        return blend_weights(w.size, blend, sigma, w.border)

    mosaic = Mosaic(rows, cols, members, weigh)
    windows = moving_windows(rows, cols, size, stride)
    for w in windows:
        mosaic.add(w, clones_of(w))
    return mosaic, windows, weigh


def test_windows_cut_from_one_surface_give_it_back():
    surface = np.random.default_rng(0).uniform(-9000, 10000, (37, 41))
    mosaic, *_ = mosaic_of(37, 41, 16, 7, 3, lambda w: np.stack([surface[w.pixels]] * 3))
    np.testing.assert_allclose(mosaic.mean(), surface, rtol=1e-13)
    assert mosaic.std().max() < 1e-8
    for clone in mosaic.clones:
        np.testing.assert_allclose(clone, surface, rtol=1e-13)


def test_mosaic_equals_the_published_formulas():
    rows, cols, size, members = 29, 34, 12, 4
    rng = np.random.default_rng(1)
    cut = {}

    def clones_of(w):
        cut[w] = 4000 + rng.normal(size=(members, size, size))
        return cut[w]

    mosaic, windows, weigh = mosaic_of(rows, cols, size, 5, members, clones_of)
    d = np.full((len(windows), members, rows, cols), np.nan)
    w = np.zeros((len(windows), 1, rows, cols))
    for i, window in enumerate(windows):
        d[i, :, *window.pixels] = cut[window]
        w[i, 0][window.pixels] = weigh(window)
    weight = np.broadcast_to(w, d.shape)
    total = weight.sum((0, 1))
    mean = np.nansum(weight * d, (0, 1)) / total
    count = (weight > 0).sum((0, 1))
    assert set(np.unique(count // members)) >= {1, 2, 4, 9}
    std = np.sqrt(np.nansum(weight * (d - mean) ** 2, (0, 1)) / (total * (count - 1) / count))
    np.testing.assert_allclose(mosaic.mean(), mean, rtol=1e-13)
    np.testing.assert_allclose(mosaic.std(), std, rtol=1e-9)
    clones = np.nansum(w * d, 0) / w.sum(0)
    np.testing.assert_allclose(mosaic.clones, clones, rtol=1e-13)


def test_one_window_has_the_sample_standard_deviation():
    clones = np.random.default_rng(2).normal(size=(5, 8, 8)) + 1e4
    mosaic, *_ = mosaic_of(8, 8, 8, 8, 5, lambda w: clones)
    np.testing.assert_allclose(mosaic.std(), clones.std(axis=0, ddof=1), rtol=1e-9)


def test_std_divides_by_the_clones_of_all_windows_at_a_pixel():
    """Closed form: alike windows of clones at +-1 m have sqrt(N / (N - 1)), N = clones times windows."""
    signs = np.array([1.0, -1, 1, -1])[:, None, None] * np.ones((8, 8)) - 3000
    mosaic, *_ = mosaic_of(12, 12, 8, 4, 4, lambda w: signs)
    windows = np.outer(*[np.repeat([1, 2, 1], 4)] * 2)
    np.testing.assert_allclose(mosaic.std(), np.sqrt(4 * windows / (4 * windows - 1)), rtol=1e-9)
    # Where two and four windows overlap: lower than with N = clones of one window.
    ratio = np.sqrt(4 / 3) / mosaic.std()
    np.testing.assert_allclose([ratio[0, 5], ratio[5, 5]], [1.08, 1.118], atol=1e-3)


def test_small_spread_survives_great_heights():
    clones = 1e7 + 1e-3 * np.random.default_rng(3).normal(size=(4, 8, 8))
    mosaic, *_ = mosaic_of(12, 12, 8, 4, 4, lambda w: clones)
    assert 2e-4 < mosaic.std().mean() < 4e-3


def test_mosaic_refuses_what_does_not_fit():
    mosaic = Mosaic(8, 8, 2, lambda w: blend_weights(w.size, 4, 0))
    with pytest.raises(ValueError, match=r"window \(0, 4\): expected clones of shape \(2, 4, 4\)"):
        mosaic.add(Window(0, 4, 4), np.zeros((3, 4, 4)))
    with pytest.raises(ValueError, match="expected finite heights, found 1"):
        mosaic.add(Window(0, 0, 4), np.where(np.arange(32).reshape(2, 4, 4) == 5, np.nan, 0.0))
    with pytest.raises(ValueError, match="at least 2"):
        Mosaic(8, 8, 1, lambda w: blend_weights(w.size, 4, 0))
    assert np.isnan(mosaic.mean()).all()
    assert np.isnan(mosaic.std()).all()
