"""Where the whole Sun is expected to be seen by a coarse DEM."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.illumination.directions import vectors
from pipeline.illumination.expected import WHOLE, coarse_surface, expected_light
from pipeline.illumination.far import FarTerrain
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.terrain.blocks import block_mean

FACTOR, SIZE, HALO, PIXEL = 4, 16, 16, 40.0
SIDE = SIZE + 2 * HALO
INNER = (HALO, HALO, SIZE, SIZE)


def sun(azimuth: float, elevation: float) -> np.ndarray:
    return vectors(np.array([azimuth]), np.array([elevation]))


def wall(height: float) -> np.ndarray:
    """A wall three blocks east of the patch: the bicubic does not reach from it to there."""
    dem = np.zeros((SIDE, SIDE))
    dem[:, HALO + SIZE + 3 * FACTOR :] = height
    return dem


def light(dem: np.ndarray, suns: np.ndarray, **more: object) -> np.ndarray:
    return expected_light(dem, PIXEL, INNER, FACTOR, suns, 0.533, **more)


def test_a_wall_hides_a_low_sun_and_no_high_one() -> None:
    east, west, high = sun(90, 4), sun(270, 4), sun(90, 80)
    found = light(wall(200.0), np.concatenate([east, west, high]))
    assert not found[0].any() and found[1].all() and found[2].all()


def test_of_a_disc_cut_by_the_horizon_nothing_is_expected() -> None:
    """The Sun's centre stands over the wall's edge, its lower rim does not."""
    dem = wall(100.0)
    engine = HorizonVisibility(coarse_surface(dem, FACTOR), PIXEL, INNER)
    edge = np.degrees(np.arctan(engine.horizon([90.0])[0]))
    suns = sun(90, float(edge.max()) + 0.1)
    partly = (engine.share(suns, 0.533)[0] > 0.5) & (engine.share(suns, 0.533)[0] < WHOLE)
    assert partly.any()
    assert not light(dem, suns)[0][partly].any()


def test_far_terrain_hides_the_sun_too() -> None:
    far = FarTerrain(np.zeros((40, 40)), FACTOR, -48.0 + 1.5, -48.0 + 1.5)
    far.z[:, 36:] = 2000.0
    assert light(np.zeros((SIDE, SIDE)), sun(90, 4)).all()
    assert not light(np.zeros((SIDE, SIDE)), sun(90, 4), far=far).any()


def test_a_halo_of_broken_blocks_is_cut() -> None:
    """What is left over at the edges of the halo changes nothing."""
    dem = wall(150.0)
    wider = np.pad(dem, ((3, 1), (2, 3)), constant_values=900.0)
    suns = np.concatenate([sun(azimuth, 5) for azimuth in (0, 90, 200)])
    inner = (HALO + 3, HALO + 2, SIZE, SIZE)
    found = expected_light(wider, PIXEL, inner, FACTOR, suns, 0.533)
    np.testing.assert_array_equal(found, light(dem, suns))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_coarse_surface_knows_block_means_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dem = rng.normal(0, 50, (SIDE, SIDE))
    dem[:8, :8] = np.nan
    other = np.kron(block_mean(dem, FACTOR), np.ones((FACTOR, FACTOR)))
    found = coarse_surface(dem, FACTOR)
    np.testing.assert_allclose(found, coarse_surface(other, FACTOR))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(dem))


def test_terrain_without_heights_is_refused() -> None:
    with pytest.raises(ValueError, match="inner: expected elevations, found none"):
        light(np.where(np.arange(SIDE) < HALO, 1.0, np.nan) * np.ones((SIDE, 1)), sun(90, 4))
