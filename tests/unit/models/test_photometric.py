"""Photometric sums and what follows from them in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from model_sets import lambert_set, smooth_terrain

from pipeline.models.photometric import (
    PAIRS,
    exposure_ratios,
    integrate,
    map_slopes,
    normals,
    photometric_sums,
    set_radiance,
    solve_normal,
    stereo_slopes,
)


def test_sums_against_a_loop_over_images():
    sets = lambert_set(batch=1, images=4, size=8, factor=4)
    valid = sets.valid.clone()
    valid[0, 1, :4] = False
    images = sets.images.clone()
    images[0, 2, 2:5] = 0.0
    present = torch.tensor([[True, True, True, False]])
    sets = replace(sets, images=images, valid=valid, present=present)
    radiance, threshold = set_radiance(images, valid, present)
    usable = valid & present[..., None, None]
    assert radiance.item() == pytest.approx(images[usable & (images > 0)].mean().item())

    assert threshold.item() == pytest.approx(0.01)
    gain = torch.tensor([[1.1, 0.9, 1.0, 5.0]])
    sums = photometric_sums(sets, radiance, threshold, gain)
    for r, c in ((0, 0), (3, 5), (7, 7)):
        seen = [i for i in range(3) if valid[0, i, r, c]]
        light = {i: images[0, i, r, c] / radiance[0] for i in seen}
        lit = [i for i in seen if light[i] > 0.01]
        light = {i: value * gain[0, i] for i, value in light.items()}
        sun, n = sets.sun[0], len(seen)
        zero = torch.zeros(3)
        torch.testing.assert_close(sums.moments[0, :, r, c], sum((sun[i] * light[i] for i in lit), zero) / n)
        products = sum((torch.stack([sun[i][a] * sun[i][b] for a, b in PAIRS]) for i in lit), torch.zeros(6))
        torch.testing.assert_close(sums.matrix[0, :, r, c], products / n)
        dark = [i for i in seen if i not in lit]
        torch.testing.assert_close(sums.shadow[0, :, r, c], sum((sun[i] for i in dark), zero) / n)
        brightness = [light[i].item() for i in lit]
        assert sums.mean[0, 0, r, c].item() == pytest.approx(sum(brightness) / n, rel=1e-5)
        assert sums.square[0, 0, r, c].item() == pytest.approx(sum(b * b for b in brightness) / n, rel=1e-5)
        assert sums.lit[0, 0, r, c].item() == pytest.approx(len(lit) / n)
        assert sums.valid[0, 0, r, c].item() == pytest.approx(n / 3)


def test_many_images_in_chunks_equal_few_repeated():
    sets = lambert_set(batch=1, images=5, size=8, factor=4)
    many = replace(
        sets,
        images=sets.images.repeat(1, 20, 1, 1),
        valid=sets.valid.repeat(1, 20, 1, 1),
        sun=sets.sun.repeat(1, 20, 1),
        present=sets.present.repeat(1, 20),
    )
    one, dark = torch.ones(1), torch.full((1,), 0.01)
    found, expected = (photometric_sums(s, one, dark).stack() for s in (many, sets))
    torch.testing.assert_close(found, expected)


def test_noise_in_the_shadows_is_no_light():
    generator = torch.Generator().manual_seed(0)
    sets = lambert_set(batch=1, images=6, size=32, factor=8)
    lit = torch.ones_like(sets.valid)
    lit[:, :, :16] = False  # half of every image is in shadow
    images = (0.5 + 0 * sets.images) * lit + 0.02 * torch.randn(sets.images.shape, generator=generator)
    radiance, threshold = set_radiance(images, sets.valid, sets.present)
    assert radiance.item() == pytest.approx(0.5, rel=0.01)
    assert threshold.item() == pytest.approx(3 * 0.02 / 0.5, rel=0.05)
    sums = photometric_sums(replace(sets, images=images), radiance, threshold)
    assert sums.lit[0, 0, :16].mean() < 0.01
    assert sums.lit[0, 0, 16:].mean() == 1.0


def test_exposures_are_told_by_the_a_priori_shading():
    sets = lambert_set(batch=1, images=5, size=32, factor=8, seed=3)
    normal = normals(map_slopes(sets.dem / 40.0))
    light = torch.einsum("bnc,bchw->bnhw", sets.sun, normal).clamp_min(0)
    gain = torch.tensor([[1.0, 1.1, 0.9, 1.05, 0.95]])
    valid = sets.valid.clone()
    valid[0, 4] = False  # an image without data tells nothing
    sets = replace(sets, images=light * gain[..., None, None] * valid, valid=valid)
    radiance, threshold = set_radiance(sets.images, valid, sets.present)
    ratio, share = exposure_ratios(sets, radiance, threshold, normal)
    assert share[0, 4] == ratio[0, 4] == 0
    relative = (ratio[0, :4] - ratio[0, 0]).exp()
    torch.testing.assert_close(relative, gain[0, :4], rtol=1e-3, atol=1e-3)
    assert (ratio * share).sum().abs() < 1e-4


def test_misfit_is_what_lambert_leaves():
    sets = lambert_set(batch=1, images=12, size=16, factor=8, seed=3)
    normal = normals(map_slopes(sets.dem / 40.0))
    sun = sets.sun + torch.tensor([0.0, 0.0, 2.0])
    sun = sun / sun.norm(dim=-1, keepdim=True)
    clean = torch.einsum("bnc,bchw->bnhw", sun, normal)
    noise = 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    prior = map_slopes(sets.prior / 40.0)

    def misfit(images):
        one = replace(sets, images=images, sun=sun)
        radiance, threshold = set_radiance(images, one.valid, one.present)
        return stereo_slopes(photometric_sums(one, radiance, threshold), prior, 1e-6)[2] * radiance

    assert misfit(clean).mean() < 0.02
    assert misfit(clean + noise).mean().item() == pytest.approx(0.05 * (9 / 12) ** 0.5, rel=0.1)


def test_empty_and_dark_sets_are_finite_and_fall_back_on_the_prior():
    sets = lambert_set(batch=2, images=3, size=8, factor=4)
    sets = replace(sets, images=torch.zeros_like(sets.images), present=torch.zeros_like(sets.present))
    radiance, threshold = set_radiance(sets.images, sets.valid, sets.present)
    assert torch.equal(radiance, torch.ones(2))
    slopes = map_slopes(sets.prior / 40.0)
    estimate, _, _ = stereo_slopes(photometric_sums(sets, radiance, threshold), slopes, 1e-3)
    torch.testing.assert_close(estimate, slopes)


def test_slopes_point_along_map_axes():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    slopes = map_slopes((0.2 * columns - 0.1 * rows)[None])  # rises to the right and up the map
    torch.testing.assert_close(slopes[0, 0], torch.full((6, 6), 0.2))
    torch.testing.assert_close(slopes[0, 1], torch.full((6, 6), 0.1))
    normal = normals(slopes)[0, :, 0, 0]
    torch.testing.assert_close(normal, torch.tensor([-0.2, -0.1, 1.0]) / math.sqrt(1.05))


def test_solution_equals_a_dense_solver():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, 3, 3, generator=generator)
    dense = root @ root.mT
    matrix = torch.stack([dense[..., a, b] for a, b in PAIRS])[None]
    moments, guess = (torch.randn(1, 3, 5, 5, generator=generator) for _ in range(2))
    right = (moments + 0.1 * guess)[0].permute(1, 2, 0)
    expected = torch.linalg.solve(dense + 0.1 * torch.eye(3), right).permute(2, 0, 1)[None]
    torch.testing.assert_close(solve_normal(matrix, moments, guess, 0.1), expected, rtol=1e-3, atol=1e-4)


def test_lambert_images_without_shadow_give_the_true_slopes():
    sets = lambert_set(batch=1, images=12, size=32, factor=8, seed=3)
    high = torch.tensor([[0.3, 0.0, 1.0]] * 4 + [[-0.2, 0.3, 1.0]] * 4 + [[0.0, -0.3, 1.0]] * 4)
    high = (high / high.norm(dim=1, keepdim=True))[None]
    true = map_slopes(sets.dem / 40.0)
    images = torch.einsum("bnc,bchw->bnhw", high, normals(true))
    assert images.min() > 0.05
    sets = replace(sets, images=images, sun=high)
    sums = photometric_sums(sets, *set_radiance(images, sets.valid, sets.present))
    prior = map_slopes(sets.prior / 40.0)
    estimate, albedo, _ = stereo_slopes(sums, prior, 1e-6)
    torch.testing.assert_close(estimate, true, rtol=1e-2, atol=5e-3)
    assert albedo.std() < 0.02


def test_integration_returns_the_terrain_up_to_long_scales():
    height = smooth_terrain(1, 48, torch.Generator().manual_seed(2))
    height = height - height.mean()
    full = integrate(map_slopes(height), 1e4)[:, 0]
    full = full - full.mean()
    assert (full - height).square().mean().sqrt() < 0.08 * height.std()
    screened = integrate(map_slopes(height), 4.0)[:, 0]
    assert screened.std() < 0.8 * height.std()
