"""Training: a straight run and an interrupted one give the same bits, and nothing is lost without a word."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_setups import (
    ALIGNED,
    FREE,
    OPTIMISER,
    PUBLISHED,
    VAE,
    bridge_stage,
    bridge_task,
    vae_stage,
    vae_task,
)

from pipeline.config.runtime import RuntimeSection
from pipeline.config.training import OptimiserSection
from pipeline.models.files import load_system, load_vae, model_config
from pipeline.training import loop
from pipeline.training.bridge import train_bridge
from pipeline.training.checkpoints import CheckpointError, Checkpoints
from pipeline.training.loop import Outcome, TrainingStopped, train
from pipeline.training.vae import train_vae

EACH_STEP, NEVER = 0.0, 1e9  # minutes between checkpoints
TASKS: dict[str, Callable[[Path], Any]] = {"vae": vae_task, "bridge": bridge_task}
SETUP = Path(__file__).parents[1] / "training_setups.py"


class Interrupted(Exception):
    """What a crash looks like from inside."""


def run(task: Any, folder: Path, minutes: float = NEVER, key: str = "key") -> Outcome:
    return train(
        task,
        OPTIMISER,
        ema=0.9,
        key=key,
        folder=folder,
        device=torch.device("cpu"),
        checkpoint_minutes=minutes,
        name="test",
    )


def at_step(task: Any, number: int, act: Callable[[], None]) -> Any:
    """Make `task` do something just before the given step (counted in samples seen)."""
    step = task.step

    def changed(prepared: Any, numbers: Sequence[int], seen: int) -> dict[str, float]:
        if seen == number:
            act()
        return step(prepared, numbers, seen)

    task.step = changed
    return task


def crash() -> None:
    raise Interrupted


def same(a: Outcome, b: Outcome) -> None:
    """Bit for bit the same weights and curve."""
    assert a.history == b.history
    assert a.state.keys() == b.state.keys()
    for name, value in a.state.items():
        assert torch.equal(value, b.state[name]), name


@pytest.fixture(scope="module")
def straight(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Uninterrupted trainings without any checkpoint in between."""
    folder = tmp_path_factory.mktemp("straight")
    return {name: run(make(small_manifest), folder / name) for name, make in TASKS.items()}


@pytest.mark.parametrize("name", TASKS)
def test_training_does_something(straight: dict[str, Outcome], name: str, small_manifest: Path) -> None:
    outcome = straight[name]
    fresh = TASKS[name](small_manifest).modules["model"].state_dict()
    assert [line["samples"] for line in outcome.history] == list(range(4, 33, 4))
    assert all(math.isfinite(v) for line in outcome.history for v in line.values())
    assert any(not torch.equal(fresh[k], v) for k, v in outcome.state.items())
    assert outcome.first


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("stops", [(4,), (16, 28)])
def test_an_interrupted_run_ends_as_a_straight_one(
    straight: dict[str, Outcome], name: str, stops: tuple[int, ...], small_manifest: Path, tmp_path: Path
) -> None:
    for stop in stops:
        with pytest.raises(Interrupted):
            run(at_step(TASKS[name](small_manifest), stop, crash), tmp_path, EACH_STEP)
        found = Checkpoints(tmp_path, "key").load()
        assert found is not None
        assert found[0] == stop
    same(run(TASKS[name](small_manifest), tmp_path, EACH_STEP), straight[name])


def test_an_old_checkpoint_does_as_well(
    straight: dict[str, Outcome], small_manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        run(at_step(bridge_task(small_manifest), 20, crash), tmp_path, EACH_STEP)
    newest = tmp_path / f"{20:012d}.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    with caplog.at_level(logging.INFO):
        outcome = run(bridge_task(small_manifest), tmp_path)
    assert f"{newest}: expected sha256" in caplog.text
    assert "resumed at 16 of 32 samples" in caplog.text
    same(outcome, straight["bridge"])


def test_damage_everywhere_stops_and_says_what_to_do(small_manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(at_step(bridge_task(small_manifest), 8, crash), tmp_path, EACH_STEP)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"found 2 damaged; delete the folder .* to start this training"
    ):
        run(bridge_task(small_manifest), tmp_path)


def test_checkpoints_of_another_stage_are_refused(small_manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(at_step(bridge_task(small_manifest), 8, crash), tmp_path, EACH_STEP, key="old")
    with pytest.raises(CheckpointError, match="expected checkpoints of stage key new, found old"):
        run(bridge_task(small_manifest), tmp_path, key="new")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_finishes_the_step_saves_and_leaves_with_75(
    straight: dict[str, Outcome], small_manifest: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    task = at_step(bridge_task(small_manifest), 12, lambda: os.kill(os.getpid(), number))
    try:
        with pytest.raises(TrainingStopped) as caught:
            run(task, tmp_path)
        os.kill(os.getpid(), number)  # a second one does not cut the way out short
    finally:
        for each in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(each, before if each == number else signal.SIG_DFL)
    assert (caught.value.code, caught.value.samples) == (75, 16)
    same(run(bridge_task(small_manifest), tmp_path), straight["bridge"])


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    small_manifest: Path, tmp_path: Path
) -> None:
    task = bridge_task(small_manifest)

    def poison() -> None:
        with torch.no_grad():
            next(task.system.network.parameters()).fill_(float("nan"))

    at_step(task, 12, poison)
    with pytest.raises(
        ValueError, match=r"test: expected finite losses, found .*nan.* at sample 12; .*kept in"
    ):
        run(task, tmp_path, EACH_STEP)
    found = Checkpoints(tmp_path, "key").load()
    assert found is not None
    assert found[0] == 12
    assert all(torch.isfinite(v).all() for v in found[1].values())


@pytest.mark.parametrize(("step", "minutes", "kept"), [(12, EACH_STEP, 12), (28, NEVER, None)])
def test_weights_that_are_not_finite_are_neither_saved_nor_shipped(
    small_manifest: Path, tmp_path: Path, step: int, minutes: float, kept: int | None
) -> None:
    """The gradient of one step is spoilt, its loss is not: caught before the checkpoint, or at the end."""
    task = bridge_task(small_manifest)

    def poison() -> None:
        next(task.system.network.parameters()).register_hook(lambda gradient: gradient * float("nan"))

    at_step(task, step, poison)
    with pytest.raises(
        ValueError, match=rf"expected finite weights, found .* at sample {step + 4}; .*kept in"
    ):
        run(task, tmp_path, minutes)
    found = Checkpoints(tmp_path, "key").load()
    assert (found and found[0]) == kept
    assert found is None or all(torch.isfinite(v).all() for v in found[1].values())


def test_a_finished_training_can_be_asked_again(
    straight: dict[str, Outcome], small_manifest: Path, tmp_path: Path
) -> None:
    """When the results could not be written, the last checkpoint gives them without another step."""
    run(bridge_task(small_manifest), tmp_path)
    again = at_step(bridge_task(small_manifest), 0, crash)
    same(run(again, tmp_path), straight["bridge"])


def test_samples_are_prepared_once_each_in_order_and_not_beyond_the_end(
    small_manifest: Path, tmp_path: Path
) -> None:
    task = bridge_task(small_manifest)
    prepare, asked = task.prepare, []

    def noted(numbers: Sequence[int]) -> Any:
        asked.extend(numbers)
        return prepare(numbers)

    task.prepare = noted
    run(task, tmp_path)
    assert asked == list(range(32))


def test_a_mistake_in_preparing_is_told(small_manifest: Path, tmp_path: Path) -> None:
    task = bridge_task(small_manifest)
    task.prepare = lambda numbers: crash()
    with pytest.raises(Interrupted):
        run(task, tmp_path)


def test_the_batch_divides_into_the_processes(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def three(device: torch.device) -> Any:
        yield 0, 3

    monkeypatch.setattr(loop, "process_group", three)
    with pytest.raises(ValueError, match="batch: expected a multiple of the 3 processes, found 4"):
        run(bridge_task(small_manifest), tmp_path)


@pytest.mark.parametrize("make", [vae_task, bridge_task])
def test_bf16_trains_and_keeps_single_precision_weights(
    make: Callable, small_manifest: Path, tmp_path: Path, straight: dict[str, Outcome]
) -> None:
    outcome = run(make(small_manifest, precision="bf16"), tmp_path)
    wanted = straight["vae" if make is vae_task else "bridge"]
    assert {v.dtype for v in outcome.state.values()} == {v.dtype for v in wanted.state.values()}
    last, full = outcome.history[-1]["loss"], wanted.history[-1]["loss"]
    assert last != full
    assert abs(last - full) < 0.2 * full


def test_more_training_gives_less_loss(small_manifest: Path, tmp_path: Path) -> None:
    section = OptimiserSection(samples=240, batch=8, learning_rate=3e-3)
    outcome = train(
        bridge_task(small_manifest),
        section,
        ema=0.0,
        key="key",
        folder=tmp_path,
        device=torch.device("cpu"),
        checkpoint_minutes=NEVER,
        name="test",
    )
    first, last = (
        sum(line["loss"] for line in lines) for lines in (outcome.history[:5], outcome.history[-5:])
    )
    assert last < 0.8 * first


# --- the stages -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae_file(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vae") / "key" / "model.safetensors"
    train_vae(vae_stage(), "key", small_manifest, RuntimeSection(device="cpu"), out)
    return out


def test_the_vae_stage_writes_its_weights_and_tidies_up(vae_file: Path, straight: dict[str, Outcome]) -> None:
    assert sorted(p.name for p in vae_file.parent.iterdir()) == [
        "checkpoints",  # the last one, until the workflow notes that the stage is done
        "config.json",
        "events",
        "metrics.jsonl",
        "model.safetensors",
    ]
    assert [p.name for p in vae_file.parent.glob("checkpoints/*.safetensors")] == [f"{32:012d}.safetensors"]
    for name, value in load_file(vae_file).items():
        assert torch.equal(value, straight["vae"].state[name])
    lines = [json.loads(line) for line in vae_file.with_name("metrics.jsonl").read_text().splitlines()]
    assert lines == straight["vae"].history
    assert load_vae(vae_file).section == VAE


def test_a_finished_training_whose_files_were_deleted_is_not_trained_again(
    vae_file: Path, small_manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As Snakemake does after a kill between a job's end and its own note of it."""
    shutil.copytree(vae_file.parent / "checkpoints", tmp_path / "checkpoints")
    with caplog.at_level(logging.INFO):
        train_vae(vae_stage(), "key", small_manifest, RuntimeSection(device="cpu"), tmp_path / vae_file.name)
    assert "resumed at 32 of 32 samples" in caplog.text
    for name in (vae_file.name, "config.json", "metrics.jsonl"):
        assert (tmp_path / name).read_bytes() == vae_file.with_name(name).read_bytes()


@pytest.mark.parametrize("bridge", [ALIGNED, PUBLISHED], ids=["aligned", "published"])
def test_stages_start_from_the_last_ones_weights(
    bridge: dict[str, Any], small_manifest: Path, vae_file: Path, tmp_path: Path
) -> None:
    vae = [str(vae_file)] if bridge is PUBLISHED else []
    runtime, previous = RuntimeSection(device="cpu"), []
    for name in ("fibonacci", "arcs", "missing"):
        out = tmp_path / name / "model.safetensors"
        few = {"samples": 4, "learning_rate": 1e-9, "warmup_samples": 0}
        train_bridge(bridge_stage(bridge, name, few), name, small_manifest, vae, previous, runtime, out)
        if previous:
            before, after = load_file(previous[0]), load_file(out)
            for key, value in after.items():
                torch.testing.assert_close(value, before[key], atol=1e-6, rtol=0)
        previous = [str(out)]
    config = model_config(out, "bridge")
    assert (config["stage"], config["key"]) == ("missing", "missing")
    assert load_system(out, vae_file if vae else None).section.network == ("dit" if vae else "unet")


def test_weights_of_another_system_are_refused(small_manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "model.safetensors"
    section = bridge_stage(ALIGNED, optimiser={"samples": 4})
    runtime = RuntimeSection(device="cpu")
    train_bridge(section, "a", small_manifest, [], [], runtime, out)
    other = bridge_stage({**ALIGNED, "beta_max": 0.2}, optimiser={"samples": 4})
    with pytest.raises(ValueError, match=r"a/model\.safetensors: expected the weights of this system, found"):
        train_bridge(other, "b", small_manifest, [], [str(out)], runtime, tmp_path / "b" / "m")


def start(manifest: Path, out: Path, samples: int, minutes: float = NEVER, **env: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SETUP), str(manifest), str(out), str(samples), str(minutes)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_agree_with_one(small_manifest: Path, tmp_path: Path) -> None:
    """To 1e-5 of the weights' norm and of the losses: sums over the batch are taken in another order."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    outs = [tmp_path / name / "model.safetensors" for name in ("first", "second", "alone")]
    both = [start(small_manifest, out, 32, RANK=str(r), **group) for r, out in enumerate(outs[:2])]
    runtime = RuntimeSection(device="cpu")
    train_bridge(bridge_stage(FREE), "key", small_manifest, [], [], runtime, outs[2])
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    states = [load_file(out) for out in (outs[0], outs[2])]
    two, one = (torch.cat([state[k].flatten() for k in sorted(state)]) for state in states)
    assert 0 < (two - one).norm() < 1e-5 * one.norm()
    curves = [
        [json.loads(line)["loss"] for line in out.with_name("metrics.jsonl").read_text().splitlines()]
        for out in (outs[0], outs[2])
    ]
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    assert not outs[1].exists()  # the first process alone writes


def test_a_terminated_process_saves_exits_75_and_goes_on(small_manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed" / "model.safetensors"
    process = start(small_manifest, out, 100_000)
    assert process.stderr is not None
    for line in process.stderr:  # until it trains
        if "samples  bridge" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "asked to stop; saved at " in errors
    found = Checkpoints(out.parent / "checkpoints", "key").load()
    assert found is not None
    assert found[0] > 0
    assert found[0] % 4 == 0
    assert not out.exists()


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(small_manifest: Path, tmp_path: Path) -> None:
    """SIGKILL, with a checkpoint after every step, then compare bits with a straight run."""
    samples, out = 240, tmp_path / "killed" / "model.safetensors"
    straight = tmp_path / "straight" / "model.safetensors"
    server = subprocess.Popen(
        [sys.executable, str(SETUP), "serve"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None and server.stdout is not None

    def begin(out: Path, minutes: float) -> int:
        server.stdin.write(json.dumps([str(small_manifest), str(out), str(samples), str(minutes)]) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    def code() -> int:
        return int(server.stdout.readline())

    def place() -> int:
        index = out.parent / "checkpoints" / "index.json"
        entries = json.loads(index.read_text())["checkpoints"] if index.exists() else []
        return entries[-1]["samples"] if entries else 0

    began = time.monotonic()
    begin(straight, NEVER)
    assert code() == 0
    step = (time.monotonic() - began) * OPTIMISER.batch / samples
    rng, places = random.Random(0), [0]
    for _ in range(20):
        process, deadline = begin(out, 1e-6), time.monotonic() + 300
        while place() == places[-1]:  # until it has resumed and gone on
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.uniform(0, step))
        os.kill(process, signal.SIGKILL)
        assert code() == -signal.SIGKILL  # in the midst of it, not after the end
        places.append(place())
    assert not out.exists()
    begin(out, 1e-6)
    assert code() == 0
    server.stdin.close()
    assert server.wait(timeout=60) == 0
    assert places == sorted(set(places)) and places[-1] < samples
    assert out.read_bytes() == straight.read_bytes()
    assert out.with_name("metrics.jsonl").read_text() == straight.with_name("metrics.jsonl").read_text()
    curve = EventAccumulator(str(out.parent / "events"))
    curve.Reload()
    lines = [json.loads(line) for line in out.with_name("metrics.jsonl").read_text().splitlines()]
    assert [e.step for e in curve.Scalars("loss")] == [line["samples"] for line in lines]
    assert [e.value for e in curve.Scalars("loss")] == pytest.approx([line["loss"] for line in lines])
