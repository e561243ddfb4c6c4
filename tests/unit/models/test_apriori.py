"""The a priori DEM: block means, bicubic, exact return to block means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.apriori import bicubic_product, crop_halo, match_block_means
from pipeline.terrain.bicubic import bicubic_up, prior_from_lr
from pipeline.terrain.blocks import block_mean


def keys_matrix(cells: int, factor: int, a: float = -0.75) -> np.ndarray:
    """Cubic convolution (Keys 1981, equation 15 with free a) along one axis, edges clamped."""

    def kernel(s: float) -> float:
        s = abs(s)
        if s <= 1:
            return (a + 2) * s**3 - (a + 3) * s**2 + 1
        if s < 2:
            return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a
        return 0.0

    matrix = np.zeros((cells * factor, cells))
    for i in range(cells * factor):
        x = (i + 0.5) / factor - 0.5
        for k in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
            matrix[i, min(max(k, 0), cells - 1)] += kernel(x - k)
    return matrix


@pytest.mark.parametrize(("cells", "factor"), [(6, 16), (5, 4), (9, 2)])
def test_bicubic_is_keys_cubic_convolution(cells, factor):
    lr = np.random.default_rng(0).normal(size=(cells, cells))
    matrix = keys_matrix(cells, factor)
    torch.testing.assert_close(
        bicubic_up(torch.from_numpy(lr), factor), torch.from_numpy(matrix @ lr @ matrix.T)
    )


def test_block_mean_against_numpy():
    dem = np.random.default_rng(1).normal(size=(2, 12, 8))
    expected = np.array([[[d[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean() for j in range(2)]
                          for i in range(3)] for d in dem])  # fmt: skip
    torch.testing.assert_close(block_mean(torch.from_numpy(dem), 4), torch.from_numpy(expected))


def test_block_mean_refuses_a_partial_block():
    with pytest.raises(ValueError, match="divisor of the map's 12 x 12 pixels, found 5"):
        block_mean(torch.zeros(12, 12), 5)


def test_two_cells_of_halo_equal_the_bicubic_of_the_whole_map():
    lr = torch.randn(1, 12, 12, dtype=torch.float64)
    whole = bicubic_up(lr, 16)[:, 3 * 16 : 9 * 16, 3 * 16 : 9 * 16]
    torch.testing.assert_close(prior_from_lr(lr[:, 1:11, 1:11], 2, 16), whole)
    assert (prior_from_lr(lr[:, 3:9, 3:9], 0, 16) - whole).abs().max() > 0.01
    assert torch.equal(crop_halo(lr, 6), lr[:, 3:9, 3:9])


@settings(max_examples=25, deadline=None)
@given(
    cells=st.integers(1, 7), factor=st.sampled_from([2, 4, 8, 16]), seed=st.integers(0, 1000),
    relief=st.floats(0.1, 2000.0),
)  # fmt: skip
def test_block_means_are_matched(cells, factor, seed, relief):
    generator = torch.Generator().manual_seed(seed)
    x = relief * torch.randn(2, cells * factor, cells * factor, generator=generator)
    lr = relief * torch.randn(2, cells, cells, generator=generator)
    matched = match_block_means(x, lr, factor)
    assert (block_mean(matched, factor) - lr).abs().max() <= 3e-6 * relief * 10


def test_the_product_for_gpus_is_the_bicubic_and_has_its_gradient():
    lr, weight = torch.randn(2, 3, 6, 5, dtype=torch.float64), torch.randn(2, 3, 48, 40, dtype=torch.float64)
    gradients = []
    for upsample in (bicubic_up, bicubic_product):
        cells = lr.clone().requires_grad_()
        out = upsample(cells, 8)
        torch.testing.assert_close(out, bicubic_up(lr, 8), rtol=0, atol=1e-12)
        gradients.append(torch.autograd.grad((out * weight).sum(), cells)[0])
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)


def test_matching_is_idempotent_and_exact_in_double():
    x, lr = torch.randn(1, 96, 96, dtype=torch.float64), torch.randn(1, 6, 6, dtype=torch.float64)
    once = match_block_means(x, lr, 16)
    torch.testing.assert_close(block_mean(once, 16), lr, rtol=0, atol=1e-12)
    torch.testing.assert_close(match_block_means(once, lr, 16), once, rtol=0, atol=1e-12)


def test_correction_has_no_steps_at_block_edges():
    lr = torch.randn(1, 6, 6, dtype=torch.float64)
    correction = match_block_means(torch.zeros(1, 96, 96, dtype=torch.float64), lr, 16)
    steps = correction.diff(dim=2).abs()
    at_edges = steps[:, :, 15::16].max()
    # A patchwise constant correction would step by whole cells here and nowhere else.
    assert at_edges < 0.5 * lr.diff(dim=2).abs().max()
    assert at_edges < 1.2 * steps.max()
    bends = correction.diff(n=2, dim=2).abs()
    assert bends.max() < 0.15 * correction.abs().max()


def test_matching_passes_gradients_after_inference_mode():
    lr = torch.zeros(1, 3, 3)
    with torch.inference_mode():
        match_block_means(torch.ones(1, 9, 9), lr, 3)
    x = torch.randn(1, 9, 9, requires_grad=True)
    match_block_means(x, lr, 3).square().sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_matching_refuses_other_shapes():
    with pytest.raises(ValueError, match="lr: expected the shape of the block means"):
        match_block_means(torch.zeros(2, 8, 8), torch.zeros(2, 1, 2), 4)
