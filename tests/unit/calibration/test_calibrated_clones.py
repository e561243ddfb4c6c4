"""Calibrated clones: spread by the law of their heights, images and ground, about the estimate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_sets import lambert_set
from numpy.testing import assert_allclose
from torch.testing import assert_close

from pipeline.calibration.fit import (
    QUANTILES,
    UNLIT_PIXELS,
    UNLIT_QUANTILES,
    departures,
    saturated,
)
from pipeline.config.bridge import BridgeSampler
from pipeline.jobs.seeds import seeded
from pipeline.models.apriori import crop_halo
from pipeline.models.calibration import Widened, level, places
from pipeline.models.files import load_system
from pipeline.models.photometric import SetLight, set_radiance
from pipeline.models.system import with_mirrored
from pipeline.storage.calibration_law import BLIND, HEIGHTS, KINDS, Calibration, Curve, Law
from pipeline.terrain.blocks import block_mean
from saved_models import save_system

MEMBERS, SIDE = 16, 80


@given(
    st.lists(st.floats(1e-3, 3), min_size=1, max_size=6, unique_by=lambda v: round(v, 4)),
    st.data(),
)
def test_the_level_is_linear_in_the_logarithm_of_the_spread(
    spreads: list[float], data: st.DataObject
) -> None:
    spreads = sorted(spreads)
    scales = data.draw(st.lists(st.floats(-3, 3), min_size=len(spreads), max_size=len(spreads)))
    x = np.array([*spreads, 1e-5, 0.02, 0.5, 9.0])
    found = level(Curve(tuple(spreads), tuple(scales)), torch.from_numpy(x)).numpy()
    wanted = np.interp(np.log(x), np.log(spreads), scales)
    if len(spreads) > 1:
        wanted -= np.log(np.maximum(x / spreads[-1], 1))
    assert_allclose(found, wanted, atol=1e-9)


def test_beyond_the_last_knot_clones_are_spread_as_at_it() -> None:
    law = Curve((0.1, 0.4), (0.3, 0.9))
    spread = torch.tensor([0.4, 0.8, 40.0])
    assert_close(spread * level(law, spread).exp(), torch.full((3,), 0.4 * math.exp(0.9)))
    rng = np.random.default_rng(0)
    wide = np.exp(rng.normal(-1, 1.5, (SIDE, SIDE)))
    dark = rng.uniform(size=wide.shape) < 0.6
    found = [departures(wide * rng.normal(0, 1, (MEMBERS, SIDE, SIDE)), 0 * wide, 0 * wide, wide, dark)]
    ratio = saturated(found)[0].members / found[0].members
    for which, quantile in ((~found[0].unlit, QUANTILES[-1]), (found[0].unlit, UNLIT_QUANTILES[-1])):
        spread = found[0].spread[which]
        wanted = np.minimum(1, np.quantile(spread, quantile) / spread)
        assert_allclose(ratio[:, which], np.broadcast_to(wanted, ratio[:, which].shape), rtol=1e-5)
    few = replace(found[0], unlit=np.arange(len(found[0].spread)) < UNLIT_PIXELS - 1)
    top = np.quantile(few.spread[~few.unlit], QUANTILES[-1])
    ratio = saturated([few])[0].members / few.members
    assert_allclose(ratio, np.broadcast_to(np.minimum(1, top / few.spread), ratio.shape), rtol=1e-5)


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=3, unique_by=lambda v: round(v, 3)), st.data())
def test_between_laws_sets_are_placed_by_their_noise(noises: list[float], data: st.DataObject) -> None:
    noises = sorted(noises)
    x = np.array([*noises, data.draw(st.floats(1e-4, 2)), 1e-4, 2.0])
    weights = places(tuple(noises), torch.from_numpy(x)).numpy()
    assert_allclose(weights.sum(axis=1), 1)
    assert_allclose(weights[: len(noises)], np.eye(len(noises)), atol=1e-9)
    values = np.arange(len(noises), dtype=float)
    assert_allclose(weights @ values, np.interp(np.log(x), np.log(noises), values), atol=1e-9)


def test_noisy_sets_have_their_own_law() -> None:
    flat = {level: Curve(log_scales=(level,)) for level in (0.2, -0.3)}
    plain, noisy = Law(flat[0.2], flat[0.2]), Law(flat[-0.3], flat[-0.3], 0.5)
    states = torch.ones(2, 1, 32, 32)

    def moved(calibration: Calibration, noise: float) -> torch.Tensor:
        light = SetLight(torch.tensor([noise]), torch.zeros(1, 1, 32, 32, dtype=torch.bool))
        return Widened(calibration)(states, None, light, [seeded(0), seeded(1)]).log()[:, 0, 0, 0]

    both = Calibration((0.011, 0.02), (plain, noisy))
    assert_close(moved(both, 0.01), torch.full((2,), 0.2))
    assert_close(moved(both, 0.03), moved(Calibration((1.0,), (noisy,)), 0.01))
    assert not torch.isclose(*moved(both, 0.03))


def test_each_kind_of_heights_has_its_own_law() -> None:
    """Kinds that were not fitted have that of the same heights with images, or the last."""
    tracks = HEIGHTS[2]
    laws = [Law(Curve(log_scales=(x,)), Curve(log_scales=(x,))) for x in (0.1, 0.2, 0.3)]
    widened = Widened(Calibration((), tuple(laws), kinds=(HEIGHTS[0], tracks, tracks + BLIND)))
    kind = torch.arange(len(KINDS))
    light = SetLight(torch.ones(6), torch.zeros(6, 1, 1, 1, dtype=torch.bool), kind)
    moved = widened(torch.ones(6, 1, 1, 1), None, light, [seeded(k) for k in range(6)]).log().flatten()
    assert_close(moved, torch.tensor([0.1, 0.3, 0.2, 0.1, 0.3, 0.3]))
    with pytest.raises(ValueError, match="expected laws of noises for a network that does not refine"):
        widened(torch.ones(6, 1, 1, 1), None, replace(light, kind=None), [seeded(k) for k in range(6)])


def test_a_network_says_how_noisy_its_images_are_and_where_none_lights(tmp_path: Path) -> None:
    system = load_system(save_system(tmp_path) / "model.safetensors")
    batch = lambert_set(2, 4, size=32, factor=8, halo_cells=2)
    images, valid = batch.images.abs() + 1.0, batch.valid.clone()
    images[0, :, :8] = 0.0
    images[1, :, :8] = -0.05
    images[1, 2, :8, :16] = 1.0
    valid[1, :, -1] = False
    light = system.sample_around(
        replace(batch, images=images, valid=valid), 2, [seeded(0), seeded(1)], BridgeSampler(nfe=1)
    )[3]
    assert_close(light.noise, set_radiance(images, valid, batch.present)[1])
    assert light.noise[1] > 2 * light.noise[0]
    wanted = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    wanted[:, :, :8] = True
    wanted[1, :, :8, :16] = False
    wanted[1, :, -1] = True
    assert torch.equal(light.unlit, wanted)


def test_a_calibrated_system_draws_its_clones_further_from_its_estimate(tmp_path: Path) -> None:
    system = load_system(save_system(tmp_path) / "model.safetensors")
    batch = lambert_set(3, 4, size=32, factor=8, halo_cells=2)
    once = BridgeSampler(nfe=1)

    def drawn(patches: Sequence[int] = range(3)) -> list[torch.Generator]:
        return [seeded(1, k) for k in patches]

    clones, estimate, spread, _ = system.sample_around(batch, 5, drawn(), once)
    assert spread is not None and spread.shape == estimate.shape and bool((spread > 0).all())
    assert_close(system.sample(batch, 5, drawn(), once, mirrored=False), clones)
    half = Curve(log_scales=(0.5,))
    system.widening = Widened(Calibration((1.0,), (Law(half, half, 0.8),)))
    again, same, *_ = system.sample_around(batch, 5, drawn(), once)
    assert torch.equal(again, clones) and torch.equal(same, estimate)
    wider = system.sample(batch, 5, drawn(), once, mirrored=False)
    before, after = clones - estimate[:, None], wider - estimate[:, None]
    ratio = after.flatten(2).norm(dim=2) / before.flatten(2).norm(dim=2)
    assert_close(after, ratio[..., None, None] * before, atol=2e-3, rtol=1e-2)
    assert len(ratio.flatten().unique()) == 15  # a factor of its own for each clone
    z = (ratio.log() - 0.5) / 0.8
    assert abs(z.mean()) < 1 and 0.4 < z.std() < 2
    lr = crop_halo(batch.lr, 4)[:, None].expand(-1, 5, -1, -1)
    assert_close(block_mean(wider, 8), lr, atol=1e-3, rtol=0)
    # A patch's clones are its own, whatever stands beside it.
    row = batch.part(slice(1, 2))
    assert_close(system.sample(row, 5, drawn([1]), once, mirrored=False)[0], wider[1], atol=1e-3, rtol=1e-3)


def test_where_altimetry_is_the_estimate_keeps_a_share_of_its_change_of_the_refined_dem(
    tmp_path: Path,
) -> None:
    system = load_system(save_system(tmp_path, refine=True, noise=0.05) / "model.safetensors")
    batch = lambert_set(2, 4, size=32, factor=8, halo_cells=2)
    assert batch.dem is not None
    spots = torch.zeros(2, 32, 32)
    spots[0, ::3, ::2] = 2.0  # the second patch has cells only
    prior = torch.where(spots[:1].any() & (spots > 0), batch.dem, batch.prior)
    batch = replace(batch, spots=spots, prior=prior, cell_error=torch.tensor([math.inf, 0.0]))

    def estimate(share: float) -> torch.Tensor:
        system.hit_share = share
        return system.sample_around(batch, 2, [seeded(k) for k in range(2)], BridgeSampler(nfe=1))[1]

    none, some, whole = (estimate(share) for share in (0.0, 0.25, 1.0))
    hit = spots > 0
    assert (whole - none)[hit].abs().max() > 0.1
    assert_close(some[hit], torch.lerp(none, whole, 0.25)[hit], atol=1e-3, rtol=0)
    assert torch.equal(some[~hit], whole[~hit])
    clones = system.sample(batch, 4, [seeded(k) for k in range(2)], BridgeSampler(nfe=1))
    assert_close(clones.mean(dim=1), whole, atol=1e-3, rtol=0)


def test_where_the_network_is_less_sure_the_curve_counts() -> None:
    law = Law(Curve((0.1, 0.4), (0.0, 1.0)), Curve((0.1, 0.2), (0.7, 0.7)))
    widened = Widened(Calibration((1.0,), (law,)))
    spread = torch.tensor([0.05, 0.2, 0.4, 0.15, 0.4]).reshape(1, 1, 1, 5)
    light = SetLight(
        torch.tensor([0.01]), torch.tensor([False, False, False, True, True]).reshape(1, 1, 1, 5)
    )
    moved = widened(torch.ones(1, 1, 1, 5), spread, light, [seeded(0)])
    assert_close(moved.log().flatten(), torch.tensor([0.0, 0.5, 1.0, 0.7, 0.7 - math.log(2)]))
    with pytest.raises(ValueError, match="expected one log scale for a network without a spread"):
        widened(torch.ones(1, 1, 1, 5), None, light, [seeded(0)])


def test_over_a_whole_patch_clones_are_no_further_apart_than_the_bound() -> None:
    law = Law(Curve((0.1, 9.0), (0.2, 0.2)), Curve((0.1, 9.0), (0.7, 0.7)), 0.3)
    widened = Widened(Calibration((1.0,), (law,), 0.5))
    spread = torch.full((2, 1, 32, 32), 0.1)
    spread[1, :, :, 16:] = 2.0
    unlit = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    unlit[1, :, :, 24:] = True
    light = SetLight(torch.full((2,), 0.01), unlit)
    members = 4000
    each = [seeded(k, m) for k in range(2) for m in range(members)]
    factor = widened(torch.ones(2 * members, 1, 1, 1), spread, light, each).unflatten(0, (2, members))
    std = spread * factor.square().mean(dim=1).sqrt()
    assert_close(std[0].mean(), 0.1 * torch.tensor(0.2 + 0.3**2).exp(), rtol=0.05, atol=0)
    assert_close(std[1].square().mean().sqrt(), torch.tensor(0.5), rtol=0.05, atol=0)
    assert_close(std[1, 0, 0, 31] / std[1, 0, 0, 17], torch.tensor(0.5).exp(), rtol=1e-3, atol=0)


def test_clones_lie_on_either_side_of_the_estimate_alike(tmp_path: Path) -> None:
    system = load_system(save_system(tmp_path) / "model.safetensors")
    batch = lambert_set(1, 4, size=32, factor=8, halo_cells=2)
    clones, estimate, *_ = system.sample_around(batch, 400, [seeded(2)], BridgeSampler(nfe=1))
    away = (clones - estimate[:, None])[0].flatten(1)
    typical = away.pow(2).mean(dim=0).sqrt()
    assert float((away.mean(dim=0).abs() / typical).mean()) < 1.5 * math.sqrt(2 / math.pi / 400)


@pytest.mark.parametrize("members", [1, 2, 5, 8])
def test_mirrored_clones_have_the_estimate_as_their_mean_and_the_spread_of_independent_ones(
    tmp_path: Path, members: int
) -> None:
    system = load_system(save_system(tmp_path) / "model.safetensors")
    batch = lambert_set(2, 4, size=32, factor=8, halo_cells=2)
    half = Curve(log_scales=(0.5,))
    system.widening = Widened(Calibration((1.0,), (Law(half, half, 0.8),)))
    once = BridgeSampler(nfe=1)
    pairs = (members + 1) // 2
    drawn = system.sample(batch, pairs, [seeded(3), seeded(4)], once, mirrored=False)
    clones = system.sample(batch, members, [seeded(3), seeded(4)], once)
    _, estimate, *_ = system.sample_around(batch, 1, [seeded(0), seeded(1)], once)
    away, each = clones - estimate[:, None], drawn - estimate[:, None]
    assert clones.shape == (2, members, 32, 32)
    assert_close(away[:, 1::2], -away[:, 0::2][:, : members // 2], atol=1e-3, rtol=1e-3)
    if members % 2 == 0:
        assert_close(clones.mean(dim=1), estimate, atol=1e-3, rtol=0)
        assert_close(clones.var(dim=1), each.square().mean(dim=1), atol=1e-3, rtol=1e-3)
    if members == 1:
        assert_close(clones, drawn)


def test_the_variance_of_mirrored_departures_is_that_of_their_law() -> None:
    for members in (2, 3, 6, 7):
        z = torch.randn(20000 * ((members + 1) // 2), 1, generator=seeded(5))
        found = with_mirrored(z, members).unflatten(0, (-1, members)).var(dim=1).mean()
        assert float(found) == pytest.approx(1.0, abs=0.03)


def test_a_system_without_an_estimate_has_no_clones_around_it(tmp_path: Path) -> None:
    system = load_system(save_system(tmp_path, posterior_mean=False, score="squared") / "model.safetensors")
    with pytest.raises(ValueError, match="posterior_mean: expected true"):
        system.sample_around(lambert_set(1, 4, size=32, factor=8, halo_cells=2), 2, [seeded(0)])
