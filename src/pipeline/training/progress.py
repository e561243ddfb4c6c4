"""How far a training is: the lines of its curve, and how people see them."""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.training.events import EventFile

logger = logging.getLogger(__name__)

LOG_LINES = 200  # lines of metrics.jsonl a training writes


class Progress:
    """Samples seen and the lines of the curve; a pure function of the losses, so that a resume repeats it.

    Parameters
    ----------
    batch : samples a step. samples : of the whole training.
    """

    def __init__(self, batch: int, samples: int) -> None:
        self.batch, self.samples, self.seen = batch, samples, 0
        steps = math.ceil(samples / batch)
        self.every = max(1, steps // LOG_LINES)
        self.history: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}  # steps that had the loss: not all have all
        self.count = 0

    def resume(self, seen: int, state: dict[str, Any]) -> None:
        """Take over what a checkpoint holds."""
        self.seen = seen
        self.history, self.sums, self.count = state["history"], state["sums"], state["count"]
        self.counts = state.get("counts", dict.fromkeys(self.sums, self.count))

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"history": self.history, "sums": self.sums, "counts": self.counts, "count": self.count}

    def advance(self, losses: dict[str, float], rate: float) -> dict[str, float] | None:
        """Count a step; return a line of the curve when one is due."""
        self.seen += self.batch
        self.count += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        if self.count < self.every and self.seen < self.samples:
            return None
        line = {"samples": self.seen, "learning_rate": rate}
        line |= {name: total / self.counts[name] for name, total in self.sums.items()}
        self.history.append(line)
        self.sums, self.counts, self.count = {}, {}, 0
        return line


class Display:
    """Tell people: a bar on a terminal, plain lines in a log, and event files for TensorBoard.

    Parameters
    ----------
    name : of the training. run : its progress, resumed if it goes on.
    events : folder of its event files. shown : False in all processes of a group but the first.
    """

    def __init__(self, name: str, run: Progress, events: Path, shown: bool) -> None:
        self.name, self.run, self.shown = name, run, shown
        self._events = EventFile(events, run.seen)
        self._start, self._first = time.monotonic(), run.seen
        self._bar: Any = None

    def __enter__(self) -> Display:
        if self.shown and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.run.samples, initial=self._done(), desc=self.name, unit=" samples", mininterval=0.5
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, losses: dict[str, float], line: dict[str, float] | None) -> None:
        """After a step: its losses, and the line of the curve when one was due."""
        if not self.shown:
            return
        if line is not None:
            self._events.write(self.run.seen, {k: v for k, v in line.items() if k != "samples"})
        if self._bar is not None:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in losses.items()}, refresh=False)
            self._bar.update(self._done() - self._bar.n)
        elif line is not None:
            logger.info("%s: %s", self.name, self.describe(line))

    def describe(self, line: dict[str, float]) -> str:
        """A line for people: share done, losses, time left."""
        spent = time.monotonic() - self._start
        rate = (self.run.seen - self._first) / max(spent, 1e-9)
        left = (self.run.samples - self.run.seen) / max(rate, 1e-9)
        losses = "  ".join(f"{k} {v:.4g}" for k, v in line.items() if k not in ("samples", "learning_rate"))
        return (
            f"{self.run.seen}/{self.run.samples} samples  {losses}  {rate:.1f}/s  "
            f"{max(0.0, left) / 60:.1f} min left"
        )

    def _done(self) -> int:
        """Samples seen; the last batch may go beyond the end."""
        return min(self.run.seen, self.run.samples)
