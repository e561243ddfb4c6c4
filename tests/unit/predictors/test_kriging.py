"""Kriging of altimetry spots, against the textbook's system and on terrain that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_sets import lambert_set
from numpy.testing import assert_allclose
from torch import Tensor

from pipeline.models.batch import Batch
from pipeline.models.refinement_ground import HURST, SLOPE
from pipeline.predictors import kriging
from pipeline.predictors.interface import Setup
from pipeline.predictors.kriging import Kriging, kriged, make

GRID = {"size_px": 48, "halo_px": 16, "factor": 8, "pixel_m": 40.0}
SIZE = 48


@pytest.fixture
def predictor() -> Kriging:
    return make(Setup(GRID))


def altimetry(share: float, seed: int = 2) -> Batch:
    """Two patches with exact heights at a share of their pixels, and zeros in between."""
    given = lambert_set(images=1, size=SIZE, halo_cells=2)
    hit = torch.rand(given.prior.shape, generator=torch.Generator().manual_seed(seed)) < share
    assert given.dem is not None
    return replace(given, prior=torch.where(hit, given.dem, 0.0), spots=hit.float())


def rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def test_it_solves_the_system_of_ordinary_kriging():
    rng = np.random.default_rng(0)
    at, heights, error = rng.permutation(20 * 20)[:9], rng.normal(size=9), 0.03
    place = np.stack(np.divmod(at, 20), axis=1)
    every = np.stack(np.divmod(np.arange(400), 20), axis=1)

    def half_square(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return 0.5 * SLOPE**2 * np.linalg.norm(one[:, None] - other, axis=2) ** (2 * HURST)

    # Weights that sum to 1, by Lagrange's multiplier.
    system = np.ones((10, 10))
    system[:9, :9] = half_square(place, place) - error**2 * np.eye(9)
    system[9, 9] = 0
    weights = np.linalg.solve(system, np.concatenate([half_square(place, every), np.ones((1, 400))]))[:9]
    hit, field = torch.zeros(20, 20, dtype=torch.bool), torch.full((20, 20), 99.0)
    hit.view(-1)[torch.from_numpy(at)] = True
    field.view(-1)[torch.from_numpy(at)] = torch.from_numpy(heights).float()
    assert_allclose(kriged(field, hit, error).flatten(), heights @ weights, atol=1e-6)


def test_it_fills_gaps_between_spots(predictor: Kriging):
    given = altimetry(0.3)
    found = predictor.sample(given, 5, [])
    assert found.shape == (2, 1, SIZE, SIZE)  # one member, whatever is asked for
    near = rms(found[:, 0] - given.dem)
    assert near < 0.03 * rms(given.dem)
    assert near < 0.5 * rms(predictor.sample(altimetry(0.05), 1, [])[:, 0] - given.dem)


def test_only_heights_at_spots_count_and_the_level_is_free(predictor: Kriging):
    given = altimetry(0.2)
    wild = torch.where(given.spots > 0, given.prior, 1e4) + 300.0
    lifted = predictor.sample(replace(given, prior=wild), 1, [])
    assert_allclose(lifted, predictor.sample(given, 1, []) + 300.0, atol=2e-3)


def test_spots_that_err_are_not_followed_to_the_last_metre():
    hit, rng = torch.ones(16, 16, dtype=torch.bool), torch.Generator().manual_seed(0)
    noise = torch.randn(16, 16, generator=rng)
    loose, firm = (rms(kriged(noise, hit, error)) for error in (1.0, 1e-3))
    assert loose < 0.5 * rms(noise)
    assert firm == pytest.approx(rms(noise), rel=0.02)


def test_a_patch_without_spots_keeps_its_bicubic(predictor: Kriging):
    plain = lambert_set(images=1, size=SIZE, halo_cells=2)
    assert torch.equal(predictor.sample(plain, 1, [])[:, 0], plain.prior)
    some = altimetry(0.2)
    spots = some.spots.clone()
    spots[1] = 0
    found = predictor.sample(replace(some, spots=spots), 1, [])
    assert torch.equal(found[1, 0], some.prior[1])
    assert torch.equal(found[0], predictor.sample(some, 1, [])[0])


def test_blocks_that_see_spots_around_them_are_nearly_as_good(monkeypatch: pytest.MonkeyPatch):
    given = altimetry(0.5)
    whole = kriged(given.prior[0] / 40, given.spots[0] > 0, 0.02)
    monkeypatch.setattr(kriging, "BLOCK_PX", 16)
    monkeypatch.setattr(kriging, "LEAST_SPOTS", 250)
    parts = kriged(given.prior[0] / 40, given.spots[0] > 0, 0.02)
    off = rms(whole - given.dem[0] / 40)
    assert 0 < rms(parts - whole) < 0.5 * off
