"""Registration: known shifts come back whatever the exposure, dark level, law or strip; errors are honest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_scenes import SIZE, hills, photograph, rendering, strip
from scipy import ndimage

from pipeline.imagery.refinement import Pair, Photograph, Scales, moved
from pipeline.imagery.registration import Match, plausible, register, shrink
from registration import apollo15, read_challenge, render, shift

EVERYWHERE = np.ones((SIZE, SIZE), dtype=bool)


@pytest.fixture(scope="module")
def light() -> np.ndarray:
    return rendering(hills())[0]


@pytest.mark.parametrize(("right", "up"), [(0.0, 0.0), (0.3, -0.4), (-4.6, 3.2), (0.0, 5.0)])
def test_known_shift_comes_back(light: np.ndarray, right: float, up: float) -> None:
    image = photograph(light, right, up, gain=3.0, dark=0.02, noise=0.003)
    match = register(image, strip(), 0.02, light, 8)
    assert match.shift_right_px == pytest.approx(right, abs=0.05)
    assert match.shift_up_px == pytest.approx(up, abs=0.05)
    assert match.correlation_after > 0.9 and match.correlation_after >= match.correlation_before - 1e-3
    assert match.residual_p50_px < 0.2 and match.blocks > 0
    assert plausible(match) is None


def test_slow_albedo_dark_level_and_unit_do_not_matter(light: np.ndarray) -> None:
    image = photograph(light, 1.3, -0.7, noise=0.001)
    match = register(image, EVERYWHERE, 0.0, light, 4)
    albedo = 1 + 0.3 * np.cos(np.arange(SIZE) / 40)[:, None]
    other = register(1e-4 * (image * albedo + 0.3), EVERYWHERE, 0.0, 50 * light, 4)
    assert np.allclose(shift(match), shift(other), atol=0.05)


def test_standard_error_is_honest(light: np.ndarray) -> None:
    # A DEM that is wrong where no track passed: heights other than those that the image shows.
    ratios = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        true = hills(seed)
        error = 4 * hills(seed + 50) / 250 * rng.uniform(0.5, 1.5)
        right, up = rng.uniform(-2, 2, 2)
        image = photograph(rendering(true)[0], right, up, noise=0.002)
        match = register(image, strip(40.0), 0.0, rendering(true + error)[0], 5)
        ratios += [
            (match.shift_right_px - right) / match.sigma_right_px,
            (match.shift_up_px - up) / match.sigma_up_px,
        ]
    assert 0.2 < np.sqrt(np.mean(np.square(ratios))) < 2


def test_noise_widens_the_standard_error(light: np.ndarray) -> None:
    clean, noisy = (
        register(photograph(light, 0.5, 0.5, noise=n), EVERYWHERE, 0.0, light, 4) for n in (0.001, 0.1)
    )
    assert noisy.sigma_right_px > 1.2 * clean.sigma_right_px


def test_opposite_sun_is_refused() -> None:
    dem = hills(3)
    light, other = rendering(dem)[0], rendering(dem, azimuth=240.0)[0]
    image = photograph(light, 0.5, -0.3, noise=0.002)
    right = register(image, EVERYWHERE, 0.0, light, 5, opposite=other)
    wrong = register(image, EVERYWHERE, 0.0, other, 5)
    assert plausible(right) is None and plausible(right, wrong) is None
    assert right.opposite_correlation == wrong.correlation_after
    assert plausible(wrong, right) is not None


def test_moved_spline_is_that_of_scipy() -> None:
    coefficients = ndimage.spline_filter(np.random.default_rng(0).normal(size=(40, 33)), 3, mode="nearest")
    zero = np.zeros((40, 33), dtype=bool)
    pair = Pair(Photograph(np.zeros((40, 33)), ~zero, Scales()), np.zeros((40, 33)), ~zero)
    for down, right in ((0.0, 0.0), (0.3, -0.4), (-4.6, 3.2), (5.0, -3.0), (1e-9, -1e-9)):
        expected = ndimage.shift(coefficients, (down, right), order=3, mode="nearest", prefilter=False)
        inside = pair.at(np.array([down, right]))[2]
        assert inside.sum() > 900
        assert np.allclose(moved(coefficients, np.array([down, right]))[inside], expected[inside], atol=1e-11)


def test_what_a_spline_leaves_of_darkness_is_no_picture(light: np.ndarray) -> None:
    # Lit on one side alone, where the image has no data.
    dark, mask = np.where(np.arange(SIZE) < 8, light, 0.0), np.arange(SIZE) >= 60
    match = register(photograph(light, 0.0, 0.0), np.broadcast_to(mask, light.shape), 0.0, dark, 4)
    assert match.correlation_before == 0 and plausible(match) is not None


def test_whatever_shows_nothing_is_refused(light: np.ndarray) -> None:
    few = np.zeros((SIZE, SIZE), dtype=bool)
    few[:10, :10] = True
    cases = [
        register(light, few, 0.0, light, 5),
        register(light, ~EVERYWHERE, 0.0, light, 5),
        register(np.full((SIZE, SIZE), 0.2), EVERYWHERE, 0.0, light, 5),
        register(light, EVERYWHERE, 0.0, np.zeros((SIZE, SIZE)), 5),
        register(np.full((SIZE, SIZE), np.nan), EVERYWHERE, 0.0, light, 5),
    ]
    for match in cases:
        assert "no shift found" in (plausible(match) or "")
        assert np.isnan(match.shift_right_px) and np.isinf(match.sigma_right_px)
        assert shrink(match, 0.5) == (0.0, 0.0)


def test_noise_alone_is_refused(light: np.ndarray) -> None:
    noise = np.random.default_rng(0).standard_normal((SIZE, SIZE))
    assert plausible(register(noise, EVERYWHERE, 0.0, light, 8)) is not None


def test_shift_at_the_limit_is_refused(light: np.ndarray) -> None:
    match = register(photograph(light, 4.0, 0.0), EVERYWHERE, 0.0, light, 4)
    assert "limit of the search" in (plausible(match) or "")


def test_rendering_may_have_holes(light: np.ndarray) -> None:
    holed = light.copy()
    holed[40:70, 50:90] = np.nan
    match = register(photograph(light, 1.4, 0.6, noise=0.001), EVERYWHERE, 0.0, holed, 5)
    assert np.allclose(shift(match), (1.4, 0.6), atol=0.05)


def test_answers_repeat_bit_for_bit(light: np.ndarray) -> None:
    image = photograph(light, 0.4, 0.2, noise=0.01)
    assert register(image, strip(), 0.0, light, 5) == register(image, strip(), 0.0, light, 5)


def test_shrink_weighs_by_the_prior() -> None:
    match = Match(2.0, -1.0, 0.5, np.inf, 0.1, 0.9, 0.1, 0.2, 9, 5.0, 1000)
    assert shrink(match, 0.5) == (1.0, 0.0)
    assert shrink(match, 20.0, pixel_m=40.0) == (1.0, 0.0)
    assert shrink(match, 0.0) == (0.0, 0.0)
    assert shrink(replace(match, sigma_right_px=0.0), 0.5)[0] == 2.0
    with pytest.raises(ValueError, match="prior"):
        shrink(match, -1.0)


def test_shrink_trusts_a_match_across_the_light_more_than_along_it() -> None:
    match = Match(1.0, 1.0, 0.1, 0.1, 0.5, 0.9, 0.1, 0.2, 4, 5.0, 1000)
    prior, along = 0.5**2, 0.5**2
    across = prior / (prior + 0.01)
    with_light = prior / (prior + 0.01 + along)
    assert shrink(match, 0.5, 1.0, 0.0, 0.5) == pytest.approx((across, with_light))
    assert shrink(match, 0.5, 1.0, 90.0, 0.5) == pytest.approx((with_light, across))
    # At 45 degrees the shift lies along the light, at 135 across it.
    assert shrink(match, 0.5, 1.0, 45.0, 0.5) == pytest.approx((with_light, with_light))
    assert shrink(match, 0.5, 1.0, 135.0, 0.5) == pytest.approx((across, across))
    assert shrink(match, 0.5, 1.0, 135.0, 0.0) == pytest.approx((across, across))


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan, SIZE / 2])
def test_limit_is_checked(light: np.ndarray, limit: float) -> None:
    with pytest.raises(ValueError, match="max_shift_px"):
        register(light, EVERYWHERE, 0.0, light, limit)


def test_shapes_are_checked(light: np.ndarray) -> None:
    with pytest.raises(ValueError, match="rendering: expected shape"):
        register(light, EVERYWHERE, 0.0, light[1:], 5)
    with pytest.raises(ValueError, match="valid: expected shape"):
        register(light, EVERYWHERE[1:], 0.0, light, 5)
    with pytest.raises(ValueError, match="two dimensions"):
        register(light[0], EVERYWHERE[0], 0.0, light[0], 5)


@pytest.mark.parametrize("name", ["nobile_rim_1", "malapert_crater_1"])
def test_images_as_a_user_has_them(shared_data: Path, name: str) -> None:
    folder = shared_data / "challenge" / name
    if not folder.is_dir():
        pytest.skip("the challenge sets are not beside the project (../shared/data/challenge)")
    site, errors = read_challenge(folder), []
    for k, product in enumerate(sorted(site.suns)[::12]):
        image = site.image(product)
        light = render(site.dem, site.pixel_m, site.inner, site.suns[product][0])[0]
        match = register(image, np.isfinite(image), 0.0, light, 8)
        if plausible(match) is not None:
            continue
        move = np.array([4.3 - 2 * k, -2.7 + k])
        again = site.image(product, *move)
        second = register(again, np.isfinite(again), 0.0, light, 8)
        errors.append(np.hypot(*(shift(second) - shift(match) - move)))
    assert len(errors) >= 3
    assert np.median(errors) < 0.25 and np.percentile(errors, 85) < 0.5


def test_real_image_over_a_dtm_that_lies_elsewhere(shared_data: Path) -> None:
    folder = shared_data / "nac_dtm_a15"
    if not folder.is_dir():
        pytest.skip("the Apollo 15 image is not beside the project (../shared/data/nac_dtm_a15)")
    match, wrong = apollo15(folder)
    assert 30 * match.shift_right_px == pytest.approx(-260, abs=30)
    assert 30 * match.shift_up_px == pytest.approx(0, abs=30)
    assert plausible(match, wrong) is None
    assert plausible(wrong, match) is not None
