"""Least squares among surfaces between nodes: exact on planes, near to splines and to dense solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter

from pipeline.models.nodes import solve_on_nodes, spline
from pipeline.models.refinement_slopes import slopes_adjoint, slopes_of

SIZE = 48


def spots(seed: int, coverage: float, count: int = 2) -> torch.Tensor:
    """Inverse variances of spots, 0 elsewhere."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.random((count, SIZE, SIZE)) < coverage) * 3000.0).float()


def plane(a: float, b: float) -> torch.Tensor:
    along = torch.arange(SIZE, dtype=torch.float32)
    return 5.0 + a * along[None, :, None] + b * along[None, None, :]


def test_a_plane_goes_through_its_spots_and_on() -> None:
    height = plane(0.3, -0.2).expand(2, -1, -1)
    weight = spots(0, 0.05)
    weight[:, :, SIZE // 2 :] = 0  # half of the map without a spot
    torch.testing.assert_close(spline(height, weight, 24.0), height, atol=1e-3, rtol=0)


def test_heights_without_weight_do_not_matter() -> None:
    weight = spots(1, 0.1)
    height = plane(0.1, 0.1).expand(2, -1, -1).clone()
    other = torch.where(weight > 0, height, 1e4)
    torch.testing.assert_close(spline(height, weight, 24.0), spline(other, weight, 24.0))


def test_one_spot_gives_its_height_everywhere() -> None:
    weight = torch.zeros(1, SIZE, SIZE)
    weight[0, 10, 20] = 3000.0
    torch.testing.assert_close(
        spline(plane(0.1, 0.0), weight, 24.0), torch.full((1, SIZE, SIZE), 6.0), atol=1e-3, rtol=0
    )


def test_a_smooth_surface_is_filled_as_a_thin_plate_spline_fills_it() -> None:
    rng = np.random.default_rng(3)
    truth = 40 * gaussian_filter(rng.standard_normal((SIZE, SIZE)), 6)
    weight = spots(4, 0.08, 1)
    hit = weight[0].numpy() > 0
    grid = np.argwhere(np.ones_like(hit)).astype(float)
    reference = RBFInterpolator(np.argwhere(hit).astype(float), truth[hit], kernel="thin_plate_spline")(grid)
    found = spline(torch.from_numpy(truth).float()[None], weight, 24.0)[0].numpy()
    error, theirs = found - truth, reference.reshape(truth.shape) - truth
    assert np.sqrt(np.mean(error**2)) < 1.15 * np.sqrt(np.mean(theirs**2)) < 0.2 * truth.std()


@pytest.mark.parametrize("share", [0.0, 2000.0])
def test_slopes_and_block_means_bring_a_surface_back(share: float) -> None:
    """The residual of a smooth surface, of slopes and of block means or spots, gives the surface."""
    rng = np.random.default_rng(5)
    truth = torch.from_numpy(40 * gaussian_filter(rng.standard_normal((1, SIZE, SIZE)), (0, 8, 8))).float()
    information = torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 500
    xx, yy, xy = information[0] + 600, information[1] + 600, information[2]
    right, up = slopes_of(truth)
    residual = slopes_adjoint(xx * right + xy * up, xy * right + yy * up)
    weight = torch.zeros_like(truth) if share else torch.full_like(truth, 1e-3)
    blocks = truth.unfold(1, 16, 16).unfold(2, 16, 16).mean(dim=(3, 4))
    spread = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2) / 16**2
    residual = residual + weight * truth + share * spread
    found = solve_on_nodes(residual, weight, (xx, yy, xy), torch.tensor([share]), 16, 1e-3)
    assert float((found - truth).std()) < 0.05 * float(truth.std())
    if share:
        own = found.unfold(1, 16, 16).unfold(2, 16, 16).mean(dim=(3, 4))
        # Between nodes the surface is bilinear, the truth is not.
        assert float((own - blocks).abs().max()) < 0.1 * float(truth.std())


def test_a_map_does_not_depend_on_its_neighbours() -> None:
    height, weight = plane(0.1, 0.2).expand(3, -1, -1) * torch.rand(3, SIZE, SIZE), spots(6, 0.2, 3)
    alone = torch.cat([spline(height[i : i + 1], weight[i : i + 1], 24.0) for i in range(3)])
    assert torch.equal(spline(height, weight, 24.0), alone)
