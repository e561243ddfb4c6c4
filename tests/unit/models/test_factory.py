"""Which networks exist, and the errors of those that cannot be built."""

from __future__ import annotations

import itertools

import pytest
import torch
from model_sets import FACTOR, SIZE, lambert_set, stir
from safetensors.torch import load_file, save_file

from pipeline.config.bridge import BridgeSection
from pipeline.models.factory import build_network
from pipeline.models.inputs import height_scale

SMALL = {"width": 16, "depth": 1, "heads": 2, "base": 8}


@pytest.mark.parametrize(
    ("space", "conditioning", "network", "target", "height_unit"),
    list(
        itertools.product(
            ["latent", "pixel"],
            ["published", "aligned"],
            ["dit", "unet"],
            ["dem", "residual"],
            ["km", "pixel"],
        )
    ),
)
def test_every_combination_exists(space, conditioning, network, target, height_unit, tmp_path):
    section = BridgeSection(
        space=space,
        conditioning=conditioning,
        network=network,
        target=target,
        height_unit=height_unit,
        **SMALL,
    )
    shape = (3, SIZE // 8, SIZE // 8) if space == "latent" else (1, SIZE, SIZE)
    nets = []
    for seed in range(2):
        torch.manual_seed(seed)
        net = build_network(section, SIZE, FACTOR, shape if space == "latent" else None)
        nets.append(stir(net, seed).eval())
    sets = lambert_set(images=3)
    x, t = torch.randn(2, *shape), torch.tensor([0.0, 1.0])
    with torch.no_grad():
        cond = nets[0].condition(sets)
        out = nets[0](x, t, cond)
        later = nets[0](x, 1 - t, cond)
        save_file(nets[0].state_dict(), tmp_path / "net.safetensors")
        nets[1].load_state_dict(load_file(tmp_path / "net.safetensors"))
        again = nets[1](x, t, nets[1].condition(sets))
    assert out.shape == x.shape
    assert out.abs().max() > 0
    assert not torch.equal(out, later)
    assert torch.equal(out, again)


def test_other_sizes():
    section = BridgeSection(space="pixel", conditioning="aligned", network="unet", **SMALL)
    for size, factor in ((48, 16), (96, 16), (24, 4)):
        net = build_network(section, size, factor)
        sets = lambert_set(batch=1, size=size, factor=factor)
        assert net(torch.zeros(1, 1, size, size), torch.zeros(1), net.condition(sets)).shape[-1] == size


def test_latents_of_a_shallower_vae():
    for conditioning, network in itertools.product(["published", "aligned"], ["dit", "unet"]):
        section = BridgeSection(conditioning=conditioning, network=network, **SMALL)
        net = build_network(section, SIZE, FACTOR, (2, SIZE // 2, SIZE // 2))
        x = torch.zeros(2, 2, SIZE // 2, SIZE // 2)
        assert net(x, torch.zeros(2), net.condition(lambert_set())).shape == x.shape


@pytest.mark.parametrize(
    ("changes", "size", "factor", "latent", "message"),
    [
        ({"space": "pixel"}, 30, 16, None, "patches.factor: expected a divisor of size_px = 30, found 16"),
        ({"lr_halo_px": 10}, 32, 8, (4, 4, 4), "lr_halo_px: expected a multiple of the factor 8, found 10"),
        ({}, 32, 8, None, "space: expected a VAE with 'latent' .* found none"),
        ({"space": "pixel"}, 32, 8, (4, 4, 4), "space: expected .* none with 'pixel', found one"),
        ({}, 32, 8, (4, 4, 8), "vae.multipliers: expected square latents"),
        ({"patch_px": 3}, 32, 8, (4, 4, 4), "patch_px: expected a divisor of the state's 4 cells"),
        ({"space": "pixel", "network": "unet"}, 36, 12, None, "patches.size_px: expected a multiple of 8"),
        (
            {"conditioning": "aligned", "network": "unet"},
            32,
            8,
            (4, 1, 1),
            "patches.size_px: expected a size",
        ),
        ({"network": "unet", "heads": 3}, 32, 8, (4, 4, 4), "width: expected a multiple of heads = 3"),
    ],
)
def test_errors_name_the_key(changes, size, factor, latent, message):
    section = BridgeSection(**{**SMALL, **changes})
    with pytest.raises(ValueError, match=message):
        build_network(section, size, factor, latent)


def test_height_scale():
    pixel_m = torch.tensor([20.0, 40.0])
    torch.testing.assert_close(height_scale("km", pixel_m) * 2500, torch.tensor([2.5, 2.5]))
    torch.testing.assert_close(height_scale("pixel", pixel_m) * 80, torch.tensor([4.0, 2.0]))
