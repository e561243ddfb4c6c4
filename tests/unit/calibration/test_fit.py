"""Calibration: the fitted law makes clones as far apart as they are wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

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
    scores,
    unlit_curve,
)
from pipeline.calibration.sets import known_heights
from pipeline.calibration.stage import Kind, distinguishable
from pipeline.config.scene_draw import SceneDraw
from pipeline.evaluation.metrics import PatchScores
from pipeline.storage.calibration_law import BLIND, HEIGHTS

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
