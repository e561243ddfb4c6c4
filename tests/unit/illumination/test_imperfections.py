"""Imperfections: the statistics they are said to have, and nothing but them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.config.imperfections import AlbedoBlocks, AlbedoField, ImperfectionsSection
from pipeline.illumination.imperfections import (
    LEAST_FACTOR,
    albedo_map,
    apply_imperfections,
    block_field,
    gaussian_field,
    median_lit,
    quantised,
    shifted,
    spot_field,
)

SIZE = 24
ONE: dict[str, dict[str, Any]] = {
    "albedo": {"albedo": {"rms": 0.1}},
    "blocks": {"albedo_blocks": {"rms": 0.1, "cell_px": 5}},
    "spots": {"albedo_spots": {"count": 20}},
    "exposure": {"exposure": 0.05},
    "shift": {"shift_px": 0.3},
    "read noise": {"noise": {"snr": 50}},
    "shot noise": {"noise": {"photons": 1000}},
    "sun": {"sun_deg": 0.1},
    "levels": {"quantise_bits": 8},
    "dark level": {"dark": {"offset": 0.02}},
    "ramp": {"dark": {"ramp": 0.02}},
    "saturation": {"saturation": 1.2},
    "wrong Sun": {"wrong": 0.9},
    "clipping": {"clip": 1.0, "dark": {"offset": 0.02}},
}
SUNS = ("sun", "wrong Sun")
ALL = {
    "albedo": {"rms": 0.1},
    "albedo_blocks": {"rms": 0.1},
    "albedo_spots": {"count": 20},
    "exposure": 0.05,
    "shift_px": 0.3,
    "noise": {"snr": 50, "photons": 1000},
    "sun_deg": 0.1,
    "quantise_bits": 12,
    "dark": {"offset": 0.01, "ramp": 0.01},
    "wrong": 0.2,
    "saturation": 4.0,
    "clip": 0.5,
}


def section(**keys: Any) -> ImperfectionsSection:
    return ImperfectionsSection.model_validate(keys)


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, k]) for k in range(count)]


def perfect(counts: tuple[int, ...] = (5, 3, 4), size: int = SIZE) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images with shadows, valid, Suns and present of sets of the given numbers of images, padded."""
    generator = torch.Generator().manual_seed(1)
    present = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    images = torch.rand(len(counts), max(counts), size, size, generator=generator) + 0.2
    images = images * (torch.rand(images.shape, generator=generator) < 0.8) * present[..., None, None]
    valid = (torch.rand(images.shape, generator=generator) < 0.7) & present[..., None, None]
    suns = torch.randn(*present.shape, 3, generator=generator)
    suns = torch.where(
        present[..., None], suns / suns.norm(dim=-1, keepdim=True), torch.tensor([0.0, 0.0, 1.0])
    )
    return images, valid, suns, present


def flat(value: float, images: int = 400, size: int = SIZE) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One set of uniform images."""
    pictures = torch.full((1, images, size, size), value)
    suns = torch.tensor([0.6, 0.0, 0.8]).expand(1, images, 3)
    return (
        pictures,
        torch.ones_like(pictures, dtype=torch.bool),
        suns,
        torch.ones(1, images, dtype=torch.bool),
    )


# --- off, seeds, neighbours, threads --------------------------------------------------------------------


def test_off_gives_back_what_was_given_and_draws_nothing() -> None:
    images, valid, suns, present = perfect()
    for how in (section(), section(albedo={"sigma_px": 3}, albedo_blocks={"cell_px": 4})):
        assert how.off
        rngs = generators(3)
        found = apply_imperfections(images, valid, suns, present, how, rngs)
        assert found[0] is images and found[1] is suns
        assert [r.random() for r in rngs] == [r.random() for r in generators(3)]
        assert apply_imperfections(images, valid, suns, present, how, None)[0] is images


@pytest.mark.parametrize("which", ONE)
def test_each_changes_what_it_should_and_no_input(which: str) -> None:
    given = perfect()
    kept = [x.clone() for x in given]
    assert not section(**ONE[which]).off
    images, suns = apply_imperfections(*given, section(**ONE[which]), generators(3))
    assert all(torch.equal(a, b) for a, b in zip(given, kept))
    assert (images is given[0]) == (which in SUNS)
    assert (suns is given[2]) == (which not in SUNS)
    assert not torch.equal(suns if which in SUNS else images, given[2 if which in SUNS else 0])
    assert images.shape == given[0].shape and images.dtype == torch.float32


def test_seeds_repeat_and_differ() -> None:
    first, again, other = (
        apply_imperfections(*perfect(), section(**ALL), generators(3, s)) for s in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not any(torch.equal(a, b) for a, b in zip(first, other))


def test_strength_makes_everything_so_many_times_as_large() -> None:
    given = perfect()
    twice = ALL | {
        "albedo": {"rms": 0.2}, "albedo_blocks": {"rms": 0.2}, "albedo_spots": {"count": 40}, "exposure": 0.1,
        "shift_px": 0.6, "noise": {"snr": 25, "photons": 250}, "sun_deg": 0.2,
        "dark": {"offset": 0.02, "ramp": 0.02},
    }  # fmt: skip
    for one, other in (
        (section(**ALL, strength=[2, 2]), section(**twice)),
        (section(**ALL).times(1), section(**ALL)),
    ):
        found, wanted = (apply_imperfections(*given, how, generators(3)) for how in (one, other))
        assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])


def test_each_set_draws_a_strength_of_its_own_and_nothing_else_changes() -> None:
    images, valid, suns, present = perfect((1,) * 400, size=4)
    drawn = section(exposure=0.1, strength=[0.25, 4])
    once = apply_imperfections(images, valid, suns, present, section(exposure=0.1), generators(400))[0]
    found = apply_imperfections(images, valid, suns, present, drawn, generators(400))[0]
    gain, other = ((x[:, 0].amax(dim=(1, 2)) / images[:, 0].amax(dim=(1, 2)) - 1) for x in (once, found))
    factor = (other / gain)[(gain > -0.2) & (gain.abs() > 0.01)]
    factor = factor[factor > 0.2].log2()
    assert -2.05 < factor.min() < -1.9 and 1.9 < factor.max() < 2.05
    assert abs(factor.mean()) < 0.2 and abs(factor.std() - 4 / 12**0.5) < 0.15


def test_a_sample_does_not_depend_on_its_neighbours_or_padding() -> None:
    images, valid, suns, present = perfect((5, 3, 4))
    together = apply_imperfections(images, valid, suns, present, section(**ALL), generators(3))
    for k, n in enumerate((5, 3, 4)):
        row, few = slice(k, k + 1), slice(0, n)
        alone = apply_imperfections(
            images[row, few], valid[row, few], suns[row, few], present[row, few], section(**ALL),
            [generators(3)[k]],
        )  # fmt: skip
        assert torch.equal(alone[0][0], together[0][k, :n])
        assert torch.equal(alone[1][0], together[1][k, :n])
        assert torch.equal(together[1][k, n:], suns[k, n:])
        assert not together[0][k, n:].any()


def test_the_number_of_threads_changes_no_bit() -> None:
    given = perfect((40, 30), size=64)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = apply_imperfections(*given, section(**ALL), generators(2))
        torch.set_num_threads(3)
        three = apply_imperfections(*given, section(**ALL), generators(2))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, three))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_changes_no_bit() -> None:
    given = perfect()
    host = apply_imperfections(*given, section(**ALL), generators(3))
    there = apply_imperfections(*(x.cuda() for x in given), section(**ALL), generators(3))
    assert all(torch.equal(a, b.cpu()) for a, b in zip(host, there))


def test_switching_one_on_leaves_the_others_draws() -> None:
    images, valid, suns, present = flat(1.0, images=6)
    gains = apply_imperfections(images, valid, suns, present, section(exposure=0.05), generators(1))[0]
    both = apply_imperfections(
        images, valid, suns, present, section(exposure=0.05, shift_px=0.3, sun_deg=1), generators(1)
    )[0]
    torch.testing.assert_close(both, gains, rtol=1e-6, atol=0)  # a uniform image does not move


def test_sets_without_images_are_left_alone() -> None:
    given = torch.zeros(2, 0, 8, 8), torch.zeros(2, 0, 8, 8) > 0, torch.zeros(2, 0, 3), torch.zeros(2, 0) > 0
    images, suns = apply_imperfections(*given, section(**ALL), generators(2))
    assert images.shape == (2, 0, 8, 8) and suns.shape == (2, 0, 3)


@pytest.mark.parametrize("rngs", [None, 2])
def test_a_generator_is_needed_for_each_sample(rngs: int | None) -> None:
    found = None if rngs is None else generators(rngs)
    message = f"imperfections: expected 3 generators, one per sample, found {rngs}"
    with pytest.raises(ValueError, match=message):
        apply_imperfections(*perfect(), section(exposure=0.1), found)


# --- albedo ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1.5, 6.0])
def test_the_albedo_field_has_its_rms_and_correlation_everywhere(sigma: float) -> None:
    """Autocorrelation exp(-d^2 / (4 sigma^2)), in the corners as in the middle."""
    rng = np.random.default_rng(0)
    fields = np.stack([gaussian_field(48, AlbedoField(rms=0.1, sigma_px=sigma), rng) for _ in range(1500)])
    assert abs(fields.mean()) < 0.005
    assert fields.std() == pytest.approx(0.1, rel=0.03)
    np.testing.assert_allclose(fields[:, ::47, ::47].std(axis=0), 0.1, rtol=0.1)
    for d in (round(sigma), round(2 * sigma), round(4 * sigma)):
        wanted = math.exp(-(d**2) / (4 * sigma**2))
        for a, b in ((fields[:, d:], fields[:, :-d]), (fields[:, :, d:], fields[:, :, :-d])):
            assert (a * b).mean() / 0.01 == pytest.approx(wanted, abs=0.03)


def test_blocks_are_uniform_cells_on_a_grid_that_lies_anywhere() -> None:
    rng = np.random.default_rng(1)
    fields = np.stack([block_field(30, AlbedoBlocks(rms=0.2, cell_px=7), rng) for _ in range(600)])
    assert fields.std() == pytest.approx(0.2, rel=0.03)
    edges = (np.diff(fields, axis=2) != 0).all(axis=1)  # an edge crosses all rows or none
    np.testing.assert_array_equal(edges, (np.diff(fields, axis=2) != 0).any(axis=1))
    first = edges[:, :7].argmax(axis=1)
    assert np.bincount(first, minlength=7).min() > 50
    for row, start in zip(edges, first):
        np.testing.assert_array_equal(np.flatnonzero(row), np.arange(start, 29, 7))


def test_a_blocks_side_may_exceed_the_patch() -> None:
    fields = [block_field(8, AlbedoBlocks(rms=0.2, cell_px=100), np.random.default_rng(k)) for k in range(20)]
    assert sum(len(np.unique(f)) == 1 for f in fields) > 10


def test_spots_are_as_many_as_bright_and_as_wide_as_asked_for() -> None:
    flat = {"excess": {"low": 0.5, "high": 0.5}, "radius_px": {"low": 2.0, "high": 2.0}}
    how = section(albedo_spots={"count": 1.0, **flat}).albedo_spots
    fields = np.stack([spot_field(60, how, np.random.default_rng(k)) for k in range(200)])
    # The mean is count * excess * 2 pi sigma^2 per 1,000 pixels, in the middle and at the edges.
    wanted = 0.001 * 0.5 * 2 * np.pi * 4
    assert fields.mean() == pytest.approx(wanted, rel=0.1)
    assert fields[:, :3].mean() == pytest.approx(wanted, rel=0.25)
    one = fields[np.argmin(np.abs(fields.max(axis=(1, 2)) - 0.5))]
    assert one.min() >= 0 and 0.45 < one.max() < 0.55


def test_the_albedo_stays_positive_and_is_one_for_all_images_of_a_set() -> None:
    how = section(albedo={"rms": 1.0, "sigma_px": 1}, albedo_blocks={"rms": 1.0})
    wild = albedo_map(64, how, *generators(3))
    assert wild.min() == np.float32(LEAST_FACTOR) and wild.max() > 2
    mild = section(albedo={"rms": 0.05}, albedo_blocks={"rms": 0.05}, albedo_spots={"count": 2})
    parts = [
        make(64, part, rng)
        for make, part, rng in zip(
            (gaussian_field, block_field, spot_field),
            (mild.albedo, mild.albedo_blocks, mild.albedo_spots),
            generators(3),
        )
    ]
    np.testing.assert_allclose(albedo_map(64, mild, *generators(3)), 1 + sum(parts), rtol=1e-5)
    images, valid, suns, present = perfect()
    found = apply_imperfections(images, valid, suns, present, section(**ONE["albedo"]), generators(3))
    ratio = torch.where(images > 0, found[0] / images, torch.nan)
    for k in range(3):
        spread = ratio[k].nan_to_num(-1).amax(0) - ratio[k].nan_to_num(9).amin(0)
        assert spread.max() < 1e-5
    assert not torch.allclose(
        found[0][0, 0] / images[0, 0].clamp(min=0.1), found[0][1, 0] / images[1, 0].clamp(min=0.1)
    )
    torch.testing.assert_close(found[0] == 0, images == 0)  # shadows stay


# --- shift ----------------------------------------------------------------------------------------------


@given(st.floats(-6, 6), st.floats(-6, 6))
@settings(max_examples=40, deadline=None)
def test_a_ramp_moves_by_the_shift(down: float, right: float) -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    found = shifted((3 * y + 2 * x)[None], torch.tensor([[down, right]]))[0]
    wanted = 3 * (y - down).clamp(0, 19) + 2 * (x - right).clamp(0, 23)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-4)


def test_a_whole_step_moves_pixels_and_half_a_step_blends_two() -> None:
    images = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(0))
    found = shifted(images, torch.tensor([[1.0, -2.0], [0.0, 0.0], [0.5, 0.0]]))
    assert torch.equal(found[0, 1:, :-2], images[0, :-1, 2:])
    assert torch.equal(found[1], images[1])
    torch.testing.assert_close(found[2, 1:], (images[2, 1:] + images[2, :-1]) / 2)
    assert torch.equal(found[2, 0], images[2, 0])


def test_images_of_a_set_move_apart_by_the_standard_deviation() -> None:
    """Displacements read off a ramp along each axis."""
    _, valid, suns, present = flat(0.0, images=1500)
    ramp = torch.arange(24.0) + 100
    for axis, image in ((0, ramp[:, None].expand(24, 24)), (1, ramp.expand(24, 24))):
        images = image.expand(1, 1500, 24, 24)
        found = apply_imperfections(images, valid, suns, present, section(shift_px=0.3), generators(1))[0]
        moved = (image[12, 12] - found[0, :, 12, 12]).numpy()
        assert moved.std() == pytest.approx(0.3, rel=0.06), axis
        assert abs(moved.mean()) < 0.03


# --- exposure, noise, levels ----------------------------------------------------------------------------


def test_each_image_has_a_gain_of_its_own() -> None:
    found = apply_imperfections(*flat(0.5, images=3000, size=4), section(exposure=0.05), generators(1))[0][0]
    assert (found == found[:, :1, :1]).all()
    gains = found[:, 0, 0] / 0.5
    assert gains.mean() == pytest.approx(1, abs=0.004)
    assert gains.std() == pytest.approx(0.05, rel=0.05)
    wild = apply_imperfections(*flat(1.0, images=3000, size=4), section(exposure=1.0), generators(1))[0]
    assert wild.min() == pytest.approx(LEAST_FACTOR)


def test_read_noise_is_the_median_over_snr_in_light_and_shadow() -> None:
    images, valid, suns, present = flat(0.4)
    images[..., :8] = 0
    found = apply_imperfections(images, valid, suns, present, section(noise={"snr": 20}), generators(1))[0]
    error = (found - images)[0]
    for part in (error[..., :8], error[..., 8:]):
        assert part.mean() == pytest.approx(0, abs=5e-4)
        assert part.std() == pytest.approx(0.02, rel=0.02)
    assert (found[..., :8] < 0).float().mean() == pytest.approx(0.5, abs=0.02)
    pixels = error.flatten(1).numpy()
    assert abs(np.corrcoef(pixels[:, :40].T)[np.triu_indices(40, 1)]).mean() < 0.06  # white
    assert abs((pixels[0] * pixels[1]).mean()) < 1e-4  # anew for each image


def test_shot_noise_grows_with_the_signal() -> None:
    """Variance I m / photons; none in shadow."""
    images, valid, suns, present = flat(0.4)
    images[..., :6], images[..., 6:9] = 0, 1.6
    how = section(noise={"photons": 2500})
    error = (apply_imperfections(images, valid, suns, present, how, generators(1))[0] - images)[0]
    assert not error[..., :6].any()
    assert error[..., 9:].std() == pytest.approx(0.4 / 50, rel=0.02)
    assert error[..., 6:9].std() == pytest.approx(2 * 0.4 / 50, rel=0.02)
    how = section(noise={"photons": 2500, "snr": 50})
    error = (apply_imperfections(images, valid, suns, present, how, generators(1))[0] - images)[0]
    assert error[..., 9:].std() == pytest.approx(math.sqrt(2) * 0.4 / 50, rel=0.02)


def test_the_median_is_of_what_is_lit_and_seen() -> None:
    images, valid, _, _ = perfect((5, 3, 4), size=48)
    images = torch.where(valid, images, 5.0)
    for k in range(3):
        wanted = images[k][valid[k] & (images[k] > 0)].median()
        assert median_lit(images[k], valid[k]) == pytest.approx(float(wanted), rel=0.1)
    images[1] = 0
    assert median_lit(images[1], valid[1]) == 0
    dark = apply_imperfections(
        images, valid, torch.zeros(3, 5, 3), valid.any(-1).any(-1), section(noise={"snr": 9}), generators(3)
    )[0]
    assert not dark[1].any()


@pytest.mark.parametrize("bits", [8, 12])
def test_levels_are_whole_steps_of_the_sets_largest_radiance(bits: int) -> None:
    images, valid, _, _ = perfect()
    images[0, 0, 0, 0] = -0.1
    valid[0, 1, 2, 2], images[0, 1, 2, 2] = False, 50.0  # not seen: sets no scale
    found = torch.stack([quantised(x, seen, bits) for x, seen in zip(images, valid)])
    for k in range(3):
        step = (images[k] * valid[k]).max() / (2**bits - 1)
        codes = found[k] / step
        torch.testing.assert_close(codes, codes.round(), atol=2e-3, rtol=1e-6)
        assert (codes * valid[k]).max() == pytest.approx(2**bits - 1)
        assert (found[k] - images[k]).abs().max() <= 0.5001 * step
    assert found[0, 0, 0, 0] < 0
    assert not quantised(torch.zeros(2, 4, 4), torch.ones(2, 4, 4) > 0, bits).any()


# --- the Sun --------------------------------------------------------------------------------------------


def test_the_suns_direction_is_known_with_the_given_error() -> None:
    """Both components across the true direction have the deviation; the vectors stay unit vectors."""
    images, valid, suns, present = flat(1.0, images=4000, size=2)
    found_images, found = apply_imperfections(
        images, valid, suns, present, section(sun_deg=0.5), generators(1)
    )
    assert found_images is images
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(1, 4000))
    error = found[0] - suns[0]
    for axis in ([0.0, 1.0, 0.0], [0.8, 0.0, -0.6]):
        component = torch.rad2deg(error @ torch.tensor(axis))
        assert component.std() == pytest.approx(0.5, rel=0.04)
        assert abs(component.mean()) < 0.04
    wild = apply_imperfections(images, valid, suns, present, section(sun_deg=45), generators(1))[1]
    assert wild.isfinite().all()


# --- dark level, saturation, clipping, wrong images -------------------------------------------------------


def test_frames_of_one_id_share_the_error_of_their_dark_level() -> None:
    images, valid, suns, present = flat(0.5, images=6, size=8)
    suns = suns.clone()
    suns[0, 3:] = torch.tensor([0.0, 0.6, 0.8])  # three Suns that are equal, after three of another kind
    suns[0, :3, 0] = torch.tensor([0.1, 0.2, 0.3])
    how = {"offset": 0.1, "ramp": 0.1}
    error = [
        (apply_imperfections(images, valid, suns, present, section(dark=dark), generators(1))[0] - images)[0]
        for dark in (how, how | {"pairs": True})
    ]
    torch.testing.assert_close(error[1][:4], error[0][:4])
    torch.testing.assert_close(error[1][4:], error[1][3:4].expand(2, -1, -1))
    assert not torch.allclose(error[0][4], error[0][3])


def test_the_dark_level_is_off_by_a_share_of_the_lit_median() -> None:
    """A constant per image, also in shadow; a ramp has it across the image, in any direction."""
    images, valid, suns, present = flat(0.5, images=2000, size=8)
    how = section(dark={"offset": 0.1})
    error = (apply_imperfections(images, valid, suns, present, how, generators(1))[0] - images)[0]
    assert error.std(dim=(1, 2)).max() < 1e-6
    assert error[:, 0, 0].std() == pytest.approx(0.05, rel=0.06)
    assert error[:, 0, 0].mean() == pytest.approx(0, abs=0.004)
    how = section(dark={"ramp": 0.1})
    error = (apply_imperfections(images, valid, suns, present, how, generators(1))[0] - images)[0]
    assert error.mean(dim=(1, 2)).abs().max() < 1e-6
    # From the first pixel's centre to the last one's are 7 of 8 parts of the side.
    for steps in (error[:, -1, 0] - error[:, 0, 0], error[:, 0, -1] - error[:, 0, 0]):
        assert steps.std() == pytest.approx(0.05 * 7 / 8, rel=0.06)


def test_bright_pixels_saturate_and_negative_ones_are_clipped_in_a_share_of_the_sets() -> None:
    images, valid, suns, present = flat(0.5, images=4)
    images[..., :2] = 3.0
    found = apply_imperfections(images, valid, suns, present, section(saturation=2.0), generators(1))[0]
    assert found.max() == pytest.approx(1.0) and torch.equal(found[..., 2:], images[..., 2:])
    dark = torch.zeros(60, 2, 9, 9)
    dark[..., :3] = 0.5
    many = dark, torch.ones_like(dark) > 0, suns[:, :2].expand(60, 2, 3), present[:, :2].expand(60, 2)
    how = section(noise={"snr": 20}, clip=0.3)
    found = apply_imperfections(*many, how, generators(60))[0]
    clipped = [not (part < 0).any() for part in found]
    assert 0.1 < np.mean(clipped) < 0.5
    plain = apply_imperfections(*many, section(noise={"snr": 20}), generators(60))[0]
    for one, other, cut in zip(found, plain, clipped):
        assert torch.equal(one, other.clamp(min=0) if cut else other)


def test_a_share_of_the_suns_is_turned_by_any_angle_and_as_high_as_before() -> None:
    images, valid, suns, present = flat(0.5, images=3000, size=3)
    found = apply_imperfections(images, valid, suns, present, section(wrong=0.2), generators(1))[1][0]
    turn = torch.atan2(found[:, 0], found[:, 1]) - math.pi / 2
    moved = turn.abs() > 1e-5
    assert moved.float().mean() == pytest.approx(0.2, abs=0.03)
    assert torch.equal(found[:, 2], suns[0, :, 2])
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3000))
    assert (found[moved, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.07)
