"""Slope, aspect, roughness, similarity and power spectra against closed forms and other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from pipeline.evaluation import surfaces

PIXEL_M = 20.0


def plane(slope_deg: float, aspect_deg: float, side: int = 12) -> np.ndarray:
    """A tilted plane; the aspect is counted from x towards rising rows."""
    y, x = np.mgrid[:side, :side] * PIXEL_M
    turn = np.radians(aspect_deg)
    return np.tan(np.radians(slope_deg)) * (np.cos(turn) * x + np.sin(turn) * y)


def rough(seed: int = 0, side: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(side, side)).cumsum(0).cumsum(1)


def test_horns_gradient_is_sobels_stencil() -> None:
    z = rough()
    for found, axis in zip(surfaces.horn_gradient(z, PIXEL_M), (1, 0)):
        assert_allclose(found, ndimage.sobel(z, axis)[1:-1, 1:-1] / (8 * PIXEL_M), atol=1e-12)


@pytest.mark.parametrize(
    ("estimate", "truth", "slope", "aspect"),
    [
        ((13, 40), (10, 10), 3, 30),
        ((10, 175), (10, -170), 0, 15),
        ((8, 190), (10, 10), 2, 180),
        ((0, 0), (10, 10), 10, 90),
        ((10, 10), (0, 0), 10, 0),
    ],
)
def test_slope_and_aspect_errors_of_planes(
    estimate: tuple[float, float], truth: tuple[float, float], slope: float, aspect: float
) -> None:
    found = surfaces.slope_and_aspect_error_deg(plane(*estimate), plane(*truth), PIXEL_M)
    assert_allclose(found, (slope, aspect, np.tan(np.radians(truth[0]))), atol=1e-6)


def test_aspect_counts_where_the_truth_is_steep() -> None:
    """Half of the ground tilts ten times more, and only there the direction is wrong."""
    truth = np.maximum(plane(1, 0), plane(10, 0) - plane(10, 0)[0, 6])
    estimate = truth.copy()
    estimate[:, 6:] = truth[:, 5:6] + plane(10, 90)[:, :6]
    flat = surfaces.slope_and_aspect_error_deg(truth, truth, PIXEL_M)
    assert flat[:2] == (0, 0)
    wrong = surfaces.slope_and_aspect_error_deg(estimate, truth, PIXEL_M)[1]
    assert wrong > 60  # 40 to 50 of 100 pixels: unweighted about 45


def test_roughness_of_a_checkerboard_and_of_a_plane() -> None:
    board = 3.0 * (-1.0) ** np.add.outer(np.arange(8), np.arange(8))
    assert surfaces.roughness_m(board) == pytest.approx(6.0)
    assert surfaces.roughness_m(board + plane(20, 30, 8)) == pytest.approx(6.0)
    assert surfaces.roughness_m(plane(20, 30)) == pytest.approx(0, abs=1e-12)


def test_ssim_is_its_sum_over_windows() -> None:
    truth = rough() - 1500
    estimate = truth + np.random.default_rng(1).normal(size=truth.shape) + 0.5
    span = surfaces.data_range_m(truth, PIXEL_M)
    assert span == np.ptp(truth)
    x, y = estimate - truth.min(), truth - truth.min()
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    w = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = []
    for i in range(len(x) - 10):
        for j in range(len(x) - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            p, q = (w * a).sum(), (w * b).sum()
            va, vb, cov = (w * (a - p) ** 2).sum(), (w * (b - q) ** 2).sum(), (w * (a - p) * (b - q)).sum()
            values.append((2 * p * q + c1) * (2 * cov + c2) / ((p * p + q * q + c1) * (va + vb + c2)))
    assert surfaces.ssim(estimate, truth, span) == pytest.approx(np.mean(values), rel=1e-9)
    assert surfaces.ssim(truth, truth, span) == pytest.approx(1)


def test_ssim_and_psnr_are_those_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    truth, low = rough(2), rough(2).min()
    estimate = truth + np.random.default_rng(3).normal(size=truth.shape)
    span = surfaces.data_range_m(truth, PIXEL_M)
    wanted = metrics.structural_similarity(
        estimate - low,
        truth - low,
        data_range=span,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert surfaces.ssim(estimate, truth, span) == pytest.approx(wanted, rel=1e-12)
    mse = float(np.mean((estimate - truth) ** 2))
    wanted = metrics.peak_signal_noise_ratio(truth, estimate, data_range=span)
    assert surfaces.psnr_db(mse, span) == pytest.approx(wanted, rel=1e-12)


def test_psnr_has_its_closed_form_and_an_end() -> None:
    assert surfaces.psnr_db(4.0, 200.0) == pytest.approx(40)
    assert surfaces.psnr_db(0.0, 200.0) == 120
    assert np.isfinite(surfaces.psnr_db(9.0, surfaces.data_range_m(np.zeros((6, 6)), PIXEL_M)))


def test_a_wave_has_its_power_in_its_band() -> None:
    y, x = np.mgrid[:96, :96]
    for length, band in ((3, 0), (6, 1), (12, 2), (24, 3)):
        wave = 5.0 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / length + 1.0)
        found = surfaces.band_powers(wave + 100 + 0.3 * x - 2 * y)
        assert found[band] == pytest.approx(12.5, rel=0.06)
        assert found.sum() - found[band] < 0.06 * found[band]


def test_powers_are_those_of_the_whole_transform() -> None:
    """Of odd and even sides; the bands' edges belong to the band of longer waves."""
    for side in (31, 32):
        z = rough(4, side)
        ramp = np.arange(side) - (side - 1) / 2
        design = np.stack([np.ones(side * side), np.tile(ramp, side), np.repeat(ramp, side)], axis=1)
        flat = z - (design @ np.linalg.lstsq(design, z.ravel(), rcond=None)[0]).reshape(side, side)
        hann = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
        window = np.outer(hann, hann)
        power = np.abs(np.fft.fft2(flat * window)) ** 2 / side**4 / np.mean(window**2)
        f = np.fft.fftfreq(side)
        with np.errstate(divide="ignore"):
            wavelength = 1 / np.hypot(f[:, None], f[None])
        bands = [power[(wavelength >= a - 1e-6) & (wavelength < b - 1e-6)].sum() for a, b in surfaces.BANDS]
        assert_allclose(surfaces.band_powers(z), bands, rtol=1e-9)


def test_a_patch_of_few_pixels_has_no_long_waves() -> None:
    found = surfaces.band_powers(rough(5, 6))
    assert found[0] > 0 and found[3] == 0
