"""Networks of the rivals that draw members: the U-Net, the known part of the drift, laws of members."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from model_sets import FACTOR, SIZE, count, lambert_set, stir
from torch import Tensor

from pipeline.config.stochastic import DiffusionSection, YasudaSection
from pipeline.models.batch import Batch
from pipeline.models.stochastic import DiffusionNetwork, InterpolantNetwork, StochasticNetwork
from pipeline.terrain.blocks import block_mean

SMALL = {"widths": [8, 16], "embedding": 16, "unit_px": 2.0}
NETWORKS: dict[str, tuple[type[StochasticNetwork], type]] = {
    "yasuda": (InterpolantNetwork, YasudaSection),
    "diffusion": (DiffusionNetwork, DiffusionSection),
}


def network(name: str, **more: Any) -> StochasticNetwork:
    build, section = NETWORKS[name]
    torch.manual_seed(0)
    return stir(build(section(**{**SMALL, **more}), SIZE, FACTOR))  # type: ignore[call-arg,return-value]


def members(net: StochasticNetwork, batch: Batch, count: int) -> Tensor:
    return net.sample(batch, count, [torch.Generator().manual_seed(i) for i in range(len(batch))])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_the_published_one(name: str) -> None:
    build, section = NETWORKS[name]
    net = build(section(), 96, 16)  # type: ignore[call-arg]
    widths = [shrink.out_channels for shrink in net.unet.shrink]
    assert widths == [32, 64, 128, 256] and net.unet.attention.heads == 8
    assert net.unet.attention.query.in_channels == 256
    films = [module for key, module in net.unet.named_modules() if key.endswith("film")]
    assert len(films) == 9  # one per level on the way down, one after the attention, one per doubling
    assert count(net) == 3_958_019
    section_keys = section()
    assert (section_keys.optimiser.batch, section_keys.optimiser.learning_rate) == (32, 1e-4)
    assert section_keys.members == 64 and section_keys.nfe == {"yasuda": 10, "diffusion": 50}[name]
    with pytest.raises(
        ValueError, match=r"patches\.size_px: expected a multiple of 16 with 4 widths, found 40"
    ):
        build(section(), 40, 8)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", NETWORKS)
def test_heights_have_no_scale_and_images_guide(name: str) -> None:
    one, large = lambert_set(halo_cells=2), lambert_set(halo_cells=2, pixel_m=160.0)
    net = network(name, nfe=3)
    found = members(net, one, 3)
    assert found.shape == (2, 3, SIZE, SIZE)
    torch.testing.assert_close(members(net, large, 3), 4 * found, rtol=1e-3, atol=0.05)
    turned = members(net, replace(one, images=one.images.flip(3)), 3)
    assert (turned - found).abs().max() > 1e-3
    none = members(net, replace(one, present=torch.zeros_like(one.present)), 3)
    assert torch.isfinite(none).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_learns_and_samples_do_not_depend_on_each_other(name: str) -> None:
    batch, net = lambert_set(), network(name)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    loss = net.losses(batch, generators)["loss"]
    loss.backward()
    assert all(p.grad is not None for p in net.parameters())
    alone = [
        net.losses(batch.part(slice(i, i + 1)), [torch.Generator().manual_seed(i)])["loss"] for i in range(2)
    ]
    torch.testing.assert_close(loss, torch.stack(alone).mean())


@pytest.mark.parametrize("name", NETWORKS)
def test_many_members_are_drawn_in_parts_of_one_stream(name: str) -> None:
    batch, net = lambert_set(batch=1), network(name, nfe=2)
    found = members(net, batch, 20)
    assert found.shape[1] == 20 and len(torch.unique(found.flatten(2)[0, :, 0])) == 20
    torch.testing.assert_close(members(net, batch, 16), found[:, :16], rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_block_means_are_kept_where_asked_for(name: str) -> None:
    batch = lambert_set(halo_cells=2)
    cells = batch.lr[:, 2:-2, 2:-2]
    kept = members(network(name, nfe=2, keep_block_means=True), batch, 2)
    free = members(network(name, nfe=2), batch, 2)
    for each in range(2):
        torch.testing.assert_close(block_mean(kept[:, each], FACTOR), cells, rtol=0, atol=1e-2)
    assert (block_mean(free[:, 0], FACTOR) - cells).abs().max() > 0.1


def test_a_network_that_says_nothing_knows_the_drift_of_the_a_priori_dem() -> None:
    """With a truth equal to the a priori DEM and no noise, state and drift are exactly the known part."""
    batch = lambert_set()
    same = replace(batch, dem=batch.prior)
    for target, nfe in (("residual", 10), ("dem", 50)):
        keys = {**SMALL, "noise": 1e-6, "target": target, "nfe": nfe}
        net = InterpolantNetwork(YasudaSection(**keys), SIZE, FACTOR)
        losses = net.losses(same, [torch.Generator().manual_seed(i) for i in range(2)])
        assert float(losses["loss"].detach()) < 1e-9
        drawn = members(net, same, 2)
        # Euler's steps miss the curve of the known part, which only the DEM itself has to follow.
        wanted = batch.prior[:, None].expand_as(drawn)
        torch.testing.assert_close(drawn, wanted, rtol=0.01 if target == "dem" else 0, atol=0.02)


def exact(net: StochasticNetwork, mean: Tensor, std: float) -> None:
    """Put the exact network output for truths N(mean, std^2) in units, per pixel, in the network's place."""

    def drift(x: Tensor, t: Tensor, x1: Tensor, condition: Tensor) -> Tensor:
        eps, time = net.noise, float(t[0])  # type: ignore[union-attr]
        wanted = mean if net.moves_dem else mean - net.prior  # type: ignore[operator]
        noise = (eps * (1 - time)) ** 2 * time
        gain = (2 * std**2 * time**3 - eps**2 * (1 - time) * time) / ((time**2 * std) ** 2 + noise or 1.0)
        return 2 * time * wanted - x1 + gain * (x - (1 - time) * x1 - time**2 * wanted)

    net.output = drift  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("target", "kind", "nfe", "mean", "std"),
    [
        ("dem", "euler", 10, 1.78, 0.268),  # facts of the method: Euler-Maruyama of the DEM itself
        ("residual", "euler", 10, 1.89, 0.268),  # loses the same share, but of the residual
        ("dem", "dbim", 10, 2.0, 0.234),  # its denoiser is a point, so that members are too close
        ("dem", "euler", 200, 1.99, 0.3),
    ],
)
def test_members_of_an_exact_drift_have_the_law_that_theory_gives(
    target: str, kind: str, nfe: int, mean: float, std: float
) -> None:
    """The toy of one height: x_H ~ N(2, 0.3^2), x_L = 1, epsilon 0.2, in the unit of the process."""
    batch = lambert_set(batch=1)
    pixel = 40.0
    flat = replace(batch, prior=torch.full_like(batch.prior, 1.0 * 2.0 * pixel))
    net = network("yasuda", target=target, kind=kind, nfe=nfe, eta=1.0)
    assert isinstance(net, InterpolantNetwork)
    net.prior = 1.0  # type: ignore[assignment]
    exact(net, torch.tensor(2.0), 0.3)
    drawn = members(net, flat, 32) / (2.0 * pixel)
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.012)
    assert float(drawn.std()) == pytest.approx(std, abs=0.012)
