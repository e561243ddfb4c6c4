"""Simulated altimetry: coverage, tracks, heights and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kstest

from pipeline.config.altimetry import AltimetrySection
from pipeline.config.root import ConfigError, load_config
from pipeline.terrain.altimetry import BIAS_LIMIT_PX, Altimetry, linear_dem, simulate
from pipeline.terrain.synthetic.tracks import SHOT_SPACING_M, SPOT_RADIUS_M

FAULTLESS = {"exact": 1.0, "shifted": 0.0}
#: No error at all, though the window is not an exact one: each test turns one on.
SILENT = {
    "exact": 0.0,
    "shifted": 0.0,
    "bias_m": 0,
    "offset_m": 0,
    "noise_m": 0,
    "outliers": 0,
    "adjusted": 0.0,
}

SIDES = st.integers(2, 40)


def draw(dem: np.ndarray, pixel_m: float = 40.0, seed: int = 0, **section: Any) -> Altimetry:
    chosen = AltimetrySection.model_validate(section)
    return simulate(dem.astype(np.float32), pixel_m, np.random.default_rng(seed), chosen)


def plane(rows: int, columns: int, down: float, right: float) -> np.ndarray:
    """Heights by the pixel's centre; `down` and `right` are metres per pixel."""
    y, x = np.indices((rows, columns))
    return down * y + right * x


@pytest.mark.parametrize("pixel_m", [5.0, 20.0, 40.0, 160.0, 1280.0])
@pytest.mark.parametrize("share", [0.03, 0.3, 0.95])
def test_the_wanted_share_of_the_pixels_is_hit(pixel_m: float, share: float) -> None:
    found = draw(np.zeros((120, 160)), pixel_m, coverage=share)
    assert found.wanted == pytest.approx(share)
    # One pass hits less than 2 per cent of a window of this size.
    assert share - 1e-4 <= (found.count > 0).mean() < share + 0.02


def test_coverage_is_drawn_by_its_law_and_may_be_whole() -> None:
    wanted = np.array([draw(np.zeros((4, 4)), seed=s).wanted for s in range(1500)])
    assert wanted.min() >= 0.03 and wanted.max() <= 1.0
    assert kstest((np.log(wanted / 0.03) / np.log(1 / 0.03)) ** 2, "uniform").pvalue > 0.001
    assert (draw(np.zeros((64, 64)), coverage=1.0, bunching=0).count > 0).all()


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, st.floats(5.0, 1280.0), st.floats(0.03, 1.0), st.integers(0, 2**32))
def test_any_window_gets_heights_where_it_gets_counts(
    rows: int, columns: int, pixel_m: float, share: float, seed: int
) -> None:
    dem = np.random.default_rng(seed).normal(size=(rows, columns))
    dem[0, 0] = np.nan
    found = draw(dem, pixel_m, seed, coverage=share)
    assert found.height.shape == found.count.shape == (rows, columns)
    assert (found.height.dtype, found.count.dtype) == (np.float32, np.uint16)
    assert np.array_equal(np.isfinite(found.height), found.count > 0)
    assert found.count[0, 0] == 0 and found.passes > 0


def test_terrain_without_heights_is_never_hit_and_counts_for_nothing() -> None:
    dem = np.zeros((100, 100))
    dem[:, 40:] = np.nan
    found = draw(dem, coverage=0.8, offset_m=15, exact=0.0)
    assert not found.count[:, 40:].any()
    assert (found.count[:, :40] > 0).mean() == pytest.approx(0.8, abs=0.05)
    empty = draw(np.full((20, 20), np.nan))
    assert (empty.passes, int(empty.count.sum())) == (0, 0)


@pytest.mark.parametrize("pixel_m", [5.0, 40.0, 640.0])
def test_without_errors_a_pixel_has_the_mean_of_its_spots(pixel_m: float) -> None:
    # A spot lies within its pixel, so on a plane its height is within half a pixel's rise of the centre's.
    truth = plane(90, 110, 2.0, -3.0)
    found = draw(truth, pixel_m, coverage=0.9, **FAULTLESS)
    hit = found.count > 0
    error = (found.height - truth)[hit]
    assert np.abs(error).max() <= 0.5 * (2.0 + 3.0) + 1e-3
    assert np.abs(error).max() > 0.5  # they are not the centres' heights
    # Many spots fill a pixel evenly: the mean tends to the centre's height.
    assert np.abs(error.mean()) < 0.1
    assert found.errors == (0.0, 0.0, 0.0, (0.0, 0.0))
    level = draw(np.full((50, 50), 7.0), pixel_m, **FAULTLESS)
    assert set(level.height[level.count > 0]) == {np.float32(7.0)}


def test_the_same_numbers_give_the_same_altimetry() -> None:
    dem = np.random.default_rng(1).normal(size=(64, 64))
    one, two, other = draw(dem, seed=3), draw(dem, seed=3), draw(dem, seed=4)
    assert one.height.tobytes() == two.height.tobytes() and one.count.tobytes() == two.count.tobytes()
    assert one.errors == two.errors
    assert one.count.tobytes() != other.count.tobytes()


def test_hits_lie_along_lines() -> None:
    """One pass: all hits lie within a spot's reach of one line, shots apart, and span the window."""
    lengths = []
    for seed in range(20):
        found = draw(np.zeros((400, 400)), 5.0, seed, coverage=1e-4, bunching=0, **FAULTLESS)
        y, x = (5.0 * (c + 0.5) for c in np.nonzero(found.count))
        if found.passes > 1 or len(y) < 30:
            continue
        _, spread, axes = np.linalg.svd(np.stack([y - y.mean(), x - x.mean()], axis=1), full_matrices=False)
        across = np.stack([y - y.mean(), x - x.mean()], axis=1) @ axes[1]
        along = np.sort(np.stack([y, x], axis=1) @ axes[0])
        assert np.abs(across).max() < 2 * SPOT_RADIUS_M + 5
        assert spread[0] > 5 * spread[1]
        assert np.diff(along).max() < 4 * SHOT_SPACING_M
        lengths.append(np.ptp(along))
    assert len(lengths) > 5 and max(lengths) > 1500


def test_night_passes_have_two_spots_and_day_passes_five() -> None:
    """Fine pixels tell the spots apart: spots per shot of single passes are about 2 or about 5."""
    rates = []
    for seed in range(40):
        found = draw(np.zeros((300, 300)), 5.0, seed, coverage=1e-4, bunching=0, spread_deg=1, **FAULTLESS)
        y, x = np.nonzero(found.count)
        length = 5.0 * np.hypot(np.ptp(y), np.ptp(x))
        if found.passes == 1 and length > 800:
            rates.append(found.count.sum() / (length / SHOT_SPACING_M))
    night = [rate for rate in rates if rate < 3.3]
    day = [rate for rate in rates if rate >= 3.3]
    assert np.median(night) == pytest.approx(1.9, abs=0.4)
    assert np.median(day) == pytest.approx(4.7, abs=0.8)


def test_bunched_passes_leave_wider_gaps() -> None:
    def covered_rows(bunching: float) -> float:
        shares = []
        for seed in range(30):
            found = draw(
                np.zeros((96, 96)), 40.0, seed, coverage=0.3, bunching=bunching, one_way=1.0, spread_deg=1
            )
            blocks = (found.count > 0).reshape(12, 8, 12, 8).mean(axis=(1, 3))
            shares.append((blocks == 0).mean())
        return float(np.mean(shares))

    assert covered_rows(0.9) > 1.5 * covered_rows(0.0)


def test_a_pass_has_one_bias() -> None:
    """Level ground: means of single-pass windows are normal with the wanted deviation, no noise within."""
    biases = []
    for seed in range(300):
        found = draw(np.zeros((40, 40)), 40.0, seed, **(SILENT | {"coverage": 0.005, "bias_m": 0.7}))
        heights = found.height[found.count > 0]
        if found.passes == 1:
            assert np.ptp(heights) == 0.0
            biases.append(heights[0])
    assert len(biases) > 150
    assert np.std(biases) == pytest.approx(0.7, rel=0.2)
    fine = draw(np.zeros((40, 40)), 5.0, **(SILENT | {"bias_m": 0.7}))
    assert fine.errors.bias_m == BIAS_LIMIT_PX * 5.0


def test_of_adjusted_passes_a_tenth_of_the_errors_is_left() -> None:
    errors = {"exact": 0.0, "bias_m": {"low": 0.5, "high": 0.5}, "offset_m": {"low": 10.0, "high": 10.0}}
    raw, adjusted = (
        [draw(np.zeros((8, 8)), 40.0, seed, adjusted=share, **errors).errors for seed in range(5)]
        for share in (0.0, 1.0)
    )
    assert {(e.bias_m, e.offset_m) for e in raw} == {(0.5, 10.0)}
    for e in adjusted:
        assert (e.bias_m, e.offset_m) == pytest.approx((0.05, 1.0))


def test_a_pass_is_displaced_as_a_whole() -> None:
    """On a plane that rises to the right a pass's heights are off by its displacement times the slope."""
    slope, errors = 10.0, []  # metres per pixel of 40 m
    truth = plane(60, 60, 0.0, slope)
    for seed in range(300):
        changes = SILENT | {"coverage": 0.005, "spread_deg": 1}
        here = draw(truth, 40.0, seed, **changes)
        there = draw(truth, 40.0, seed, **(changes | {"offset_m": 12}))
        if here.passes == 1 and here.count.any():
            assert np.array_equal(here.count, there.count)
            inner = (slice(None), slice(2, -2))  # heights beyond the window are bounded
            off = (there.height - here.height)[inner][here.count[inner] > 0]
            if off.size:
                assert np.ptp(off) < 1e-3
                errors.append(off[0] / slope * 40.0)
    assert len(errors) > 150
    assert np.std(errors) == pytest.approx(12.0, rel=0.2)


@pytest.mark.parametrize("off_centre", [0.0, 0.4, 1.0])
def test_spots_are_taken_so_far_from_their_pixels_centre(off_centre: float) -> None:
    """On a plane what is left of a spot's place is a height error in proportion."""
    truth = plane(40, 40, 3.0, 10.0)
    changes = SILENT | {"coverage": 0.3}
    whole = (draw(truth, **changes).height - truth)[1:-1, 1:-1]
    found = draw(truth, **(changes | {"off_centre": off_centre}))
    left = (found.height - truth)[1:-1, 1:-1]
    assert np.array_equal(np.isnan(whole), np.isnan(left)) and np.nanstd(whole) > 1.0
    np.testing.assert_allclose(left, off_centre * whole, atol=1e-3)


def test_how_far_is_drawn_once_per_window() -> None:
    truth = plane(40, 40, 0.0, 10.0)
    changes = SILENT | {"coverage": 0.3}
    stds = [
        np.nanstd((draw(truth, seed=s, off_centre=[0, 1], **changes).height - truth)[2:-2, 2:-2])
        for s in range(60)
    ]
    assert min(stds) < 0.4 < 2.0 < max(stds)
    with pytest.raises(ValidationError, match="off_centre"):
        draw(truth, off_centre=[0, 1.5])


def test_noise_and_outliers_are_of_spots() -> None:
    quiet = draw(np.zeros((160, 160)), 40.0, **(SILENT | {"coverage": 0.5, "noise_m": 0.4}))
    one = quiet.height[quiet.count == 1]
    assert one.std() == pytest.approx(0.4, rel=0.1)
    four = quiet.height[quiet.count == 4]
    assert four.std() == pytest.approx(0.2, rel=0.2)
    wild = draw(np.zeros((160, 160)), 40.0, **(SILENT | {"coverage": 0.5, "noise_m": 0.1, "outliers": 0.01}))
    far = np.abs(wild.height[wild.count == 1]) > 1.0
    assert 0.003 < far.mean() < 0.02
    # Coarse pixels have thousands of spots, whose noise hardly shows.
    coarse = draw(np.zeros((60, 60)), 1280.0, **(SILENT | {"coverage": 0.5, "noise_m": 0.4}))
    hit = coarse.count > 20
    assert np.nanmedian(coarse.count[hit]) > 60
    residual = coarse.height[hit] * np.sqrt(coarse.count[hit])
    assert residual.std() == pytest.approx(0.4, rel=0.1)


def test_the_whole_altimetry_may_be_shifted() -> None:
    truth = plane(80, 80, 4.0, 0.0)
    shifts = []
    for seed in range(200):
        found = draw(truth, 40.0, seed, **(SILENT | {"coverage": 0.05, "shifted": 0.5, "shift_px": 1.0}))
        inner = (slice(3, -3), slice(None))
        hit = found.count[inner] > 0
        off = np.mean((found.height - truth)[inner][hit]) / 4.0
        assert off == pytest.approx(found.errors.shift_px[0], abs=0.15)
        shifts.append(found.errors.shift_px)
    moved = np.array([s for s in shifts if s != (0.0, 0.0)])
    assert 0.35 < len(moved) / len(shifts) < 0.65
    assert moved.std() == pytest.approx(0.9, abs=0.15)  # a normal law that ends at twice its deviation
    assert np.abs(moved).max() <= 2.0


def test_the_linear_dem_passes_through_the_hits_and_has_no_gaps() -> None:
    truth = plane(60, 60, 1.0, 2.0)
    found = draw(truth, 40.0, coverage=0.3, bunching=0, **FAULTLESS)
    dem = linear_dem(found)
    hit = found.count > 0
    assert np.isfinite(dem).all() and dem.dtype == np.float32
    np.testing.assert_allclose(dem[hit], found.height[hit], atol=1e-4)
    # Linear within the hull: as near to a plane as the hits themselves.
    inside = dem[20:40, 20:40] - truth[20:40, 20:40]
    assert np.abs(inside).max() <= 1.6
    single = Altimetry(np.full((5, 5), np.nan, np.float32), np.zeros((5, 5), np.uint16), 1, 0.1, found.errors)
    with pytest.raises(ValueError, match="at least one pixel with a spot"):
        linear_dem(single)
    single.height[2, 3], single.count[2, 3] = 4.0, 1
    assert set(linear_dem(single).ravel()) == {np.float32(4.0)}


@pytest.mark.parametrize(
    ("dem", "pixel_m", "message"),
    [
        (np.zeros(5), 40.0, r"dem: expected a window of at least 2 x 2 pixels, found shape \(5,\)"),
        (np.zeros((1, 9)), 40.0, r"at least 2 x 2 pixels, found shape \(1, 9\)"),
        (np.zeros((9, 9)), 0.0, "pixel_m: expected > 0, found 0"),
    ],
)
def test_impossible_windows_are_refused(dem: np.ndarray, pixel_m: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(dem, pixel_m)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coverage": [0.0, 0.5]}, r"altimetry: coverage: expected within \(0, 1\], found"),
        ({"spread_deg": 100}, r"altimetry: spread_deg: expected within \(0, 90\], found"),
        ({"bunching": [0.5, 1.0]}, r"altimetry: bunching: expected within \[0, 0.95\], found"),
        ({"noise_m": [-1, 1]}, r"altimetry: noise_m: expected within \[0, 100\], found"),
        ({"shifted": 2}, r"altimetry.shifted: .*less than or equal to 1, found 2"),
        ({"tracks": 2}, r"altimetry.tracks: unknown key"),
    ],
)
def test_wrong_keys_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config({"altimetry": given, "inputs": {"dem": "synthetic"}, "coverage": {"min_share": 0}})
