"""Photometric stereo in closed form, on terrain that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pipeline.models.apriori import match_block_means
from pipeline.predictors.interface import Setup
from pipeline.predictors.photometric import Photometric, make
from pipeline.shards.batches import Batch
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean

SIZE, FACTOR, HALO, PIXEL = 48, 8, 16, 20.0
GRID = {"size_px": SIZE, "halo_px": HALO, "factor": FACTOR, "pixel_m": PIXEL}


def suns(count: int, elevation: float = 35.0) -> torch.Tensor:
    azimuth = torch.arange(count, dtype=torch.float32) * (2 * np.pi / count)
    up = torch.full_like(azimuth, np.sin(np.radians(elevation)))
    flat = float(np.cos(np.radians(elevation)))
    return torch.stack([flat * azimuth.sin(), flat * azimuth.cos(), up], dim=1)


def batch(count: int, wave_px: float = 12.0) -> Batch:
    """Waves shorter than two cells, 2 m high, under Lambert's law."""
    side = SIZE + 2 * HALO
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    dem = 2 * (2 * np.pi * x / wave_px).sin() * (2 * np.pi * y / (1.5 * wave_px)).cos() + 0.5 * x
    down, right = torch.gradient(dem, spacing=PIXEL)
    normal = torch.stack([-right, down, torch.ones_like(dem)])
    normal = normal / normal.norm(dim=0)
    light = 0.3 * torch.einsum("nc,chw->nhw", suns(count), normal)[:, HALO:-HALO, HALO:-HALO].clamp_min(0)
    lr = block_mean(dem, FACTOR)
    reference = lr[2:-2, 2:-2].mean()
    return Batch(
        dem=(dem[HALO:-HALO, HALO:-HALO] - reference)[None],
        lr=(lr - reference)[None],
        prior=prior_from_lr(lr - reference, 2, FACTOR)[None],
        images=light[None],
        valid=torch.ones(1, count, SIZE, SIZE, dtype=torch.bool),
        sun=suns(count)[None],
        present=torch.ones(1, count, dtype=torch.bool),
        pixel_m=torch.tensor([PIXEL]),
        reference=reference[None],
    )


def rmse(found: torch.Tensor, given: Batch) -> float:
    assert given.dem is not None
    return float((found[:, 0] - given.dem).square().mean().sqrt())


@pytest.fixture
def predictor() -> Photometric:
    return make(Setup(GRID))


def test_it_finds_waves_that_the_bicubic_cannot_see(predictor: Photometric) -> None:
    given = batch(12)
    found = predictor.sample(given, 5, [])
    assert found.shape == (1, 1, SIZE, SIZE)  # one member, whatever is asked for
    assert rmse(found, given) < 0.2 * rmse(given.prior[:, None], given)


def test_block_means_are_those_of_the_a_priori_dem(predictor: Photometric) -> None:
    given = batch(3)
    means = block_mean(predictor.sample(given, 1, [])[:, 0], FACTOR)
    assert_allclose(means, given.lr[:, 2:-2, 2:-2], atol=1e-3)


def test_without_light_it_is_the_a_priori_dem(predictor: Photometric) -> None:
    given = batch(4)
    dark = Batch(**{**vars(given), "images": torch.zeros_like(given.images)})
    wanted = match_block_means(given.prior, given.lr[:, 2:-2, 2:-2], FACTOR)
    assert_allclose(predictor.sample(dark, 1, [])[:, 0], wanted, atol=1e-4)


def test_exposure_does_not_matter(predictor: Photometric) -> None:
    given = batch(6)
    brighter = Batch(**{**vars(given), "images": given.images * 7.5})
    assert_allclose(predictor.sample(brighter, 1, []), predictor.sample(given, 1, []), atol=2e-3)


def test_firm_damping_leaves_the_a_priori_dem(predictor: Photometric) -> None:
    given = batch(6)
    firm = make(Setup(GRID, {"damping": 1e3}))
    moved = [float((p.sample(given, 1, [])[:, 0] - given.prior).square().mean()) for p in (predictor, firm)]
    assert moved[1] < 0.3 * moved[0]
