"""The published network: its size, its symmetries, its one vector."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from model_sets import FACTOR, SIZE, count, lambert_set, parameter_groups, stir
from torch import nn

from pipeline.config.bridge import BridgeSection
from pipeline.models.blocks import TimeEmbedding, grid_positions, group_norm
from pipeline.models.factory import build_network
from pipeline.models.pooled import PooledBlock, PooledSetEncoder
from pipeline.models.published import PublishedNet, SetEncoder

LATENT = (3, 4, 4)
PUBLISHED = {"set_encoder": "pooled", "missing_pixel": -1.0}


def tiny(**changes) -> PublishedNet:
    section = BridgeSection(width=16, depth=1, heads=2, **changes)
    latent = LATENT if section.space == "latent" else None
    torch.manual_seed(0)
    net = build_network(section, SIZE, FACTOR, latent)
    assert isinstance(net, PublishedNet)
    stir(net)
    return net


def test_published_size_to_the_printed_digits():
    with torch.device("meta"):
        net = build_network(BridgeSection(), 96, 16, (4, 12, 12))
    assert isinstance(net, PublishedNet)
    groups = parameter_groups(net)
    assert {name: round(n / 1e6, 1) for name, n in groups.items()} == {
        "core": 65.8,
        "lr": 43.1,
        "images": 43.1,
    }
    assert sum(groups.values()) == count(net) == 152_028_524
    assert round(count(net) / 1e6, 1) == 152.0


def test_the_published_encoder_has_the_public_codes_number_of_parameters():
    with torch.device("meta"):
        net = build_network(BridgeSection(**PUBLISHED), 96, 16, (4, 12, 12))
    assert count(net) == 151_989_804
    # Counted by hand: blocks of 4 and 8 channels, three that halve, norm and convolution after the mean.
    four, eight = 2 * (4 * 4 * 9 + 4 + 8), 2 * (8 * 8 * 9 + 8 + 16)
    between = 8 + (4 * 8 * 9 + 8) + 16 + (8 * 8 * 9 + 8) + (4 * 8 + 8)
    assert count(net.set_encoder) == 40 + 4 * four + between + 3 * eight + 2 * four + eight
    assert count(net.to_set_map) == 16 + 8 * 4 * 9 + 4
    assert not any("norm" in name for name, _ in net.lr_transformer.named_parameters())


def test_the_published_encoder_starts_as_the_public_code():
    torch.manual_seed(0)
    net = build_network(BridgeSection(width=32, depth=1, heads=2, **PUBLISHED), SIZE, FACTOR, LATENT)
    assert count(net.to_set_map[-1]) and not any(p.any() for p in net.to_set_map[-1].parameters())
    assert not any(p.any() for b in net.set_encoder.layers[1:] for p in b.conv2.parameters())
    for part in (net.core, net.lr_transformer, net.set_transformer):
        weight = part.to_tokens.weight.flatten(1)
        assert weight.abs().max() <= (6 / sum(weight.shape)) ** 0.5
        assert not part.to_tokens.bias.any()
    assert not net.set_transformer.output_token.any()
    assert abs(float(net.time.layers[0].weight.std()) / 0.02 - 1) < 0.05


def test_a_published_block_halves_both_branches_by_averages():
    block, x = PooledBlock(4, 4, halve=True), torch.randn(2, 4, 6, 6)
    # The second convolution starts at zero, so the block is its skip: means of 2 x 2 pixels.
    torch.testing.assert_close(block(x), x.reshape(2, 4, 3, 2, 3, 2).mean(dim=(3, 5)))
    stir(block)
    normed = torch.nn.functional.group_norm(x, 2, block.norm1.weight, block.norm1.bias)
    pooled = block.conv1(torch.nn.functional.avg_pool2d(torch.nn.functional.silu(normed), 2))
    after = torch.nn.functional.group_norm(pooled, 2, block.norm2.weight, block.norm2.bias)
    expected = block.conv2(torch.nn.functional.silu(after)) + x.reshape(2, 4, 3, 2, 3, 2).mean(dim=(3, 5))
    torch.testing.assert_close(block(x), expected)


def test_published_token_grids():
    with torch.device("meta"):
        net = build_network(BridgeSection(), 96, 16, (4, 12, 12))
    assert net.core.positions.shape == (1, 36, 768)
    assert net.lr_transformer.positions.shape == (1, 9, 768)
    assert net.set_transformer.positions.shape == (1, 36, 768)
    assert net.set_encoder.channels == 8


def test_starts_at_zero_and_ignores_images_at_first():
    torch.manual_seed(0)
    net = build_network(BridgeSection(width=16, depth=1, heads=2), SIZE, FACTOR, LATENT)
    sets = lambert_set()
    cond = net.condition(sets)
    assert net(torch.randn(2, *LATENT), torch.rand(2), cond).abs().max() == 0
    dark = net.condition(replace(sets, images=torch.zeros_like(sets.images)))
    torch.testing.assert_close(cond.vector, dark.vector)


@pytest.mark.parametrize("encoder", [{}, PUBLISHED])
@pytest.mark.parametrize("network", ["dit", "unet"])
@pytest.mark.parametrize("space", ["latent", "pixel"])
def test_gradients_reach_every_parameter(network, space, encoder):
    net = tiny(network=network, space=space, patch_px=2, base=8, **encoder)
    shape = LATENT if space == "latent" else (1, SIZE, SIZE)
    out = net(torch.randn(2, *shape), torch.rand(2), net.condition(lambert_set()))
    assert out.shape == (2, *shape)
    out.square().mean().backward()
    lacking = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    # A convolution's bias just before a norm over single channels would be cancelled; there is none here.
    assert lacking == []


@pytest.mark.parametrize("encoder", [{}, PUBLISHED])
def test_set_is_unordered_and_padding_has_no_influence(encoder):
    net, sets = tiny(**encoder), lambert_set(images=5)
    reference = net.condition(sets).vector
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = replace(sets, images=sets.images[:, order], sun=sets.sun[:, order])
    torch.testing.assert_close(net.condition(shuffled).vector, reference)

    few = sets.present.clone()
    few[:, 3:] = False
    cut = replace(
        sets,
        images=sets.images[:, :3],
        valid=sets.valid[:, :3],
        sun=sets.sun[:, :3],
        present=sets.present[:, :3],
    )
    noise = sets.images.clone()
    noise[:, 3:] = float("nan")
    torch.testing.assert_close(
        net.condition(replace(sets, images=noise, present=few)).vector, net.condition(cut).vector
    )


def test_missing_pixels_are_dark_pixels():
    net, sets = tiny(), lambert_set()
    valid = sets.valid.clone()
    valid[:, :, :10] = False
    dark = replace(sets, images=sets.images * valid)
    assert torch.equal(net.condition(replace(sets, valid=valid)).vector, net.condition(dark).vector)


@pytest.mark.parametrize("encoder", ["pooled", "strided"])
def test_missing_pixels_may_have_a_value_of_their_own(encoder):
    net, sets = tiny(set_encoder=encoder, missing_pixel=-1.0), lambert_set()
    valid = sets.valid.clone()
    valid[:, :, :10] = False
    marked = replace(sets, images=torch.where(valid, sets.images, -1.0))
    dark = replace(sets, images=sets.images * valid)
    lost = net.condition(replace(dark, valid=valid)).vector
    assert torch.equal(lost, net.condition(marked).vector)
    assert (lost - net.condition(dark).vector).abs().max() > 1e-3


def test_sun_is_not_seen():
    net, sets = tiny(), lambert_set()
    turned = replace(sets, sun=-sets.sun)
    assert torch.equal(net.condition(turned).vector, net.condition(sets).vector)


@pytest.mark.parametrize("kind", [SetEncoder, partial(PooledSetEncoder, -1.0)])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_do_not_change_set_means_or_gradients(chunk, kind):
    sets = lambert_set(batch=3, images=5)
    present = sets.present.clone()
    present[1, 2:] = False
    torch.manual_seed(0)
    whole, chunked = stir(kind(chunk=15)).double(), kind(chunk=chunk).double()
    chunked.load_state_dict(whole.state_dict())
    results = [e(sets.images.double(), sets.valid, present) for e in (whole, chunked)]
    assert results[0].shape == (3, 8, SIZE // 8, SIZE // 8)
    torch.testing.assert_close(results[1], results[0])
    for result in results:
        result.square().sum().backward()
    for a, b in zip(whole.parameters(), chunked.parameters()):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-4 * float(a.grad.abs().max()) + 1e-6)


def test_empty_set_gives_zero_features():
    sets = lambert_set()
    features = SetEncoder()(sets.images, sets.valid, torch.zeros_like(sets.present))
    assert features.shape == (2, 8, SIZE // 8, SIZE // 8)
    assert features.abs().max() == 0


def test_a_sample_does_not_depend_on_its_neighbours_and_clones_repeat_it():
    net, sets = tiny(), lambert_set(batch=2)
    cond = net.condition(sets)
    x, t = torch.randn(2, *LATENT), torch.tensor([0.2, 0.9])
    out = net(x, t, cond)
    one = net.condition(sets.part(slice(1, None)))
    torch.testing.assert_close(net(x[1:], t[1:], one), out[1:])
    repeated = cond.repeat(3)
    assert torch.equal(repeated.vector[3:], cond.vector[1:].expand(3, -1))


def test_heights_in_kilometres_or_pixels():
    sets = lambert_set(pixel_m=40.0)
    km, px = tiny(height_unit="km"), tiny(height_unit="pixel")
    coarse = replace(sets, lr=sets.lr * 5, prior=sets.prior * 5, pixel_m=sets.pixel_m * 5)
    torch.testing.assert_close(px.condition(coarse).vector, px.condition(sets).vector)
    assert (km.condition(coarse).vector - km.condition(sets).vector).abs().max() > 1e-4
    same_numbers = replace(sets, lr=sets.lr * 25)  # 1000 m over 40 m
    torch.testing.assert_close(km.condition(same_numbers).vector, px.condition(sets).vector)


def test_a_wider_a_priori_is_seen():
    net = tiny(lr_halo_px=2 * FACTOR)
    sets = lambert_set(halo_cells=2)
    assert sets.lr.shape[-1] == SIZE // FACTOR + 4
    moved = sets.lr.clone()
    moved[:, 0, 0] += 100.0
    before, after = net.condition(sets).vector, net.condition(replace(sets, lr=moved)).vector
    assert (before - after).abs().max() > 1e-4


def test_time_is_an_integer_of_a_thousand_steps():
    time = TimeEmbedding(8)
    a, b, c = time(torch.tensor([500 / 999, 500.4 / 999, 501 / 999]))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_norms_keep_two_channels_a_group():
    assert group_norm(64).num_groups == 32
    assert group_norm(256).num_groups == 32
    assert group_norm(4).num_groups == 2
    assert group_norm(1).num_groups == 1
    assert isinstance(group_norm(6), nn.GroupNorm)


def test_positions_differ_and_need_a_multiple_of_four():
    positions = grid_positions(16, 3, 3)[0]
    assert torch.cdist(positions, positions).fill_diagonal_(1).min() > 0.1
    with pytest.raises(ValueError, match="width: expected a multiple of 4"):
        grid_positions(6, 2, 2)
