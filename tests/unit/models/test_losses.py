"""Losses: analytic values, and the perceptual distance from a local file."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from pipeline.evaluation.metrics import fair_crps
from pipeline.models.losses import (
    VGG_STAGES,
    Lpips,
    absolute_sum,
    adaptive_weight,
    discriminator_hinge,
    draws_score,
    gaussian_score,
    generator_hinge,
    slope_loss,
)


def test_absolute_sum():
    x = torch.zeros(2, 1, 3, 3)
    y = torch.tensor([1.0, -3.0])[:, None, None, None].expand(2, 1, 3, 3)
    assert absolute_sum(x, y).item() == pytest.approx(9 * 2.0)


def test_hinge_is_zero_beyond_the_margin_and_linear_within():
    assert discriminator_hinge(torch.tensor([1.5]), torch.tensor([-2.0])).item() == 0
    assert discriminator_hinge(torch.tensor([0.0]), torch.tensor([0.5])).item() == pytest.approx(1.25)
    assert generator_hinge(torch.tensor([2.0, -1.0])).item() == pytest.approx(-0.5)


def test_adaptive_weight_is_the_ratio_of_gradient_norms():
    layer = torch.tensor([1.0, 2.0], requires_grad=True)
    weight = adaptive_weight((3 * layer).sum(), (0.5 * layer).sum(), layer)
    assert weight.item() == pytest.approx(6.0, rel=1e-3)
    assert not weight.requires_grad


def test_adaptive_weight_is_bounded():
    layer = torch.tensor([1.0], requires_grad=True)
    assert adaptive_weight((1e3 * layer).sum(), (0 * layer).sum(), layer).item() == pytest.approx(1e4)


def test_slope_loss_of_a_plane_is_its_slope_whatever_the_unit():
    x = torch.arange(8.0)[None, :].expand(2, 8, 8) * 4.0  # 4 m a pixel of 40 m along x, flat along y
    zero = torch.zeros_like(x)
    assert slope_loss(x, zero, 40.0).item() == pytest.approx(0.05)
    assert slope_loss(x / 1000, zero, torch.tensor([0.04, 0.04])).item() == pytest.approx(0.05)
    assert slope_loss(x + 7, x, 40.0).item() == 0


def test_slope_loss_sees_a_checkerboard():
    board = (torch.arange(8)[:, None] + torch.arange(8)[None]) % 2 * 1.0
    assert slope_loss(board[None], torch.zeros(1, 8, 8)).item() == pytest.approx(1.0)


def tiny_vgg(width: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors, channels = {}, 3
    for k, stage in enumerate(VGG_STAGES):
        for i in stage:
            tensors[f"features.{i}.weight"] = torch.randn(width, channels, 3, 3, generator=generator)
            tensors[f"features.{i}.bias"] = torch.zeros(width)
            channels = width
        tensors[f"lin{k}.weight"] = torch.rand(1, width, 1, 1, generator=generator)
    return tensors


def test_lpips_is_a_distance_and_carries_gradient(tmp_path):
    save_file(tiny_vgg(), tmp_path / "vgg.safetensors")
    lpips = Lpips(tmp_path / "vgg.safetensors")
    x = torch.randn(2, 1, 32, 32, requires_grad=True)
    y = torch.randn(2, 1, 32, 32)
    distance = lpips(x, y)
    assert distance.shape == (2,)
    assert (distance > 0).all()
    assert lpips(y, y).abs().max() == 0
    torch.testing.assert_close(distance, lpips(y, x))
    distance.sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert not lpips.state_dict()
    assert not list(lpips.parameters())


def test_lpips_first_stage_by_hand(tmp_path):
    tensors = tiny_vgg()
    for k in range(1, 5):
        tensors[f"lin{k}.weight"].zero_()
    save_file(tensors, tmp_path / "vgg.safetensors")
    x, y = torch.randn(1, 1, 16, 16), torch.randn(1, 1, 16, 16)

    def stage(image):
        mean = 2 * torch.tensor([0.485, 0.456, 0.406]) - 1  # ImageNet, for images in [-1, 1]
        std = 2 * torch.tensor([0.229, 0.224, 0.225])
        h = (image.repeat(1, 3, 1, 1) - mean[:, None, None]) / std[:, None, None]
        for i in (0, 2):
            h = F.relu(F.conv2d(h, tensors[f"features.{i}.weight"], tensors[f"features.{i}.bias"], padding=1))
        return h / (h.norm(dim=1, keepdim=True) + 1e-10)

    by_hand = ((stage(x) - stage(y)) ** 2 * tensors["lin0.weight"]).sum(dim=1).mean()
    torch.testing.assert_close(Lpips(tmp_path / "vgg.safetensors")(x, y)[0], by_hand, rtol=1e-4, atol=1e-6)


def test_lpips_errors_name_the_file(tmp_path):
    path = tmp_path / "vgg.safetensors"
    with pytest.raises(ValueError, match=r"lpips_weights: .* found nothing at .*vgg.safetensors"):
        Lpips(path)
    path.write_bytes(b"not tensors at all")
    with pytest.raises(ValueError, match=r"expected a safetensors file at .*vgg.safetensors"):
        Lpips(path)
    tensors = tiny_vgg()
    del tensors["features.5.bias"]
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"expected a tensor features\.5\.bias"):
        Lpips(path)
    tensors = tiny_vgg()
    tensors["lin2.weight"] = torch.zeros(1, 3, 1, 1)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"lin2\.weight of shape \(1, 4, 1, 1\)"):
        Lpips(path)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_draws_score_is_the_crps_of_a_gaussian_and_least_at_the_true_law(count):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(400, 1, 16, 16, generator=generator)
    noise = torch.randn(400, count, 1, 16, 16, generator=generator)

    def expected(
        std,
    ):  # E|a - y| - E|a - b| / 2, of values and, sqrt(2) larger, of differences along two axes
        value = (2 * (1 + std**2) / torch.pi) ** 0.5 - std / torch.pi**0.5
        return (1 + 2 * 2**0.5) * value

    scores = {std: draws_score(std * noise, truth).mean().item() for std in (0.5, 0.8, 1.0, 1.25, 2.0)}
    for std, found in scores.items():
        assert found == pytest.approx(expected(std), rel=0.01)
    assert min(scores, key=scores.__getitem__) == 1.0


def test_draws_score_tells_fields_of_equal_marginals_apart():
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(400, 1, 16, 16, generator=generator)
    white = torch.randn(400, 2, 1, 16, 16, generator=generator)
    flat = torch.randn(400, 2, 1, 1, 1, generator=generator).expand_as(white)
    assert draws_score(flat, truth).mean() > draws_score(white, truth).mean() + 0.2
    levels = torch.randn(400, 1, 1, 1, generator=generator).expand_as(truth)
    assert draws_score(white, levels).mean() > draws_score(flat, levels).mean() + 0.2


def test_draws_score_scores_each_sample_by_itself():
    draws, truth = torch.randn(3, 2, 1, 8, 8), torch.randn(3, 1, 8, 8)
    alone = torch.cat([draws_score(draws[i : i + 1], truth[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(draws_score(draws, truth), alone)
    assert (draws_score(truth[:, None].expand(-1, 2, -1, -1, -1), truth) == 0).all()


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_draws_score_is_the_fair_crps_of_values_and_differences(count):
    generator = torch.Generator().manual_seed(count)
    draws = torch.randn(1, count, 1, 6, 7, generator=generator)
    truth = torch.randn(1, 1, 6, 7, generator=generator)
    expected = 0.0
    for axis in (None, -1, -2):
        members, y = (x.numpy() if axis is None else x.diff(dim=axis).numpy() for x in (draws[0], truth[0]))
        expected += fair_crps(members, y).mean()
    assert draws_score(draws, truth).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("error,spread", [(0.0, 1.0), (0.7, 0.3), (-2.0, 1.5), (5.0, 0.1)])
def test_gaussian_score_is_the_integral_that_defines_the_crps(error, spread):
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    below = torch.special.ndtr(x / spread)
    by_quadrature = torch.trapezoid((below - (x >= error).double()) ** 2, x)
    found = gaussian_score(
        torch.tensor(error, dtype=torch.float64), torch.tensor(spread, dtype=torch.float64)
    )
    assert found.item() == pytest.approx(by_quadrature.item(), abs=2e-4)


def test_gaussian_score_is_least_at_the_true_spread():
    errors = 2.0 * torch.randn(200_000, generator=torch.Generator().manual_seed(2))
    scores = {s: gaussian_score(errors, torch.tensor(s)).mean().item() for s in (1.0, 1.7, 2.0, 2.4, 4.0)}
    assert min(scores, key=scores.__getitem__) == 2.0
