"""Altimetry simulated in the pixels of a real count map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.altimetry import AltimetrySection
from pipeline.terrain.altimetry import Altimetry
from pipeline.terrain.altimetry_counts import simulate_at

#: No error at all, though the window is not an exact one: each test turns one on.
SILENT = {
    "exact": 0.0, "shifted": 0.0, "bias_m": 0, "offset_m": 0, "noise_m": 0, "outliers": 0, "adjusted": 0.0,
}  # fmt: skip
Y, X = np.indices((40, 60))


def draw(
    dem: np.ndarray, count: np.ndarray, pixel_m: float = 40.0, seed: int = 0, **section: Any
) -> Altimetry:
    chosen = AltimetrySection.model_validate(section)
    return simulate_at(dem.astype(np.float32), count, pixel_m, np.random.default_rng(seed), chosen)


def sparse(share: float = 0.3, seed: int = 1) -> np.ndarray:
    """A count map (40, 60) of which some pixels have 1 to 4 spots."""
    rng = np.random.default_rng(seed)
    return (rng.random(Y.shape) < share) * rng.integers(1, 5, Y.shape).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_exactly_the_counted_pixels_with_terrain_have_heights(seed: int, share: float) -> None:
    count, dem = sparse(share, seed), 3.0 * Y
    dem[:5, :7], count[20, 20] = np.nan, np.nan
    found = draw(dem, count, seed=seed)
    hit = (np.nan_to_num(count) > 0) & np.isfinite(dem)
    np.testing.assert_array_equal(np.isfinite(found.height), hit)
    np.testing.assert_array_equal(found.count, np.where(hit, np.nan_to_num(count), 0))
    assert found.wanted == pytest.approx(hit.sum() / np.isfinite(dem).sum())


def test_heights_taken_at_the_centre_are_those_of_the_pixel() -> None:
    dem, count = 7.0 * Y - 4.0 * X + 100, sparse()
    found = draw(dem, count, off_centre=0, **SILENT)
    np.testing.assert_allclose(found.height[count > 0], dem[count > 0], rtol=1e-5)


def test_a_spot_lies_anywhere_in_its_pixel() -> None:
    # One spot per pixel of a plane that rises to the right: errors are uniform within half a step.
    found = draw(8.0 * X, np.ones(Y.shape), off_centre=1, **SILENT)
    off = (found.height - 8.0 * X)[:, 1:-1]
    assert np.abs(off).max() <= 4.0
    assert off.std() == pytest.approx(8.0 / np.sqrt(12), rel=0.05)


def test_more_spots_have_a_better_mean() -> None:
    off = [draw(0.0 * Y, np.full(Y.shape, n), **SILENT | {"noise_m": 0.4}).height.std() for n in (1, 4)]
    assert off[0] == pytest.approx(0.4, rel=0.05) and off[1] == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("pixel_m, width", [(40.0, 57 / 40), (5.0, 57 / 5)])
def test_a_pass_errs_as_a_whole(pixel_m: float, width: float) -> None:
    errors = SILENT | {"bias_m": 0.05 * pixel_m}
    found = draw(0.0 * Y, np.ones(Y.shape), pixel_m, off_centre=0, **errors)
    across = 40 + 60  # longest extent of the window across the passes, pixels, at most
    assert 40 / width - 2 <= found.passes <= across / width + 2
    # Pixels within one strip share its bias; at fine pixels, most neighbours do.
    same = np.isclose(found.height[:, 1:], found.height[:, :-1], atol=1e-6).mean()
    assert same > 0.75 if pixel_m == 5 else same < 0.9
    assert found.height.std() > 0.3 * found.errors.bias_m > 0


def test_the_same_seed_gives_the_same_heights() -> None:
    one, two, other = (draw(3.0 * Y, sparse(), seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.height, two.height)
    assert not np.array_equal(one.height, other.height, equal_nan=True)


def test_an_empty_map_gives_no_heights() -> None:
    found = draw(3.0 * Y, np.zeros(Y.shape))
    assert np.isnan(found.height).all() and found.passes == 0 and found.wanted == 0


@pytest.mark.parametrize(
    "dem, count, pixel_m, message",
    [
        (Y, np.ones((40, 59)), 40.0, r"count: expected the shape .* found \(40, 59\)"),
        (Y[0], np.ones(60), 40.0, "at least 2 x 2"),
        (Y, np.ones(Y.shape), 0.0, "pixel_m: expected > 0"),
    ],
)
def test_impossible_windows_are_refused(
    dem: np.ndarray, count: np.ndarray, pixel_m: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw(dem, count, pixel_m)
