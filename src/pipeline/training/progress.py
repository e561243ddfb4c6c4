"""Progress of a training: the lines of its curve, and their display."""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.training.events import EventFile

logger = logging.getLogger(__name__)

LOG_LINES = 200  # approximate number of lines of metrics.jsonl per training


class Progress:
    """Samples seen and lines of the curve; a pure function of the losses, so that a resumed run repeats it.

    Parameters
    ----------
    batch : samples per step. samples : of the whole training.
    """

    def __init__(self, batch: int, samples: int) -> None:
        self.batch, self.samples, self.seen = batch, samples, 0
        steps = math.ceil(samples / batch)
        self.every = max(1, steps // LOG_LINES)
        self.history: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}  # number of steps with each loss, which not all steps have
        self.count = 0

    def resume(self, seen: int, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.seen = seen
        self.history, self.sums, self.count = state["history"], state["sums"], state["count"]
        self.counts = state.get("counts", dict.fromkeys(self.sums, self.count))

    def state(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"history": self.history, "sums": self.sums, "counts": self.counts, "count": self.count}

    def advance(self, losses: dict[str, float], rate: float) -> dict[str, float] | None:
        """Count a step; return a line of the curve if one is due."""
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
    """Displays progress: a bar on a terminal, lines in a log, and event files for TensorBoard.

    Parameters
    ----------
    name : of the training. run : its progress, already restored if it resumes.
    events : folder of its event files. shown : False in all processes of a group except the first.
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
        """Show the losses of a step, and the line of the curve if one is due."""
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
        """A log line: samples seen, losses, speed, remaining time."""
        spent = time.monotonic() - self._start
        rate = (self.run.seen - self._first) / max(spent, 1e-9)
        left = (self.run.samples - self.run.seen) / max(rate, 1e-9)
        losses = "  ".join(f"{k} {v:.4g}" for k, v in line.items() if k not in ("samples", "learning_rate"))
        return (
            f"{self.run.seen}/{self.run.samples} samples  {losses}  {rate:.1f}/s  "
            f"{max(0.0, left) / 60:.1f} min left"
        )

    def _done(self) -> int:
        """Samples seen, at most the total: the last batch may extend beyond it."""
        return min(self.run.seen, self.run.samples)
