"""Clones of windows that are parts of one map: its clones are its own, whatever is sampled beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_sets import FACTOR, SIZE, lambert_set, stir

from pipeline.bridges.fields import WindowNoise
from pipeline.config.bridge import SAMPLER_KINDS, BridgeSampler, BridgeSection
from pipeline.config.vae import VaeSection
from pipeline.models.batch import Batch
from pipeline.models.factory import build_vae
from pipeline.models.spaces import Codec
from pipeline.models.system import System

TINY = {"width": 32, "depth": 1, "heads": 2, "base": 8, "patch_px": 4, "steps": 50}
PIXEL = {"space": "pixel", "target": "residual", "conditioning": "aligned", "network": "unet"}
KINDS: dict[str, dict[str, Any]] = {
    "bridge": PIXEL,
    "draws": {**PIXEL, "score": "crps"},
    "estimate": {**PIXEL, "posterior_mean": True, "height_unit": "pixel"},
    "latent": {"space": "latent"},
}


def system(kind: str) -> System:
    sampler = BridgeSampler(nfe=2, kind=SAMPLER_KINDS["i2sb"][0])
    section = BridgeSection(**{**TINY, "sampler": sampler, **KINDS[kind]})
    torch.manual_seed(0)
    codec = None
    if section.space == "latent":
        vae = VaeSection(base=8, multipliers=[1, 2, 2], blocks=1, latent_channels=2)
        codec = Codec(build_vae(vae).eval().requires_grad_(False), vae)
    found = System(section, SIZE, FACTOR, 1.0, codec)
    return stir(found).eval()  # type: ignore[return-value]


def part(sets: Batch, index: int) -> Batch:
    return sets.part(slice(index, index + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_gives_the_same_clones_alone_and_in_a_batch(kind: str) -> None:
    sets, made = lambert_set(2, 3), system(kind)
    sources = [WindowNoise(5, 0, 0, SIZE), WindowNoise(5, 16, 8, SIZE)]
    both = made.sample(sets, 2, sources)
    alone = [made.sample(part(sets, i), 2, [sources[i]])[0] for i in range(2)]
    spread = float((both[:, 0] - both[:, 1]).std())
    assert spread > 1e-3
    torch.testing.assert_close(both, torch.stack(alone), rtol=1e-4, atol=1e-3 * spread + 1e-3)


@pytest.mark.parametrize("kind", ["bridge", "estimate"])
def test_clones_differ_and_earlier_ones_do_not_depend_on_their_number(kind: str) -> None:
    sets, made, source = lambert_set(1, 3), system(kind), [WindowNoise(5, 8, 8, SIZE)]
    two, four = made.sample(sets, 2, source)[0], made.sample(sets, 4, source)[0]
    spread = float((two[0] - two[1]).std())
    apart = (four[:, None] - four[None]).flatten(2).std(dim=-1)
    assert (apart[~torch.eye(4, dtype=torch.bool)] > 0.2 * spread).all() and spread > 1e-3
    if kind == "estimate":  # of two, half of the variance lies between their mean and them; of four, 3 / 4
        two = four.mean(dim=0) + (two - two.mean(dim=0)) * 1.5**0.5
    torch.testing.assert_close(two, four[:2], rtol=1e-4, atol=1e-3 * spread + 1e-3)


@pytest.mark.parametrize("change", [{"seed": 6}, {"row": 16}, {"col": 0}])
def test_clones_depend_on_seed_and_place(change: dict[str, int]) -> None:
    sets, made = lambert_set(1, 3), system("bridge")
    first = made.sample(sets, 1, [WindowNoise(**{"seed": 5, "row": 8, "col": 8, "size": SIZE})])
    other = made.sample(sets, 1, [WindowNoise(**{"seed": 5, "row": 8, "col": 8, "size": SIZE, **change})])
    assert float((first - other).std()) > 1e-3


def test_noise_of_the_state_is_the_windows_part_of_the_field() -> None:
    """With a network that says nothing of the images, clones of flat terrain are one map's."""
    made = system("bridge")

    def nothing(x: torch.Tensor, t: torch.Tensor, cond: object) -> torch.Tensor:
        return torch.zeros_like(x)

    made.network.forward = nothing  # type: ignore[method-assign, assignment]
    sampler = BridgeSampler(nfe=3, kind=SAMPLER_KINDS["i2sb"][0])
    flat = lambert_set(1, 2)
    flat = Batch(**{**vars(flat), "prior": torch.zeros_like(flat.prior), "lr": torch.zeros_like(flat.lr)})
    left, right = (
        made.sample(flat, 2, [WindowNoise(5, 0, col, SIZE)], sampler)[0, :, :, :] for col in (0, 16)
    )
    torch.testing.assert_close(left[:, :, 16:], right[:, :, :16])
    assert float(left.std()) > 0 and not torch.equal(left, right)


def test_the_window_must_be_the_systems_size() -> None:
    with pytest.raises(
        ValueError, match="noise: expected cells that divide a window of 33 px, found 32 x 32"
    ):
        system("bridge").sample(lambert_set(1, 2), 1, [WindowNoise(5, 0, 0, 33)])
