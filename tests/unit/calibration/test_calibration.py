"""Calibration: the fitted law makes clones as far apart as they are wrong; its file is that of its model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
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
    LOG_SPREADS,
    PIXEL_STEP,
    QUANTILES,
    UNLIT_PIXELS,
    UNLIT_QUANTILES,
    Departures,
    Floats,
    Pixels,
    curve,
    departures,
    fit,
    saturated,
    scores,
    unlit_curve,
)
from pipeline.calibration.sets import known_heights
from pipeline.calibration.stage import Kind, distinguishable
from pipeline.config.bridge import BridgeSampler
from pipeline.config.scene_draw import SceneDraw
from pipeline.evaluation.metrics import PatchScores
from pipeline.jobs.seeds import seeded
from pipeline.models.apriori import crop_halo
from pipeline.models.calibration import Widened, level, load_calibrated, places
from pipeline.models.files import load_system, model_config
from pipeline.models.photometric import SetLight, set_radiance
from pipeline.models.system import with_mirrored
from pipeline.storage.calibration_law import BLIND, HEIGHTS, KINDS, Calibration, Curve, Law, read_calibration
from pipeline.terrain.blocks import block_mean
from saved_models import save_system

PATCHES, MEMBERS, SIDE = 120, 16, 80
LIT = np.zeros((SIDE, SIDE), bool)


def ensemble(level: Callable[[Floats], Floats], tail: float, seed: int = 0) -> list[Departures]:
    """Patches whose truth departs exp(level(log spread) + tail z) times as far as a clone."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(PATCHES):
        spread = np.exp(rng.normal(-1, 0.8, (SIDE, SIDE)))
        estimate = rng.normal(0, 1, (SIDE, SIDE))
        members = estimate + spread * rng.normal(0, 1, (MEMBERS, SIDE, SIDE))
        wider = np.exp(level(np.log(spread)) + tail * rng.normal()) * spread
        truth = estimate + wider * rng.normal(0, 1, (SIDE, SIDE))
        out.append(departures(members, estimate, truth, spread, LIT))
    return out


LAWS = {
    "as drawn": lambda x: 0 * x,
    "wider": lambda x: 0 * x + 0.7,
    "narrower": lambda x: 0 * x - 0.5,
    "bent": lambda x: 0.6 * np.maximum(x + 1, 0),
}


@pytest.mark.parametrize("tail", [0.0, 0.5])
@pytest.mark.parametrize("law", LAWS)
def test_the_fit_finds_the_law_of_the_error(law: str, tail: float) -> None:
    found = fit(ensemble(LAWS[law], tail), 0, flat_pixels=120)
    # Narrow laws of the factor are hard to tell from none: ranks hardly see them.
    assert found["log_spread"] == pytest.approx(tail, abs=0.11 if tail else 0.31)
    assert found["log_spread"] in LOG_SPREADS
    knots, levels = (np.array(found["lit"][name]) for name in ("spreads_px", "log_scales"))
    assert list(knots) == sorted(knots) and len(levels) == len(knots) == len(QUANTILES)
    # Second moments fix level + tail^2; where few pixels are, belief in a flat curve counts.
    wanted = LAWS[law](np.log(knots)) + tail**2
    assert_allclose((levels + found["log_spread"] ** 2)[:-1], wanted[:-1], atol=0.2)
    assert found["spread_skill_fair"] == pytest.approx(1, abs=0.05)
    assert found["rank_js_distance"] < 0.04
    if law != "as drawn":
        assert abs(found["spread_skill_fair_before"] - 1) > 0.15


def test_belief_holds_the_curve_flat_where_few_pixels_are() -> None:
    found = ensemble(LAWS["bent"], 0.0)
    bends = [np.ptp(fit(found, 0, pixels)["lit"]["log_scales"]) for pixels in (120, 2400, 1.2e6)]
    assert bends[0] > 1.2 * bends[1] > bends[2] and bends[2] < 0.02


def test_a_curve_that_turns_at_a_knot_is_found_exactly() -> None:
    rng = np.random.default_rng(3)
    spread = np.exp(rng.uniform(-3, 1, 200_000))
    bend = np.log(np.quantile(spread, 0.5))
    factor = np.exp(np.clip(np.log(spread) - bend, 0, np.log(np.quantile(spread, 0.995)) - bend))
    knots, levels = curve(Pixels(spread, spread**2, (factor * spread) ** 2))
    assert_allclose(knots, np.quantile(spread, QUANTILES))
    assert_allclose(levels, np.maximum(np.log(knots) - bend, 0), atol=0.1)
    assert np.mean(np.exp(2 * np.interp(np.log(spread), np.log(knots), levels)) * spread**2) == pytest.approx(
        np.mean((factor * spread) ** 2)
    )


def test_spreads_that_are_all_the_same_have_one_level() -> None:
    knots, levels = curve(Pixels(np.full(50, 0.3), np.full(50, 2.0), np.full(50, 8.0)))
    assert_allclose(knots, [1.0])
    assert_allclose(levels, [np.log(2)])


def test_the_fit_is_a_function_of_its_seed() -> None:
    found = ensemble(LAWS["bent"], 0.3)[:20]
    assert fit(found, 1) == fit(found, 1)


def test_scores_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(5)
    rows = slice(PIXEL_STEP // 2, None, PIXEL_STEP)
    estimate, truth = rng.normal(size=(2, 4, SIDE, SIDE))
    members = estimate[:, None] + rng.normal(size=(4, MEMBERS, SIDE, SIDE))
    factors = np.exp(rng.normal(size=(4, MEMBERS, 1, 1)))
    metrics = PatchScores(1.0)
    for k in range(4):
        moved = estimate[k] + factors[k] * (members[k] - estimate[k])
        metrics.add_ensemble(moved[:, rows, rows], truth[k, rows, rows], rng)
    found = [departures(members[k], estimate[k], truth[k], None, LIT) for k in range(4)]
    ratio, distance = scores(found, list(factors[..., 0]), rng)
    summary = metrics.summary(10, 0)
    assert ratio == pytest.approx(summary["spread_skill_fair"], rel=1e-5)
    assert distance == pytest.approx(summary["rank_js_distance"], abs=1e-6)


@pytest.mark.parametrize(
    ("apriori", "off", "kinds"),
    [("mixed", 0.2, [0, 1, 2]), ("mixed", 0.0, [0, 2]), ("cells", 1.0, [1]), ("altimetry", 0.2, [2])],
)
def test_rendered_scenes_have_a_law_for_each_a_priori_dem(apriori: str, off: float, kinds: list[int]) -> None:
    draw = SceneDraw(apriori=apriori, cell_error_share=off, images_power=2.0)
    names, found = zip(*known_heights(draw))
    assert list(names) == [HEIGHTS[k] for k in kinds]
    assert kinds == [2 if s.apriori == "altimetry" else int(s.cell_error_share) for s in found]
    assert all(s.images_power == 2.0 for s in found)
    tracks = [s.altimetry for s in found if s.apriori == "altimetry"]
    assert all((each.shifted, each.adjusted, each.exact) == (0, 1, 0) for each in tracks)


def test_clones_that_are_all_the_same_cannot_be_calibrated() -> None:
    flat = np.zeros((MEMBERS, SIDE, SIDE))
    with pytest.raises(ValueError, match="expected clones that differ"):
        fit([departures(flat, flat[0], flat[0] + 1, None, LIT)] * 3, 0)
    with pytest.raises(ValueError, match="expected images that light validation patches"):
        fit([departures(flat, flat[0], flat[0] + 1, None, ~LIT)] * 3, 0)


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


def test_a_margin_widens_the_clones_of_sets_with_images() -> None:
    found = ensemble(LAWS["wider"], 0.0)[:6]

    def levels(name: str, margin: float) -> list[float]:
        law = Kind(found, 0.01, 0.2, name=name).law(0, margin)
        return law["lit"]["log_scales"] + law["unlit"]["log_scales"]

    for name in ("", HEIGHTS[2]):
        assert_allclose(np.subtract(levels(name, 1.2), levels(name, 1.0)), math.log(1.2), atol=2e-4)
    assert levels(HEIGHTS[2] + BLIND, 1.2) == levels(HEIGHTS[2], 1.0)


def test_kinds_whose_noise_is_alike_have_one_law() -> None:
    found = ensemble(LAWS["wider"], 0.0)[:4]
    noisy, plain = Kind(found[:1], 0.05, 0.2, found[:2]), Kind(found[1:], 0.01, 0.3, found[:3])
    assert distinguishable([noisy, plain]) == [plain, noisy]
    (both,) = distinguishable([plain, Kind(found[:1], 0.0115, 0.2, found[:2])])
    assert both.noise == 0.01 and both.prior_px == 0.3
    assert len(both.validation) == 4 and len(both.trained) == 5
    assert distinguishable([noisy]) == [noisy]


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


@pytest.mark.parametrize("value", [None, 0.0, -1, True, "far", float("nan"), float("inf")])
def test_an_impossible_bound_is_refused(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "c.json", most_px=value)
    with pytest.raises(ValueError, match=r"c\.json: expected most_px, a number above 0, found"):
        read_calibration(path, "m")


def test_where_no_image_lights_the_ground_the_fit_has_a_level_of_its_own() -> None:
    rng = np.random.default_rng(4)
    found = ensemble(LAWS["narrower"], 0.0)
    dark = [rng.uniform(size=len(d.truth)) < 0.05 for d in found]
    found = [
        replace(d, unlit=unlit, truth=np.where(unlit, d.truth * np.exp(1.2), d.truth))
        for d, unlit in zip(found, dark)
    ]
    law = fit(found, 0)
    level = law["log_spread"] ** 2
    assert_allclose(np.array(law["lit"]["log_scales"])[1:-1] + level, -0.5, atol=0.1)
    assert_allclose(np.array(law["unlit"]["log_scales"]) + level, 0.7, atol=0.1)
    assert len(law["unlit"]["spreads_px"]) == len(UNLIT_QUANTILES)
    assert law["spread_skill_fair"] == pytest.approx(1, abs=0.05)
    lit = [replace(d, unlit=np.zeros_like(d.unlit)) for d in found]
    assert fit(lit, 0)["unlit"] == fit(lit, 0)["lit"]


def test_dark_pixels_have_one_level_and_a_few_of_them_that_of_the_others() -> None:
    spread, one = np.array([0.1, 0.2]), np.ones(2)
    knots, levels = unlit_curve(Pixels(spread, one, 9 * one))
    assert_allclose(levels, math.log(3))
    assert 0.1 <= knots[0] < knots[1] <= 0.2
    assert_allclose(unlit_curve(Pixels(one, one, 9 * one)), [[1.0], [math.log(3)]])
    found = ensemble(LAWS["narrower"], 0.0)[:10]
    few = np.arange(len(found[0].truth)) < UNLIT_PIXELS // 10 - 1
    law = fit([replace(d, unlit=few, truth=np.where(few, 9.0, d.truth)) for d in found], 0)
    assert law["unlit"] == law["lit"]


def test_training_patches_count_where_they_ask_for_more_and_images_light_the_ground() -> None:
    held_out, rough = ensemble(LAWS["as drawn"], 0.0)[:60], ensemble(LAWS["wider"], 0.0, seed=1)[:60]
    smooth = ensemble(LAWS["narrower"], 0.0, seed=1)[:60]
    alone = fit(held_out, 0)
    assert fit(held_out, 0, trained=smooth) == alone
    both = fit(held_out, 0, trained=rough)
    assert both["lit"]["spreads_px"] == fit([*held_out, *rough], 0)["lit"]["spreads_px"]
    level = np.mean(both["lit"]["log_scales"]) + both["log_spread"] ** 2
    assert level == pytest.approx(0.5 * math.log((1 + math.exp(2 * 0.7)) / 2), abs=0.1)
    dark = [replace(d, unlit=~d.unlit) for d in rough]
    assert fit(held_out, 0, trained=dark)["lit"] == alone["lit"]


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


CURVE = {"spreads_px": [0.02, 0.1], "log_scales": [0.2, -0.1]}
LAW = {"noise": 0.01, "lit": CURVE, "unlit": {"spreads_px": [0.03], "log_scales": [0.6]}, "log_spread": 0.7}


def write(
    path: Path, model: str = "m", laws: object = None, most_px: object = 0.3, **changed: object
) -> Path:
    rows = [{**LAW, **changed}] if laws is None else laws
    content = {"schema": "calibration/4", "model": model, "most_px": most_px, "laws": rows}
    path.write_text(json.dumps(content))
    return path


def test_a_calibration_is_that_of_its_model(tmp_path: Path) -> None:
    model = save_system(tmp_path) / "model.safetensors"
    mark = model_config(model, "bridge")["fingerprint"]
    path = write(tmp_path / "c.json", mark)
    law = Calibration((0.01,), (Law(Curve((0.02, 0.1), (0.2, -0.1)), Curve((0.03,), (0.6,)), 0.7),), 0.3)
    assert load_calibrated(model, calibration=path).widening == Widened(law)
    assert load_calibrated(model).widening is None
    with pytest.raises(ValueError, match=r"c\.json: expected the calibration of the model f00, found"):
        read_calibration(path, "f00")


@pytest.mark.parametrize("value", [None, "wide", float("nan"), float("inf"), 11, -0.1, True, [0.1]])
def test_an_impossible_tail_is_refused(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "c.json", log_spread=value)
    with pytest.raises(ValueError, match=r"c\.json: expected log_spread from 0 to 10, found"):
        read_calibration(path, "m")


@pytest.mark.parametrize("value", [None, 0.1, [], [0.1], [0.1, 0.2, 0.3], [0.1, float("nan")], [0.1, -11]])
@pytest.mark.parametrize("name", ["lit", "unlit"])
def test_impossible_levels_are_refused(tmp_path: Path, name: str, value: object) -> None:
    path = write(tmp_path / "c.json", **{name: {**CURVE, "log_scales": value}})
    with pytest.raises(ValueError, match=rf"c\.json: {name}: expected log_scales, one for each of spreads"):
        read_calibration(path, "m")


@pytest.mark.parametrize("value", [None, [], [0.0, 0.1], [0.1, 0.1], [0.2, 0.1], [0.1, "wide"]])
@pytest.mark.parametrize("name", ["lit", "unlit"])
def test_impossible_spreads_are_refused(tmp_path: Path, name: str, value: object) -> None:
    path = write(tmp_path / "c.json", **{name: {**CURVE, "spreads_px": value}})
    with pytest.raises(ValueError, match=rf"c\.json: {name}: expected spreads_px that rise from above 0"):
        read_calibration(path, "m")


@pytest.mark.parametrize("value", [None, [0.1], "curve"])
def test_an_absent_curve_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"c\.json: unlit: expected a curve, found"):
        read_calibration(write(tmp_path / "c.json", unlit=value), "m")


@pytest.mark.parametrize("noises", [[0.0], [0.02, 0.01], [0.01, 0.01], [None], ["loud"], [float("nan")]])
def test_impossible_noises_are_refused(tmp_path: Path, noises: list[object]) -> None:
    path = write(tmp_path / "c.json", laws=[{**LAW, "noise": noise} for noise in noises])
    with pytest.raises(ValueError, match=r"c\.json: expected laws whose noise rises from above 0, found"):
        read_calibration(path, "m")


def test_laws_of_kinds_are_read(tmp_path: Path) -> None:
    def rows(*kinds: str) -> list[object]:
        return [{"kind": kind, **{k: v for k, v in LAW.items() if k != "noise"}} for kind in kinds]

    found = read_calibration(write(tmp_path / "c.json", laws=rows(*KINDS[1:3])), "m")
    assert found.kinds == KINDS[1:3] and found.noises == () and len(found.laws) == 2
    for wrong in (rows("altimetry", "altimetry"), rows("radar"), [*rows("altimetry"), LAW]):
        with pytest.raises(ValueError, match=r"c\.json: expected laws of different kinds of"):
            read_calibration(write(tmp_path / "c.json", laws=wrong), "m")


@pytest.mark.parametrize("laws", [[], {}, "law", [0.1]])
def test_absent_laws_are_refused(tmp_path: Path, laws: object) -> None:
    with pytest.raises(ValueError, match=r"c\.json: expected laws, one or more, found"):
        read_calibration(write(tmp_path / "c.json", laws=laws), "m")


def test_an_absent_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"c\.json: expected a calibration, found no file"):
        read_calibration(tmp_path / "c.json", "m")
    (tmp_path / "c.json").write_text('{"schema": "model/1"}')
    with pytest.raises(ValueError, match=r"c\.json"):
        read_calibration(tmp_path / "c.json", "m")
