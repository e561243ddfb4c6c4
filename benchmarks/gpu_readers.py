"""Training samples read by several processes, since a GPU would wait for one thread.

A sample is a function of its number, so that it does not depend on the process that reads it.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pipeline.shards.batches import Sample, read_sample
from pipeline.shards.scene import NO_IMAGES
from pipeline.shards.scene_samples import read_scene
from pipeline.training.bridge import BridgeTask
from pipeline.training.order import DataOrder
from pipeline.training.vae import VaeTask


@cache
def _opened(path: str) -> tuple[Any, ...]:
    """Inputs of a task: shards, order, scene, cells of halo, and the draw of rendered scenes."""
    return pickle.loads(Path(path).read_bytes())


def _read(path: str, numbers: Sequence[int]) -> list[Any]:
    """Samples of rendered scenes; other samples have packed visibility, an eighth of the bytes to send."""
    shards, order, scene, halo_cells, rendered = _opened(path)
    out: list[Any] = []
    for number in numbers:
        shard, patch = shards.at(order.patch(number))
        if rendered is not None:
            out.append(read_scene(shard, patch, order.scene_rng(number), *rendered, halo_cells))
            continue
        images = NO_IMAGES
        if scene is not None:
            images = scene.image_set(shard, patch, order.scene_rng(number))
        sample = read_sample(shard, patch, images, halo_cells)
        out.append(replace(sample, visible=np.packbits(sample.visible != 0, axis=-1)))
    return out


def _ready(_: int) -> None:
    """Do nothing: after it, the process has finished its imports."""


class Readers:
    """Processes that read samples for any task.

    Parameters
    ----------
    processes : number of them. folder : for files that describe the inputs of tasks.
    """

    def __init__(self, processes: int, folder: Path) -> None:
        self.processes, self.folder = processes, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._pool = ProcessPoolExecutor(processes, get_context("spawn"))
        self._orders: list[DataOrder] = []
        self._lock = Lock()
        list(self._pool.map(_ready, range(4 * processes)))

    def prepare(self, task: BridgeTask | VaeTask, numbers: Sequence[int]) -> list[Any]:
        """The result of `task.prepare`."""
        with self._lock:
            known = self._known(task)
        each = max(1, -(-len(numbers) // self.processes))
        parts = [numbers[k : k + each] for k in range(0, len(numbers), each)]
        read = self._pool.map(_read, repeat(str(known)), parts)
        return [
            _unpacked(sample) if isinstance(sample, Sample) else sample for part in read for sample in part
        ]

    def _known(self, task: BridgeTask | VaeTask) -> Path:
        """File that describes the inputs of a task."""
        number = next((k for k, order in enumerate(self._orders) if order is task.order), len(self._orders))
        path = self.folder / f"{number}.pickle"
        if number == len(self._orders):
            scene = task.scene if isinstance(task, BridgeTask) else None
            halo_cells = task.system.halo_cells if isinstance(task, BridgeTask) else task.halo_cells
            rendered = None
            if isinstance(task, BridgeTask) and task.draw is not None:
                rendered = task.draw, task.masks
            path.write_bytes(pickle.dumps((task.shards, task.order, scene, halo_cells, rendered)))
            self._orders.append(task.order)
        return path

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Context in which trainings read with these processes."""
        kinds = (BridgeTask, VaeTask)
        before = [kind.prepare for kind in kinds]
        for kind in kinds:
            kind.prepare = lambda task, numbers: self.prepare(task, numbers)  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            for kind, method in zip(kinds, before, strict=True):
                kind.prepare = method  # type: ignore[method-assign]


def _unpacked(sample: Sample) -> Sample:
    size = sample.surface.shape[-1] - 2
    return replace(sample, visible=np.unpackbits(sample.visible, axis=-1, count=size) * np.uint8(255))
