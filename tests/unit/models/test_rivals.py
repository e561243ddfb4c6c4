"""Networks of the learned rivals: units, attention, deformable kernels, block means, weights on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_sets import FACTOR, SIZE, lambert_set, stir

from pipeline.config.rivals import GanSection, GuidedSection, RegressionSection, SiranSection
from pipeline.models.adversarial import Critic
from pipeline.models.files import save_model
from pipeline.models.gan import Gan
from pipeline.models.guided import DeformableKernels, gather
from pipeline.models.polarised import PolarisedAttention
from pipeline.models.regression import Regression
from pipeline.models.rivals import RivalNetwork, load_rival, weights_config
from pipeline.models.siran import Siran
from pipeline.terrain.blocks import block_mean

SMALL = {"width": 8, "growth": 4, "blocks": 1, "critic_base": 4}
RIVALS: dict[str, tuple[Callable[..., RivalNetwork], type, dict[str, Any]]] = {
    "regression": (Regression, RegressionSection, {"base": 8}),
    "guided": (DeformableKernels, GuidedSection, {"base": 8}),
    "siran": (Siran, SiranSection, SMALL),
    "gan": (Gan, GanSection, SMALL),
}
#: The five rows of SIRAN's ablation.
ROWS = [
    {"guide": g, "spatial_attention": s, "polarised_attention": p, "sinkhorn": k}
    for g, s, p, k in [(0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 0), (1, 1, 1, 1)]
]


def network(name: str, **more: Any) -> RivalNetwork:
    build, section, keys = RIVALS[name]
    torch.manual_seed(0)
    return stir(build(section(**keys, **more), SIZE, FACTOR))  # type: ignore[return-value]


@pytest.mark.parametrize("name", RIVALS)
def test_heights_have_no_scale_and_images_no_exposure(name: str) -> None:
    one, large = lambert_set(halo_cells=2), lambert_set(halo_cells=2, pixel_m=160.0)
    assert one.dem is not None and large.dem is not None
    assert torch.equal(large.dem, 4 * one.dem)
    net = network(name)
    found = net.dem(one)
    assert found.shape == (2, 1, SIZE, SIZE)
    assert (found - one.prior[:, None]).abs().max() > 1e-3 * 40
    torch.testing.assert_close(net.dem(large), 4 * found, rtol=1e-4, atol=0.01)
    brighter = replace(one, images=3 * one.images)
    torch.testing.assert_close(net.dem(brighter), found, rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("name", RIVALS)
def test_images_guide_and_sets_may_be_empty(name: str) -> None:
    batch, net = lambert_set(), network(name)
    found = net(batch)
    with torch.no_grad():
        dark = net(replace(batch, images=batch.images.flip(3)))
        none = net(replace(batch, present=torch.zeros_like(batch.present)))
    assert (dark - found).abs().max() > 1e-4
    assert torch.isfinite(none).all()
    loss = (found - 0.1).square().mean()
    loss.backward()
    reached = [p.grad is not None for n, p in net.named_parameters() if not n.startswith("critic")]
    assert all(reached)


@pytest.mark.parametrize("name", RIVALS)
def test_block_means_are_kept_where_asked_for_and_exact(name: str) -> None:
    batch = lambert_set(halo_cells=2)
    cells = batch.lr[:, 2:-2, 2:-2]
    free = network(name).dem(batch)
    kept = network(name, keep_block_means=True).dem(batch)
    torch.testing.assert_close(block_mean(kept[:, 0], FACTOR), cells, rtol=0, atol=1e-3)
    assert (block_mean(free[:, 0], FACTOR) - cells).abs().max() > 0.1
    loose = network(name, keep_block_means=True).dem(replace(batch, cell_error=torch.tensor([0.0, 5.0])))
    torch.testing.assert_close(loose, torch.stack([kept[0], free[1]]))


@pytest.mark.parametrize("name", ["siran", "gan"])
def test_a_generator_starts_at_the_a_priori_dem(name: str) -> None:
    build, section, keys = RIVALS[name]
    batch = lambert_set()
    assert torch.equal(build(section(**keys), SIZE, FACTOR).dem(batch), batch.prior[:, None])


# --- deformable kernels ---------------------------------------------------------------------------------


def test_kernels_read_their_neighbours_where_nothing_is_displaced() -> None:
    height = torch.randn(2, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    found = gather(height, torch.zeros(2, 18, 6, 8), 3)
    wide = torch.nn.functional.pad(height, (1, 1, 1, 1), mode="replicate")
    wanted = torch.nn.functional.unfold(wide, 3).reshape(2, 9, 6, 8)  # row by row
    torch.testing.assert_close(found, wanted)


def test_kernels_read_between_pixels_where_they_are_displaced() -> None:
    """On a plane, which bilinear interpolation knows exactly: columns first, then rows."""
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    plane = (2 * x - 3 * y)[None, None]
    offsets = torch.tensor([0.25, -0.5]).repeat(9)[None, :, None, None].expand(1, 18, 9, 9)
    found = gather(plane, offsets, 3)[0, :, 3:6, 3:6]
    for tap in range(9):
        row, column = tap // 3 - 1, tap % 3 - 1
        moved = 2 * (x + column + 0.25) - 3 * (y + row - 0.5)
        torch.testing.assert_close(found[tap], moved[3:6, 3:6])


def test_kernels_leave_flat_ground_as_it_is_and_weigh_by_the_formula() -> None:
    batch, net = lambert_set(), network("guided")
    assert isinstance(net, DeformableKernels)
    flat = replace(batch, prior=0 * batch.prior + 17.0)
    torch.testing.assert_close(net(flat), torch.zeros(2, 1, SIZE, SIZE), rtol=0, atol=1e-5)
    # One weight of nine is 1 x 1, all others 1 x 0: 8/9 of its own pixel and -1/9 of the other eight.
    taps = 9
    one = torch.full((2, taps, SIZE, SIZE), 0.0)
    one[:, 4] = 1.0
    net.of_guide.forward = lambda x: (one, torch.zeros(2, 2 * taps, SIZE, SIZE))  # type: ignore[method-assign]
    net.of_target.forward = lambda x: (torch.ones_like(one), torch.ones(2, 2 * taps, SIZE, SIZE))  # type: ignore[method-assign]
    prior = batch.prior[:, None] / 40.0
    mean = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(prior, (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    torch.testing.assert_close(net(batch), prior - mean, rtol=0, atol=1e-4)


def test_a_patch_that_has_no_whole_cells_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"patches\.size_px: expected a multiple of 4 with .*'guided', found 6"
    ):
        DeformableKernels(GuidedSection(base=4), 6, 2)


# --- attention ------------------------------------------------------------------------------------------


def test_polarised_attention_weighs_channels_and_pixels_between_0_and_1() -> None:
    torch.manual_seed(0)
    net = PolarisedAttention(6)
    x = torch.randn(2, 6, 5, 7)
    channels, pixels = net.of_channels(x), net.of_pixels(x)
    assert channels.shape == (2, 6, 1, 1) and pixels.shape == (2, 1, 5, 7)
    for weights in (channels, pixels):
        assert 0 < weights.min() and weights.max() < 1 and weights.std() > 1e-3
    share = net(x) / x
    assert 0 < share.min() and share.max() < 1
    torch.testing.assert_close(share, channels * net.of_pixels(x * channels), rtol=1e-4, atol=1e-6)


def test_polarised_attention_is_the_published_formula() -> None:
    torch.manual_seed(1)
    net = PolarisedAttention(4).double()
    x = torch.randn(1, 4, 3, 5, dtype=torch.float64)

    def linear(layer: Any, values: np.ndarray) -> np.ndarray:
        weight = layer.weight.detach().numpy().reshape(layer.weight.shape[0], -1)
        return weight @ values + layer.bias.detach().numpy()[:, None]

    def softmax(values: np.ndarray) -> np.ndarray:
        return np.exp(values) / np.exp(values).sum()

    flat = x[0].flatten(1).numpy()  # channels x pixels
    folded = linear(net.channel_value, flat) @ softmax(linear(net.channel_query, flat)[0])
    out = linear(net.channel_out, folded[:, None])[:, 0]
    normed = (out - out.mean()) / np.sqrt(out.var() + net.norm.eps)
    np.testing.assert_allclose(net.of_channels(x)[0, :, 0, 0].detach(), 1 / (1 + np.exp(-normed)))
    query = softmax(linear(net.pixel_query, flat).mean(axis=1))
    wanted = 1 / (1 + np.exp(-(query @ linear(net.pixel_value, flat))))
    np.testing.assert_allclose(net.of_pixels(x)[0, 0].detach().flatten(), wanted)


def test_the_critic_looks_between_0_and_1_and_its_maps_weigh_its_judgement() -> None:
    torch.manual_seed(0)
    critic = Critic(4, FACTOR, looks=True)
    heights = lambert_set().prior[:, None] / 40
    maps = critic.attention(heights)
    assert maps.shape == (2, 8, SIZE // 2, SIZE // 2)
    assert 0 < maps.min() and maps.max() < 1
    before = critic(heights)
    assert critic.looks is not None
    with torch.no_grad():
        critic.looks.bias -= 50.0  # looks nowhere
        critic.looks.weight.zero_()
    blind = critic(heights)
    assert (before[0] - before[1]).abs().max() > 1e-4
    torch.testing.assert_close(blind[0], blind[1])


def test_the_guide_is_gated_and_no_gradient_reaches_the_critic() -> None:
    batch, net = lambert_set(), network("siran")
    assert isinstance(net, Siran)
    gate = net.gate(batch)
    assert gate.shape == (2, 8, SIZE, SIZE)
    assert 0 < gate.min() and gate.max() < 1
    net(batch).sum().backward()
    assert all(p.grad is None for p in net.critic.parameters())
    assert all(p.grad is not None for p in net.generator_parameters())
    named = {id(p) for p in [*net.critic.parameters(), *net.generator_parameters()]}
    assert len(named) == len(list(net.parameters()))
    # A critic that looks nowhere shuts the images out.
    assert net.critic.looks is not None
    with torch.no_grad():
        net.critic.looks.bias -= 1e4
        shut = [net(replace(batch, images=images)) for images in (batch.images, batch.images.flip(3))]
    torch.testing.assert_close(shut[0], shut[1])


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_ablation_is_a_network(row: dict[str, bool]) -> None:
    batch, net = lambert_set(), network("siran", **row)
    assert isinstance(net, Siran)
    assert (net.guide is not None, net.critic.looks is not None, net.polarised is not None) == tuple(
        bool(row[key]) for key in ("guide", "spatial_attention", "polarised_attention")
    )
    with torch.no_grad():
        one, other = net(batch), net(replace(batch, images=batch.images.flip(3)))
    assert ((one - other).abs().max() > 1e-4) == bool(row["guide"])


# --- sections and weights -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "keys", "message"),
    [
        (SiranSection, {"guide": False}, "spatial_attention: expected false without guide"),
        (SiranSection, {"spatial_attention": False}, "polarised_attention: expected false without spatial"),
        (SiranSection, {"epsilon": 0}, "greater than 0"),
        (GuidedSection, {"kernel": 4}, "kernel: expected an odd number, found 4"),
        (RegressionSection, {"loss": "l3"}, "'l1' or 'l2'"),
        (GanSection, {"ssim_weight": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_sections_are_refused(section: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        section(**keys)


def test_weights_come_back_and_those_of_others_are_refused(tmp_path: Path) -> None:
    net, section = network("gan"), GanSection(**SMALL)
    grid = {"size_px": SIZE, "factor": FACTOR, "halo_px": 16, "pixel_m": 40.0}
    path = tmp_path / "model.safetensors"
    save_model(path, net.state_dict(), {"key": "0", **weights_config("gan", section, grid)})
    loaded = load_rival(path, "gan", section, {**grid, "pixel_m": 20.0}, Gan)
    batch = lambert_set()
    assert torch.equal(loaded.dem(batch), net.dem(batch))
    other = section.model_copy(update={"width": 16})
    with pytest.raises(
        ValueError, match=r"config\.json: expected section .*'width': 16.*, found .*'width': 8"
    ):
        load_rival(path, "gan", other, grid, Gan)
    with pytest.raises(ValueError, match=r"config\.json: expected name siran, found gan"):
        load_rival(path, "siran", section, grid, Gan)
    with pytest.raises(ValueError, match=r"expected grid \{'size_px': 64, .*\}, found \{'size_px': 32"):
        load_rival(path, "gan", section, {**grid, "size_px": 64}, Gan)
