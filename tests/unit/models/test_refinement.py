"""The Gauss-Newton refinement of a priori DEMs by images and altimetry."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest
import torch
from model_sets import lambert_set
from torch import Tensor

from pipeline.models.apriori import fill
from pipeline.models.batch import Batch
from pipeline.models.refinement import refined
from pipeline.models.refinement_images import ALBEDO, light_of, linearised
from pipeline.models.refinement_slopes import slopes_adjoint, slopes_of
from pipeline.terrain.blocks import block_mean

FACTOR = 8


def sets(images: int = 12, **more: object) -> Batch:
    """Sample sets of 48 pixels with a halo, as networks take them."""
    return lambert_set(batch=2, images=images, size=48, factor=FACTOR, halo_cells=1, **more)


def rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def test_slopes_have_their_adjoint():
    generator = torch.Generator().manual_seed(1)
    z, right, up = torch.randn(3, 2, 20, 24, dtype=torch.float64, generator=generator)
    along, upward = slopes_of(z)
    one = (along * right + upward * up).sum()
    assert one.item() == pytest.approx((z * slopes_adjoint(right, up)).sum().item())


def test_slopes_of_a_plane_and_a_short_wave():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    right, up = slopes_of((0.3 * x + 0.2 * y)[None])
    torch.testing.assert_close(right, torch.full((1, 40, 48), 0.3))
    torch.testing.assert_close(up, torch.full((1, 40, 48), -0.2))
    wave = torch.sin(torch.pi / 2 * x)[None]
    right, _ = slopes_of(wave)
    # 4/3 sin(k) - 1/6 sin(2k) at k = pi / 2, where the slope is pi / 2.
    assert right[0, 0, 2:-2].abs().max().item() == pytest.approx(4 / 3, rel=1e-5)


def test_images_bring_the_a_priori_dem_to_the_truth_and_keep_its_block_means():
    batch = sets()
    out = refined(batch, FACTOR).batch
    assert rms(out.prior - batch.dem) < 0.35 * rms(batch.prior - batch.dem)
    off = block_mean(out.prior, FACTOR) - block_mean(batch.dem, FACTOR)
    assert rms(off) < 0.02 * float(batch.pixel_m[0])


def test_normal_equations_are_the_derivative_of_the_misfit():
    batch = sets(images=4)
    height = (batch.prior / batch.pixel_m[:, None, None]).double()
    light = light_of(batch)
    # Exposure, haze and shift are held where they are, albedos too, and no residual is large.
    normal, fits, _ = linearised(height.float(), light, 100.0)
    z = height.clone().requires_grad_()
    p, q = slopes_of(z)
    upright = torch.rsqrt(1 + p**2 + q**2)
    sun = batch.sun.double()[..., None, None]
    shading = (sun[:, :, 2] - sun[:, :, 0] * p[:, None] - sun[:, :, 1] * q[:, None]) * upright[:, None]
    gain, haze, right, lower = (torch.from_numpy(fits)[..., k, None, None] for k in range(4))
    fixed = shading.detach()
    along, down = torch.zeros_like(fixed), torch.zeros_like(fixed)
    along[..., 1:-1] = 0.5 * (fixed[..., 2:] - fixed[..., :-2])
    down[..., 1:-1, :] = 0.5 * (fixed[..., 2:, :] - fixed[..., :-2, :])
    moved = right * along + lower * down
    lit = torch.from_numpy(light.lit) & (fixed > 0)
    left = (batch.images.double() - haze - moved) / gain - shading
    sigma2 = (0.02 * torch.from_numpy(light.level)[..., None, None] / gain) ** 2 + (100.0 * fixed) ** 2
    weight = lit / sigma2
    # Eliminating a pixel's albedo r minimises over it: sum w (left - r R)^2 + r^2 / s^2.
    free = (weight * fixed**2).sum(1) + 1 / ALBEDO**2
    albedo = (weight * fixed * left).sum(1) / free
    misfit = (weight * (left - albedo[:, None] * fixed) ** 2).sum(1) + (albedo / ALBEDO) ** 2
    misfit = 0.5 * misfit
    (gradient,) = torch.autograd.grad(misfit[:, 4:-4, 4:-4].sum(), z)
    inside = torch.zeros_like(misfit)
    inside[:, 4:-4, 4:-4] = 1.0
    x = (normal.x - normal.xx * p.float() - normal.xy * q.float()) * inside
    y = (normal.y - normal.xy * p.float() - normal.yy * q.float()) * inside
    found = -slopes_adjoint(x.double().detach(), y.double().detach())
    # Weights depend on the shading by the small share of images' errors; `albedo` is at its minimum.
    assert torch.nn.functional.cosine_similarity(found.flatten(), gradient.flatten(), dim=0) > 0.999
    assert found.norm().item() == pytest.approx(gradient.norm().item(), rel=0.02)


def test_cameras_are_taken_off():
    clean = sets()
    gain = torch.linspace(0.7, 1.4, 12)[None, :, None, None]
    level = clean.images.mean(dim=(2, 3), keepdim=True)
    haze = torch.linspace(-0.02, 0.03, 12)[None, :, None, None] * level
    seen = replace(clean, images=clean.images * gain + haze)
    one, other = refined(clean, FACTOR), refined(seen, FACTOR)
    assert rms(other.batch.prior - clean.dem) < 1.2 * rms(one.batch.prior - clean.dem)
    ratio = other.batch.images.mean(dim=(2, 3)) / one.batch.images.mean(dim=(2, 3))
    assert rms(ratio - 1) < 0.03


def test_images_are_moved_back():
    clean = sets(seed=3)
    moved = replace(clean, images=clean.images.roll(1, dims=3))
    still = refined(replace(clean, prior=clean.dem), FACTOR).batch.images
    back = refined(replace(moved, prior=clean.dem), FACTOR).batch.images
    away = (moved.images - clean.images)[..., 4:-4, 4:-4]
    left = (back - still)[..., 4:-4, 4:-4] * clean.images.mean() / still.mean()
    assert rms(left) < 0.6 * rms(away)


def test_pixels_that_are_not_expected_to_be_lit_tell_nothing():
    batch = sets()
    everywhere = torch.ones_like(batch.valid)
    one = refined(replace(batch, expected=everywhere), FACTOR).batch
    torch.testing.assert_close(one.prior, refined(batch, FACTOR).batch.prior)
    # Half of every image darkened as by a penumbra, which its shading does not explain.
    darkened = batch.images.clone()
    darkened[..., 24:] *= 0.6
    seen = everywhere.clone()
    seen[..., 24:] = False
    fooled = refined(replace(batch, images=darkened), FACTOR).batch.prior
    told = refined(replace(batch, images=darkened, expected=seen), FACTOR).batch.prior
    off = [(each - batch.dem)[..., :20] for each in (told, fooled)]
    assert rms(off[0]) < 0.8 * rms(off[1])
    nowhere = refined(replace(batch, expected=~everywhere), FACTOR).batch.prior
    without = refined(replace(batch, present=torch.zeros_like(batch.present)), FACTOR).batch.prior
    torch.testing.assert_close(nowhere, without, atol=1e-3, rtol=0)


def test_an_image_under_another_sun_is_left_out():
    batch = sets()
    lowest = batch.sun[..., 2].argmin(dim=1)
    rows = torch.arange(2)
    sun = batch.sun.clone()
    sun[rows, lowest, :2] *= -1
    left_out = ~refined(replace(batch, sun=sun), FACTOR).batch.present
    assert left_out[rows, lowest].all() and left_out.sum() == 2
    assert refined(batch, FACTOR).batch.present.all()


def test_without_images_the_dem_meets_its_cells_and_is_no_worse():
    batch = sets()
    batch = replace(batch, present=torch.zeros_like(batch.present))
    out = refined(batch, FACTOR)
    assert rms(out.batch.prior - batch.dem) <= rms(batch.prior - batch.dem)
    off = block_mean(out.batch.prior - batch.dem, FACTOR)
    assert rms(off) < 0.3 * rms(block_mean(batch.prior - batch.dem, FACTOR))
    assert torch.isfinite(out.about).all()


def test_spots_are_fitted_and_gaps_are_filled_better_than_by_averages():
    batch = sets()
    generator = torch.Generator().manual_seed(2)
    hit = torch.rand(batch.dem.shape, generator=generator) < 0.15
    filled = fill(batch.dem, hit)
    batch = replace(
        batch, prior=filled, spots=hit.float(), cell_error=torch.full((2,), torch.inf),
        present=torch.zeros_like(batch.present),
    )  # fmt: skip
    out = refined(batch, FACTOR).batch
    assert rms((out.prior - batch.dem)[hit]) < 0.3
    assert rms(out.prior - batch.dem) < 0.8 * rms(filled - batch.dem)
    torch.testing.assert_close(out.lr[:, 1:-1, 1:-1], block_mean(out.prior, FACTOR))


def test_heights_outside_spots_do_not_matter():
    batch = sets()
    hit = torch.zeros_like(batch.dem)
    hit[:, ::5, ::4] = 1
    batch = replace(batch, spots=hit, cell_error=torch.full((2,), torch.inf))
    other = replace(batch, prior=torch.where(hit > 0, batch.prior, 1e4))
    one, two = refined(batch, FACTOR).batch.prior, refined(other, FACTOR).batch.prior
    torch.testing.assert_close(one, two)


def test_cells_with_errors_are_not_held():
    batch = sets()
    wrong = batch.lr + 8 * torch.randn(batch.lr.shape, generator=torch.Generator().manual_seed(4))
    shaken = replace(batch, lr=wrong, cell_error=torch.full((2,), 8.0))
    firm = replace(shaken, cell_error=torch.zeros(2))
    loose, held = (rms(refined(each, FACTOR).batch.prior - batch.dem) for each in (shaken, firm))
    assert loose < 0.95 * held


def test_fill_keeps_what_is_known_and_is_a_mean_elsewhere():
    height = torch.arange(144.0).reshape(1, 12, 12)
    known = torch.zeros(1, 12, 12, dtype=torch.bool)
    known[0, 3, 4] = known[0, 8, 9] = True
    out = fill(height, known)
    assert out[0, 3, 4] == height[0, 3, 4] and out[0, 8, 9] == height[0, 8, 9]
    assert height[known].min() <= out.min() and out.max() <= height[known].max()
    torch.testing.assert_close(fill(height, torch.ones_like(known)), height)


def test_results_depend_neither_on_threads_nor_on_neighbours():
    batch = sets()
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = refined(batch, FACTOR).batch.prior
    finally:
        numba.set_num_threads(before)
    assert torch.equal(one, refined(batch, FACTOR).batch.prior)
    alone = batch.part(slice(1))
    np.testing.assert_allclose(one[:1], refined(alone, FACTOR).batch.prior, atol=1e-3)
    # Nor on whether a neighbour has altimetry.
    spots = torch.zeros(2, 48, 48)
    spots[1, ::3, ::5] = 1.0
    error = torch.tensor([0.0, torch.inf])
    mixed = refined(replace(batch, spots=spots, cell_error=error), FACTOR).batch.prior
    np.testing.assert_allclose(one[:1], mixed[:1], atol=1e-3)
    assert rms(one[1:] - mixed[1:]) > 0.01
