"""Autoencoder and critic take turns, counted by one counter of steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_setups import OPTIMISER, VAE, vae_task

from pipeline.training import loop
from pipeline.training.loop import Ema, Outcome, train
from pipeline.training.vae import VaeTask

# Of the 8 steps of 4 samples, two and two train the autoencoder and the critic; the GAN starts at the fifth.
TURNS = VAE.model_copy(update={"gan_alternate": 2})


class Interrupted(Exception):
    """What a crash looks like from inside."""


def run(task: VaeTask, folder: Path) -> Outcome:
    rest: dict[str, Any] = {"device": torch.device("cpu"), "checkpoint_minutes": 0.0, "name": "test"}
    return train(task, OPTIMISER, ema=0.9, key="key", folder=folder, **rest)


def test_who_is_trained_in_which_step(small_manifest: Path, tmp_path: Path) -> None:
    task = vae_task(small_manifest, section=TURNS)
    step, trained, losses = task.step, [], []

    def noted(prepared: Any, numbers: Any, seen: int) -> dict[str, float]:
        def weights() -> dict[str, list[torch.Tensor]]:
            return {name: [p.detach().clone() for p in m.parameters()] for name, m in task.modules.items()}

        before, out = weights(), step(prepared, numbers, seen)
        after = weights()
        moved = [n for n in before if any(not torch.equal(a, b) for a, b in zip(before[n], after[n]))]
        trained.append(moved)
        losses.append(set(out) - {"loss", "reconstruction", "kl"})
        return out

    task.step = noted  # type: ignore[method-assign]
    history = run(task, tmp_path).history
    vae, critic = ["model"], ["critic"]
    assert trained == [vae, vae, [], [], vae, vae, critic, critic]
    assert losses == [set()] * 4 + [{"generator"}] * 2 + [{"critic"}] * 2
    assert all(line["reconstruction"] > 0 for line in history)


def test_the_average_advances_only_when_the_autoencoder_is_trained(
    small_manifest: Path, tmp_path: Path
) -> None:
    updates: list[int] = []

    class Counted(Ema):
        def update(self) -> None:
            super().update()
            updates.append(self.updates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Ema", Counted)
        run(vae_task(small_manifest, section=TURNS), tmp_path)
    assert updates == [1, 2, 3, 4]  # four of the eight steps


def test_an_interrupted_training_in_turns_ends_as_a_straight_one(
    small_manifest: Path, tmp_path: Path
) -> None:
    straight = run(vae_task(small_manifest, section=TURNS), tmp_path / "straight")
    for stop in (12, 28):  # inside a turn of the critic, before and after the GAN started
        task = vae_task(small_manifest, section=TURNS)
        step = task.step

        def stopped(prepared: Any, numbers: Any, seen: int, stop: int = stop, step: Any = step) -> Any:
            if seen == stop:
                raise Interrupted
            return step(prepared, numbers, seen)

        task.step = stopped  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            run(task, tmp_path / "again")
    resumed = run(vae_task(small_manifest, section=TURNS), tmp_path / "again")
    assert resumed.history == straight.history
    assert all(torch.equal(value, straight.state[name]) for name, value in resumed.state.items())


def test_without_turns_the_critic_learns_in_the_steps_of_the_autoencoder(small_manifest: Path) -> None:
    with_gan = vae_task(small_manifest)
    assert not any(with_gan.critics_turn(seen) for seen in range(0, 64, 4))
    none = vae_task(small_manifest, section=TURNS.model_copy(update={"gan_weight": 0.0}))
    assert not any(none.critics_turn(seen) for seen in range(0, 64, 4))
