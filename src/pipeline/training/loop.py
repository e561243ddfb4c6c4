"""The training loop: progress is counted in samples; running the same command again resumes."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.config.training import OptimiserSection
from pipeline.training.adam import Adam
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.progress import Display, Progress

logger = logging.getLogger(__name__)

SAVED = 75  # exit code EX_TEMPFAIL: worth a retry


class TrainingStopped(SystemExit):
    """Training was asked to stop; everything is saved, and the same command resumes it."""

    def __init__(self, samples: int) -> None:
        super().__init__(SAVED)
        self.samples = samples


class Task(Protocol):
    """What is trained. `modules` and `optimisers` are saved under their names; `model` is the product.

    Each process of a group computes its share of every batch, and `step` must average the gradients
    (`average_gradients`), so that all processes have the same weights.
    """

    modules: dict[str, nn.Module]
    optimisers: dict[str, Adam]

    def prepare(self, numbers: Sequence[int]) -> Any:
        """Read the given samples on the host; runs one step ahead, in a thread."""

    def step(self, prepared: Any, numbers: Sequence[int], seen: int) -> dict[str, float]:
        """Forward, backward and optimiser step on this process's share of the batch; returns its losses."""


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes
    ----------
    state : the product's weights (their moving average, if there is one).
    history : lines of the training curve.
    first : whether this process is the first of its group, the one that writes results.
    """

    state: dict[str, Tensor]
    history: list[dict[str, float]]
    first: bool


@contextmanager
def process_group(device: torch.device) -> Iterator[tuple[int, int]]:
    """Context in the process group of `torchrun`, read from the environment; yields (rank, world size)."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank(), world
    finally:
        dist.destroy_process_group()


def averaged(values: Tensor) -> Tensor:
    """The mean of a tensor over the processes of the group."""
    if not dist.is_initialized():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over the processes of the group, in one communication."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = averaged(torch.cat([g.flatten() for g in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(part.view_as(gradient))


def learning_rate(section: OptimiserSection, seen: int) -> float:
    """Step size after `seen` samples: linear warm-up, then constant or a half cosine down to zero."""
    rate = section.learning_rate
    if seen < section.warmup_samples:
        return rate * (seen + section.batch) / (section.warmup_samples + section.batch)
    if section.decay == "cosine":
        share = (seen - section.warmup_samples) / max(1, section.samples - section.warmup_samples)
        rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return rate


class Ema:
    """Exponential moving average of a module's weights; a decay of 0 keeps the weights themselves."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.updates = module, decay, 0
        self.average = {k: v.detach().clone() for k, v in module.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average; the first updates decay faster, so that initial weights are forgotten."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self.module.state_dict().items():
            if name in self.average:
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
                else:
                    self.average[name].copy_(value)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights; without a decay, the weights themselves."""
        return self.average or {k: v.detach().clone() for k, v in self.module.state_dict().items()}


class _StopRequest:
    """Records SIGTERM (cancel, time limit) and SIGUSR1 (early warning): the loop then saves and exits."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopRequest:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # signals are only received by the main thread
                break
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.asked = True

    def __exit__(self, *_: object) -> None:
        if self.asked:  # this process is about to exit: a second signal must not interrupt that
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)


def train(
    task: Task,
    section: OptimiserSection,
    *,
    ema: float,
    key: str,
    folder: Path,
    device: torch.device,
    checkpoint_minutes: float,
    name: str,
) -> Outcome:
    """Train for `section.samples` samples, from the newest intact checkpoint if there is one.

    Parameters
    ----------
    task : modules, optimisers and one step. section : length, batch, learning rate.
    ema : decay of the moving average of the weights that is returned; 0 returns the weights themselves.
    key : the stage's key. folder : of checkpoints; event files are in ``events`` beside it.
    device : of the losses. checkpoint_minutes : interval between checkpoints. name : for log lines.

    Raises
    ------
    ValueError
        If a loss, or a weight to be saved, is not finite (the last good checkpoint is kept), or the batch is
        not a multiple of the number of processes.
    CheckpointError
        If there are checkpoints but none can be used.
    TrainingStopped
        On SIGTERM or SIGUSR1, after saving.
    """
    average = Ema(task.modules["model"], ema)
    checkpoints = Checkpoints(folder, key)
    run = Progress(section.batch, section.samples)
    found = checkpoints.load()
    if found is not None:
        seen, tensors, state = found
        _restore(task, average, tensors)
        run.resume(seen, state)
        average.updates = state["ema_updates"]
        logger.info("%s: resumed at %d of %d samples", name, run.seen, section.samples)

    with (
        process_group(device) as (rank, world),
        _StopRequest() as stop,
        Display(name, run, folder.with_name("events"), shown=rank == 0) as display,
    ):
        if section.batch % world:
            raise ValueError(f"batch: expected a multiple of the {world} processes, found {section.batch}")
        share = section.batch // world
        starts = range(run.seen, section.samples, section.batch)
        shares = (range(seen + rank * share, seen + (rank + 1) * share) for seen in starts)

        def save() -> None:
            tensors = _tensors(task, average)
            # A gradient may be infinite although the losses were still finite.
            spoilt = [k for k, v in tensors.items() if not bool(torch.isfinite(v).all())]
            if spoilt:
                raise ValueError(
                    f"{name}: expected finite weights, found others in {spoilt[0]} at sample {run.seen}; "
                    f"the last good checkpoint is kept in {folder}"
                )
            if rank == 0:
                checkpoints.save(run.seen, tensors, {**run.state(), "ema_updates": average.updates})

        last_save = time.monotonic()
        for numbers, prepared in _one_ahead(task, shares):
            rate = learning_rate(section, run.seen)
            for optimiser in task.optimisers.values():
                optimiser.learning_rate = rate
            before = task.optimisers["model"].updates
            losses, asked = _agree(task.step(prepared, numbers, run.seen), stop.asked, device)
            if not all(math.isfinite(v) for v in losses.values()):
                raise ValueError(
                    f"{name}: expected finite losses, found {losses} at sample {run.seen}; "
                    f"the last good checkpoint is kept in {folder}"
                )
            if task.optimisers["model"].updates > before:  # not in a critic's turn
                average.update()
            display.show(losses, run.advance(losses, rate))
            if asked:
                save()
                _agree({}, True, device)  # wait until the first process has saved: any exit ends all
                logger.warning("%s: asked to stop; saved at %d samples", name, run.seen)
                raise TrainingStopped(run.seen)
            if time.monotonic() - last_save > 60 * checkpoint_minutes:
                save()
                last_save = time.monotonic()
        if starts:
            save()  # so that nothing is lost if writing the results fails
    return Outcome(average.state(), run.history, rank == 0)


def _one_ahead(task: Task, shares: Iterable[range]) -> Iterator[tuple[range, Any]]:
    """Sample numbers and the output of `prepare`, computed in a thread during the previous step."""
    waiting: tuple[range, Future[Any]] | None = None
    with ThreadPoolExecutor(1) as thread:
        for numbers in shares:
            ready, waiting = waiting, (numbers, thread.submit(task.prepare, numbers))
            if ready is not None:
                yield ready[0], ready[1].result()
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _agree(losses: Mapping[str, float], asked: bool, device: torch.device) -> tuple[dict[str, float], bool]:
    """Losses of the whole batch, and whether any process was asked to stop.

    All processes of a group get the same result, so that they leave the loop at the same step.
    """
    *means, stops = averaged(torch.tensor([*losses.values(), float(asked)], device=device)).tolist()
    return dict(zip(losses, means)), stops > 0


def _tensors(task: Task, average: Ema) -> dict[str, Tensor]:
    """All tensors of a training, under flat names."""
    out: dict[str, Tensor] = {f"ema/{k}": v for k, v in average.average.items()}
    for name, module in task.modules.items():
        out |= {f"module/{name}/{k}": v for k, v in module.state_dict().items()}
    for name, optimiser in task.optimisers.items():
        for index, slots in optimiser.state().items():
            out |= {f"optimiser/{name}/{index}/{slot}": v for slot, v in slots.items()}
    return out


def _restore(task: Task, average: Ema, tensors: dict[str, Tensor]) -> None:
    """Invert `_tensors`."""
    for name, value in average.average.items():
        value.copy_(tensors[f"ema/{name}"])
    for name, module in task.modules.items():
        prefix = f"module/{name}/"
        module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
    for name, optimiser in task.optimisers.items():
        prefix = f"optimiser/{name}/"
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, slot = key[len(prefix) :].split("/", 1)
                slots.setdefault(int(index), {})[slot] = value
        optimiser.load_state(slots)
