"""The data order: a pure function of the seed and the sample's number."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.jobs.seeds import seeded
from pipeline.training.order import DataOrder

patches = st.integers(1, 50)
seeds = st.integers(0, 2**32 + 3)
numbers = st.integers(0, 10**9)


@given(patches, seeds, st.lists(numbers, min_size=1, max_size=20))
def test_a_sample_depends_on_seed_and_number_alone(count: int, seed: int, asked: list[int]) -> None:
    """Whatever was asked before, in whatever order, by whichever process."""
    used = DataOrder(count, seed)
    found = {n: used.patch(n) for n in asked}
    for number in reversed(asked):
        fresh = DataOrder(count, seed)
        assert fresh.patch(number) == found[number] == used.patch(number)
        assert 0 <= found[number] < count
        assert fresh.scene_rng(number).random() == used.scene_rng(number).random()
        assert torch.equal(
            torch.rand(3, generator=fresh.noise(number)), torch.rand(3, generator=used.noise(number))
        )
    np.testing.assert_array_equal(DataOrder(count, seed).flips(asked), used.flips(asked))
    np.testing.assert_array_equal(used.flips(asked)[-1], used.flips(asked[-1:])[0])


@given(patches, seeds, st.integers(0, 20))
def test_every_epoch_shows_each_patch_once(count: int, seed: int, epoch: int) -> None:
    order = DataOrder(count, seed)
    shown = [order.patch(n) for n in range(epoch * count, (epoch + 1) * count)]
    assert sorted(shown) == list(range(count))


@given(seeds, st.sampled_from([1, 2, 3, 4, 6, 12]), st.sampled_from([1, 2, 3]), st.integers(0, 5))
def test_batches_processes_and_restarts_change_nothing(seed: int, batch: int, world: int, stop: int) -> None:
    """The samples of all processes, in the order of their numbers, are one sequence."""
    count, total = 7, 36
    straight = [DataOrder(count, seed).patch(n) for n in range(total)]
    seen: dict[int, int] = {}
    for rank in range(world):
        order = DataOrder(count, seed)
        for start in range(0, total, batch * world):
            if start == stop * batch * world:
                order = DataOrder(count, seed)  # this process was killed and started again
            for n in range(start + rank * batch, min(total, start + (rank + 1) * batch)):
                seen[n] = order.patch(n)
    assert [seen[n] for n in range(total)] == straight


def test_epochs_and_seeds_differ() -> None:
    order = DataOrder(40, 0)
    first, second = ([order.patch(n + 40 * epoch) for n in range(40)] for epoch in (0, 1))
    other = [DataOrder(40, 1).patch(n) for n in range(40)]
    assert first != second
    assert first != other
    assert first != list(range(40))


def test_streams_of_a_sample_are_apart() -> None:
    """Images, flips and noise of samples share no random number."""
    order = DataOrder(10, 3)
    draws = np.concatenate([order.scene_rng(n).random(4) for n in range(100)])
    noise = np.concatenate([torch.rand(4, generator=order.noise(n)).double().numpy() for n in range(100)])
    assert len(set(draws)) == 400
    assert len(set(noise)) == 400


def test_transpositions_are_fair_and_independent_of_flips() -> None:
    order = DataOrder(10, 3)
    turned, flips = order.transpositions(range(4000)), order.flips(range(4000))
    assert turned.shape == (4000,)
    assert abs(turned.mean() - 0.5) < 0.04
    assert np.all(abs((flips & turned[:, None]).mean(axis=0) - 0.25) < 0.04)
    np.testing.assert_array_equal(order.transpositions([7, 2]), turned[[7, 2]])


def test_flips_are_fair_and_independent() -> None:
    flips = DataOrder(10, 3).flips(range(4000))
    assert flips.shape == (4000, 2)
    assert flips.dtype == bool
    assert np.all(abs(flips.mean(axis=0) - 0.5) < 0.04)
    assert abs((flips[:, 0] & flips[:, 1]).mean() - 0.25) < 0.04


@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=4))
def test_seeded_generators_depend_on_every_number(entropy: list[int]) -> None:
    def draw(*values: int) -> list[float]:
        return torch.rand(4, generator=seeded(*values)).tolist()

    assert draw(*entropy) == draw(*entropy)
    for i in range(len(entropy)):
        changed = [*entropy[:i], entropy[i] + 1, *entropy[i + 1 :]]
        assert draw(*changed) != draw(*entropy)
