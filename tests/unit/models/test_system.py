"""Systems: every combination trains and samples, and a sample is what its network says, in metres."""

from __future__ import annotations

import itertools
from dataclasses import replace
from operator import attrgetter
from typing import Any

import pytest
import torch
from model_sets import FACTOR, SIZE, lambert_set, stir
from torch import Tensor, nn

from pipeline.config.bridge import SAMPLER_KINDS, BridgeSampler, BridgeSection
from pipeline.config.vae import VaeSection
from pipeline.jobs.seeds import seeded
from pipeline.models.batch import Batch
from pipeline.models.factory import build_vae
from pipeline.models.spaces import Codec
from pipeline.models.system import System, state_scale
from pipeline.terrain.blocks import block_mean

VAE = VaeSection(base=8, multipliers=[1, 2, 2], blocks=1, latent_channels=2)
HALO = 1
PIXEL_M = 40.0


def codec(target: str = "dem", unit: str = "km") -> Codec:
    torch.manual_seed(5)
    section = VAE.model_copy(update={"target": target, "height_unit": unit})
    return Codec(build_vae(section).eval().requires_grad_(False), section)


def section(**changes: Any) -> BridgeSection:
    process = changes.get("process", "i2sb")
    tiny = {"width": 32, "depth": 1, "heads": 2, "base": 8, "patch_px": 4, "steps": 50}
    sampler = {"nfe": 2, "kind": SAMPLER_KINDS[process][0]}
    return BridgeSection(**{**tiny, "sampler": sampler, **changes})


def system(seed: int = 0, scale: float = 1.0, **changes: Any) -> System:
    config = section(**changes)
    torch.manual_seed(seed)
    vae = codec(config.target, config.height_unit) if config.space == "latent" else None
    return System(config, SIZE, FACTOR, scale, vae).eval()


def batch(count: int = 2, halo_cells: int = 0, seed: int = 0, pixel_m: float = PIXEL_M) -> Batch:
    return lambert_set(count, 4, pixel_m=pixel_m, halo_cells=halo_cells, seed=seed)


def row(sets: Batch, index: int) -> Batch:
    """One patch of a batch as a batch of its own."""
    return sets.part(slice(index, index + 1))


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [seeded(seed, i) for i in range(count)]


PIXEL_ALIGNED = {"space": "pixel", "target": "residual", "conditioning": "aligned", "network": "unet"}
ESTIMATE = {**PIXEL_ALIGNED, "posterior_mean": True, "slope_weight": 0.5, "height_unit": "pixel"}
COMBINATIONS = [
    {"space": space, "target": target, "process": process, "conditioning": conditioning, "network": network}
    for space, target, process, conditioning, network in itertools.product(
        ("latent", "pixel"),
        ("dem", "residual"),
        ("i2sb", "interpolant", "diffusion"),
        ("published", "aligned"),
        ("dit", "unet"),
    )
]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: "-".join(c.values()))
def test_every_combination_trains_and_samples(combination: dict[str, str]) -> None:
    one = system(**combination)
    stir(one.network)
    sets = batch()
    losses = one.losses(sets, generators(2))
    assert all(torch.isfinite(value) for value in losses.values())
    losses["loss"].backward()
    touched = [p.grad is not None and p.grad.abs().sum() > 0 for p in one.network.parameters()]
    assert sum(touched) > 0.9 * len(touched)
    clones = one.sample(sets, 3, generators(2))
    assert clones.shape == (2, 3, SIZE, SIZE)
    assert torch.isfinite(clones).all()
    assert not torch.equal(clones[:, 0], clones[:, 1])


LAWS = [
    {"process": process, "network": network, "space": space, "conditioning": "aligned", "score": "crps"}
    for process, network, space in itertools.product(
        ("i2sb", "interpolant", "diffusion"), ("dit", "unet"), ("latent", "pixel")
    )
]


@pytest.mark.parametrize("combination", LAWS, ids=lambda c: "-".join(c.values()))
def test_a_law_is_learned_and_drawn_from(combination: dict[str, str]) -> None:
    one = system(**combination)
    stir(one.network)
    sets = batch()
    one.losses(sets, generators(2))["loss"].backward()
    assert all(p.grad is not None for p in one.network.head.parameters())
    # Without the process's own noise, what is left to tell clones apart is the noise that the network reads.
    kind = "ode" if combination["process"] == "i2sb" else "dbim"
    clones = one.sample(sets, 2, generators(2), BridgeSampler(nfe=1, kind=kind))
    assert torch.isfinite(clones).all()
    assert not torch.equal(clones[:, 0], clones[:, 1])


@pytest.mark.parametrize("target", ["dem", "residual"])
def test_with_an_estimate_states_are_what_it_leaves_over(target: str) -> None:
    one = system(scale=0.5, **{**ESTIMATE, "target": target})
    stir(one.network)
    sets = batch()
    cond = one.condition(sets)
    assert cond.estimate.mean.abs().max() > 0
    space = one.around(cond)
    state = space.states(sets.dem, sets, generators(2))[0]
    rest = (sets.dem - sets.prior) / PIXEL_M / 0.5 - cond.estimate.mean[:, 0]
    torch.testing.assert_close(state[:, 0], rest)
    assert space.starts(sets, generators(2))[0].abs().max() == 0
    back = space.heights(state, sets, 1)[:, 0]
    torch.testing.assert_close(back, sets.dem, atol=1e-3, rtol=0)


def test_with_a_law_states_are_in_units_of_the_estimates_spread() -> None:
    one = system(scale=0.5, **{**ESTIMATE, "score": "crps"})
    stir(one.network)
    sets = batch()
    cond = one.condition(sets)
    assert cond.estimate.spread.min() > 0
    assert cond.estimate.spread.std() > 0
    space = one.around(cond)
    state = space.states(sets.dem, sets, generators(2))[0]
    rest = (sets.dem - sets.prior) / PIXEL_M / 0.5 - cond.estimate.mean[:, 0]
    torch.testing.assert_close(state[:, 0] * cond.estimate.spread[:, 0], rest)
    back = space.heights(state, sets, 1)[:, 0]
    torch.testing.assert_close(back, sets.dem, atol=1e-3, rtol=0)
    losses = one.losses(sets, generators(2))
    parameters = list(one.network.trunk.to_spread.parameters())
    moved = torch.autograd.grad(losses["spread"], parameters, retain_graph=True)
    assert all(g.abs().sum() > 0 for g in moved)
    # The process takes the spread as given: a wide one must not be a way to a small score.
    still = torch.autograd.grad(losses["bridge"], parameters, allow_unused=True)
    assert all(g is None for g in still)


class Silent(nn.Module):
    """A network whose answer is zero: the state it is shown is already the truth."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.condition = network.condition

    def forward(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
        return torch.zeros_like(x)


def test_a_silent_residual_bridge_returns_the_prior() -> None:
    """I2SB starts at zero residual; what is left is the last step's small noise."""
    one = system(scale=1.0, height_unit="pixel", **PIXEL_ALIGNED)
    one.network = Silent(one.network)
    sets = batch()
    ode = BridgeSampler(nfe=5, kind="ode")
    clones = one.sample(sets, 2, generators(2), ode)
    torch.testing.assert_close(clones, sets.prior[:, None].expand(-1, 2, -1, -1), atol=1e-3, rtol=0)


def test_a_silent_bridge_with_an_estimate_returns_the_estimate() -> None:
    one = system(scale=0.25, **ESTIMATE)
    stir(one.network)
    sets = batch()
    estimate = one.condition(sets).estimate.mean[:, 0].detach() * 0.25 * PIXEL_M + sets.prior
    one.network = Silent(one.network)
    clones = one.sample(sets, 2, generators(2), BridgeSampler(nfe=5, kind="ode"))
    torch.testing.assert_close(clones[:, 0], estimate, atol=1e-2, rtol=1e-5)


@pytest.mark.parametrize(
    "combination",
    [
        ESTIMATE,
        {**ESTIMATE, "score": "crps"},
        {"space": "latent"},
        {"space": "pixel", "process": "interpolant", "conditioning": "aligned"},
    ],
)
def test_a_patchs_clones_do_not_depend_on_its_batch(combination: dict[str, Any]) -> None:
    one = system(**combination)
    stir(one.network)
    sets = batch(3)
    together = one.sample(sets, 2, generators(3))
    for index in range(3):
        alone = one.sample(row(sets, index), 2, generators(3)[index : index + 1])
        torch.testing.assert_close(alone[0], together[index], atol=2e-2, rtol=1e-4)


@pytest.mark.parametrize("score", ["squared", "crps"])
def test_losses_of_a_sample_do_not_depend_on_its_batch(score: str) -> None:
    one = system(**{**ESTIMATE, "score": score})
    stir(one.network)
    sets = batch(3)
    together = one.losses(sets, generators(3))["loss"]
    alone = [one.losses(row(sets, i), generators(3)[i : i + 1])["loss"] for i in range(3)]
    torch.testing.assert_close(torch.stack(alone).mean(), together, rtol=1e-4, atol=1e-6)


def test_clones_depend_on_their_generators_alone() -> None:
    one = system(space="latent")
    stir(one.network)
    sets = batch()
    first, again, other = (one.sample(sets, 2, generators(2, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("combination", [PIXEL_ALIGNED, ESTIMATE, {"space": "pixel", "target": "dem"}])
@pytest.mark.parametrize("halo_cells", [0, HALO])
def test_kept_block_means_are_those_of_the_a_priori_dem(combination: dict, halo_cells: int) -> None:
    one = system(keep_block_means=True, lr_halo_px=halo_cells * FACTOR, **combination)
    stir(one.network)
    sets = batch(2, halo_cells)
    cells = sets.lr[:, halo_cells : sets.lr.shape[1] - halo_cells, halo_cells : sets.lr.shape[2] - halo_cells]
    found = block_mean(one.sample(sets, 2, generators(2)), FACTOR)
    torch.testing.assert_close(found, cells[:, None].expand_as(found), atol=2e-3, rtol=0)


@pytest.mark.parametrize("combination", [ESTIMATE, {**PIXEL_ALIGNED, "height_unit": "pixel"}])
def test_in_pixels_a_system_knows_no_scale(combination: dict[str, Any]) -> None:
    """Terrain twice as large under pixels twice as large gives clones twice as large."""
    one = system(**combination)
    stir(one.network)
    sets = batch()
    doubled = replace(sets, dem=2 * sets.dem, lr=2 * sets.lr, prior=2 * sets.prior, pixel_m=2 * sets.pixel_m)
    small, large = one.sample(sets, 2, generators(2)), one.sample(doubled, 2, generators(2))
    torch.testing.assert_close(large, 2 * small, atol=2e-2, rtol=1e-4)


@pytest.mark.parametrize(("combination", "name"), [(ESTIMATE, "estimate.mean"), (PIXEL_ALIGNED, "origin")])
def test_the_scale_of_states_leaves_the_terrain_alone(combination: dict[str, Any], name: str) -> None:
    small, large = (system(scale=scale, **combination) for scale in (0.5, 2.0))
    sets = batch()
    for one in (small, large):
        stir(one.network)
    a, b = (attrgetter(name)(one.condition(sets)) for one in (small, large))
    assert a.abs().max() > 0
    torch.testing.assert_close(0.5 * a, 2.0 * b)


@pytest.mark.parametrize("members", [1, 3])
def test_a_latent_start_is_encoded_once_and_drawn_anew(members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = system(space="latent")
    calls = []
    encode = one.codec.vae.encode
    monkeypatch.setattr(one.codec.vae, "encode", lambda x: calls.append(1) or encode(x))
    sets = batch()
    starts = one.around(one.condition(sets)).starts(sets, generators(2), members)
    assert len(calls) == 1
    assert len(starts) == members
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(starts, 2))


def test_latent_states_are_the_same_in_reduced_precision() -> None:
    one, sets = system(space="latent"), batch()
    space = one.around(one.condition(sets))
    full = space.states(sets.dem, sets, generators(2))[0]
    with torch.autocast("cpu", torch.bfloat16):
        reduced = space.states(sets.dem, sets, generators(2))[0]
    assert reduced.dtype == torch.float32 and torch.equal(reduced, full)


def test_a_sample_set_is_embedded_once_whatever_the_evaluations_and_members() -> None:
    one = system(space="latent")
    seen: dict[str, list[int]] = {}
    parts = ("lr_transformer", "set_encoder", "set_transformer", "time", "core")
    for name in parts:
        getattr(one.network, name).register_forward_hook(
            lambda _, inputs, __, name=name: seen.setdefault(name, []).append(len(inputs[0]))
        )
    clones = one.sample(batch(2), 3, generators(2), BridgeSampler(nfe=4))
    assert clones.shape[:2] == (2, 3)
    once, each = [2], [6, 6, 6, 6]  # sample sets; clones at every evaluation
    assert seen == dict(zip(parts, (once, once, once, each, each)))


@pytest.mark.parametrize("combination", [PIXEL_ALIGNED, ESTIMATE], ids=["bridge", "estimate"])
def test_aligned_fields_are_computed_once_whatever_the_evaluations_and_members(
    combination: dict[str, Any],
) -> None:
    one = system(**combination)
    seen: list[int] = []
    one.network.trunk.register_forward_hook(lambda *_: seen.append(1))
    one.sample(batch(2), 3, generators(2), BridgeSampler(nfe=4))
    assert seen == [1]


@pytest.mark.parametrize("target", ["dem", "residual"])
@pytest.mark.parametrize("unit", ["km", "pixel"])
def test_the_codec_inverts_its_maps(target: str, unit: str) -> None:
    one, sets = codec(target, unit), batch()
    maps = one.maps(sets.dem, sets)
    heights = sets.dem - sets.prior if target == "residual" else sets.dem
    torch.testing.assert_close(maps[:, 0], heights / (1000 if unit == "km" else PIXEL_M))
    torch.testing.assert_close(one.dem(maps, sets), sets.dem, atol=1e-3, rtol=0)


def test_the_vae_is_no_part_of_what_is_trained() -> None:
    one = system(space="latent")
    assert not [name for name, _ in one.named_parameters() if not name.startswith("network.")]
    assert not any(p.requires_grad for p in one.codec.vae.parameters())


def test_a_latent_system_needs_its_vae() -> None:
    with pytest.raises(
        ValueError, match="space: expected a VAE with 'latent' and none with 'pixel', found none"
    ):
        System(section(space="latent"), SIZE, FACTOR, 1.0)
    with pytest.raises(ValueError, match=r"bridge\.space: expected a VAE for the latent space, found none"):
        system(space="pixel").codec  # noqa: B018


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, 1.0),
        ({"space": "pixel", "target": "dem"}, 1.0),
        ({"space": "pixel", "target": "residual", "height_unit": "pixel"}, 0.2),
        ({"space": "pixel", "target": "residual", "height_unit": "km"}, 0.2 * 40 / 1000),
        ({"space": "latent", "target": "residual"}, 1.0),
        ({"space": "pixel", "target": "residual", "state_scale": 3.0}, 3.0),
    ],
)
def test_the_default_scale_of_states(changes: dict[str, Any], wanted: float) -> None:
    assert state_scale(section(**changes), {"residual_px": 0.2}, 40.0) == pytest.approx(wanted)


def test_the_diffusion_learns_the_scale_of_its_residual() -> None:
    one = system(process="diffusion", **PIXEL_ALIGNED)
    sets = batch()
    found = one.residual_std(sets, generators(2))
    wanted = ((sets.dem - sets.prior) / 1000).pow(2).mean().sqrt()
    assert found == pytest.approx(float(wanted), rel=1e-4)
    one.rescale(found)
    assert one.residual_scale == found
    assert torch.isfinite(one.losses(sets, generators(2))["loss"])


def test_truth_is_needed_to_train_but_not_to_sample() -> None:
    one = system(**ESTIMATE)
    sets = batch()
    unknown = replace(sets, dem=None)
    wanted, found = (one.sample(x, 2, generators(2)) for x in (sets, unknown))
    assert torch.equal(wanted, found)
    with pytest.raises(AssertionError):
        one.losses(unknown, generators(2))


def test_padding_and_data_outside_the_mask_do_not_matter() -> None:
    one = system(**ESTIMATE)
    stir(one.network)
    sets = batch()
    more = {
        name: torch.cat([getattr(sets, name), torch.full_like(getattr(sets, name)[:, :2], value)], dim=1)
        for name, value in {"images": 7.0, "valid": False, "sun": 0.5, "present": False}.items()
    }
    padded = replace(sets, **more)
    wanted, found = (one.sample(x, 2, generators(2)) for x in (sets, padded))
    torch.testing.assert_close(found, wanted, atol=2e-2, rtol=1e-4)
