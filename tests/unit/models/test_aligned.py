"""The aligned network: symmetries, units, learning."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from model_sets import FACTOR, SIZE, lambert_set, stir
from safetensors.torch import load_file, save_file

from pipeline.config.bridge import BridgeSection
from pipeline.models.aligned import AlignedNet
from pipeline.models.apriori import crop_halo
from pipeline.models.factory import build_network
from pipeline.terrain.blocks import block_mean

PIXEL = {
    "space": "pixel",
    "target": "residual",
    "conditioning": "aligned",
    "network": "unet",
    "height_unit": "pixel",
    "base": 8,
    "width": 16,
    "depth": 1,
    "heads": 2,
}


def build(seed: int = 0, amount: float = 0.05, **changes) -> AlignedNet:
    section = BridgeSection(**{**PIXEL, **changes})
    latent = (3, SIZE // 4, SIZE // 4) if section.space == "latent" else None
    torch.manual_seed(seed)
    net = build_network(section, SIZE, FACTOR, latent)
    assert isinstance(net, AlignedNet)
    stir(net, amount=amount)
    return net


def conditions_close(a, b, **tolerance):
    torch.testing.assert_close(a.features, b.features, **tolerance)
    torch.testing.assert_close(a.estimate.mean, b.estimate.mean, **tolerance)


@pytest.mark.parametrize("network", ["unet", "dit"])
@pytest.mark.parametrize("space", ["pixel", "latent"])
def test_gradients_reach_every_parameter(space, network):
    net = build(space=space, network=network)
    shape = (1, SIZE, SIZE) if space == "pixel" else (3, SIZE // 4, SIZE // 4)
    cond = net.condition(lambert_set(images=6))
    out = net(torch.randn(2, *shape), torch.rand(2), cond)
    assert out.shape == (2, *shape)
    loss = out.square().mean()
    if space == "pixel":
        assert cond.estimate.mean.shape == (2, 1, SIZE, SIZE)
        loss = loss + cond.estimate.mean.square().mean()
    loss.backward()
    lacking = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert lacking == []


def test_set_is_unordered_and_padding_has_no_influence():
    net, sets = build(), lambert_set(images=5)
    reference = net.condition(sets)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = replace(sets, images=sets.images[:, order], sun=sets.sun[:, order])
    conditions_close(net.condition(shuffled), reference, rtol=1e-3, atol=1e-4)

    few = sets.present.clone()
    few[:, 3:] = False
    cut = replace(
        sets,
        images=sets.images[:, :3],
        valid=sets.valid[:, :3],
        sun=sets.sun[:, :3],
        present=sets.present[:, :3],
    )
    loud = sets.images.clone()
    loud[:, 3:] = 1e6
    padded = replace(sets, images=loud, present=few)
    conditions_close(net.condition(padded), net.condition(cut), rtol=1e-3, atol=1e-4)


def test_missing_pixels_have_no_influence():
    net, sets = build(), lambert_set(images=5)
    valid = sets.valid.clone()
    valid[:, 0, :16] = False
    loud = sets.images.clone()
    loud[:, 0, :16] = 1e3
    a = net.condition(replace(sets, valid=valid))
    b = net.condition(replace(sets, valid=valid, images=loud))
    assert torch.equal(a.features, b.features)


def test_chunks_do_not_change_the_condition_or_gradients():
    sets = lambert_set(batch=2, images=5)
    nets = [build() for _ in range(2)]
    nets[1].trunk.encoder.chunk = 3
    conds = [net.condition(sets) for net in nets]
    conditions_close(conds[0], conds[1], rtol=1e-4, atol=1e-5)
    for cond in conds:
        cond.features.square().mean().backward()
    for a, b in zip(nets[0].trunk.encoder.parameters(), nets[1].trunk.encoder.parameters()):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-2, atol=1e-3 * float(a.grad.abs().max()))


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_scale_free(factor):
    net, sets = build(), lambert_set(halo_cells=0)
    other = replace(
        sets,
        lr=sets.lr * factor,
        prior=sets.prior * factor,
        pixel_m=sets.pixel_m * factor,
        dem=sets.dem * factor,
    )
    a, b = net.condition(sets), net.condition(other)
    conditions_close(a, b, rtol=1e-3, atol=1e-4)
    x, t = torch.randn(2, 1, SIZE, SIZE), torch.rand(2)
    torch.testing.assert_close(net(x, t, a), net(x, t, b), rtol=1e-3, atol=1e-4)


def test_exposure_does_not_matter():
    net, sets = build(), lambert_set()
    conditions_close(
        net.condition(replace(sets, images=sets.images * 17.0)), net.condition(sets), rtol=1e-3, atol=1e-4
    )


def test_the_sun_matters():
    net, sets = build(), lambert_set()
    mirrored = replace(sets, sun=sets.sun * torch.tensor([-1.0, 1.0, 1.0]))
    assert (net.condition(mirrored).estimate.mean - net.condition(sets).estimate.mean).abs().max() > 1e-3


def test_estimate_in_kilometres_is_the_one_in_pixels():
    sets = lambert_set(pixel_m=40.0)
    px, km = build().condition(sets).estimate.mean, build(height_unit="km").condition(sets).estimate.mean
    torch.testing.assert_close(km * 1000 / 40.0, px)


def test_estimate_keeps_block_means_when_asked():
    sets = lambert_set(halo_cells=2)
    cond = build(keep_block_means=True, lr_halo_px=2 * FACTOR).condition(sets)
    dem = sets.prior + cond.estimate.mean[:, 0] * 40.0
    torch.testing.assert_close(block_mean(dem, FACTOR), crop_halo(sets.lr, SIZE // FACTOR), rtol=0, atol=1e-3)


def test_state_is_seen_relative_to_the_estimate_or_as_what_it_leaves_over():
    sets, x, t = lambert_set(), torch.randn(2, 1, SIZE, SIZE), torch.rand(2)
    rest, residual, dem = build(posterior_mean=True), build(), build(target="dem")
    mean = rest.condition(sets).estimate.mean
    prior = sets.prior[:, None] / 40.0
    assert rest.condition(sets).origin is None
    expected = rest(x, t, rest.condition(sets))
    torch.testing.assert_close(
        residual(x + mean, t, residual.condition(sets)), expected, rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(dem(x + mean + prior, t, dem.condition(sets)), expected, rtol=1e-3, atol=1e-4)


def test_clones_repeat_the_condition():
    net, sets = build(), lambert_set()
    cond = net.condition(sets)
    many = cond.repeat(3)
    x, t = torch.randn(6, 1, SIZE, SIZE), torch.rand(6)
    out = net(x, t, many)
    alone = replace(
        cond,
        features=cond.features[1:],
        estimate=cond.estimate.mapped(lambda x: x[1:]),
        origin=cond.origin[1:],
    )
    second = net(x[3:], t[3:], alone.repeat(3))
    torch.testing.assert_close(out[3:], second, rtol=1e-4, atol=1e-5)


def test_weights_survive_safetensors(tmp_path):
    net, other, sets = build(seed=1), build(seed=2), lambert_set()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    other.load_state_dict(load_file(tmp_path / "net.safetensors"))
    x, t = torch.randn(2, 1, SIZE, SIZE), torch.rand(2)
    assert torch.equal(net(x, t, net.condition(sets)), other(x, t, other.condition(sets)))


def test_empty_sets_are_finite():
    net, sets = build(), lambert_set()
    cond = net.condition(replace(sets, present=torch.zeros_like(sets.present)))
    assert torch.isfinite(cond.features).all()


def test_published_budget():
    section = BridgeSection(**{**PIXEL, "base": 32, "posterior_mean": True})
    with torch.device("meta"):
        net = build_network(section, 96, 16)
    assert 1.0e6 < sum(p.numel() for p in net.parameters()) < 1.5e6


def test_bfloat16_autocast_keeps_the_condition_close():
    net, sets = build(amount=0.0), lambert_set()
    with torch.no_grad():
        reference = net.condition(sets)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net.condition(sets)
    assert rounded.estimate.mean.dtype == torch.float32
    assert (rounded.estimate.mean - reference.estimate.mean).abs().max() < 0.02


def test_learns_smooth_lambert_terrain_in_a_few_steps():
    net = build(amount=0.0, keep_block_means=True)
    optimiser = torch.optim.Adam(net.trunk.parameters(), lr=3e-3)
    held_out = lambert_set(batch=8, images=8, seed=999)

    def error(sets):
        truth = (sets.dem - sets.prior)[:, None] / 40.0
        return (net.condition(sets).estimate.mean - truth).square().mean(), truth.square().mean()

    for step in range(40):
        loss, _ = error(lambert_set(batch=8, images=8, seed=step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        left, bicubic = error(held_out)
    assert (left / bicubic).sqrt() < 0.4


@pytest.mark.slow
def test_full_size_step():
    section = BridgeSection(**{**PIXEL, "base": 32, "posterior_mean": True, "keep_block_means": True})
    net = build_network(section, 96, 16)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    sets = lambert_set(batch=4, images=20, size=96, factor=16)
    for _ in range(2):
        cond = net.condition(sets)
        out = net(torch.randn(4, 1, 96, 96), torch.rand(4), cond)
        loss = (out - 1).square().mean() + cond.estimate.mean.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.isfinite(loss)
