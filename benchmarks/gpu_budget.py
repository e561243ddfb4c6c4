"""Time budget and messages of a run on a GPU: for `benchmarks/gpu.py`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Say = Callable[..., None]

#: Measured CPU seconds per rendered image of 96 x 96 pixels, including all other costs of a patch.
IMAGE_S = 0.0045
#: Seconds before the first image: processes start and loops are compiled.
START_S = 25.0
#: Share of the planned cores' time that rendering gets.
BUSY = 0.8
#: Fewer patches than this get fewer image sets each instead.
LEAST_PATCHES = 500


class Clock:
    """A time limit, counted from the creation of the object."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.seconds = seconds

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.end - time.monotonic()

    def share(self, part: float) -> Clock:
        """A clock of a share of the seconds that are left."""
        return Clock(part * max(0.0, self.left))

    def allows(self, name: str, least_s: float, say: Say) -> bool:
        """Whether a part has the least seconds that it needs; says so where it is skipped."""
        if self.left >= least_s:
            return True
        say("skipped", part=name, why=f"{max(0.0, self.left):.0f} s left, {least_s:.0f} s needed")
        return False


def attempted(part: str, work: Callable[[], Any], say: Say) -> Any:
    """Result of a part; None if it fails, which is reported and does not stop the other parts."""
    try:
        return work()
    except Exception as error:
        logger.exception("%s failed", part)
        say("failed", part=part, why=f"{type(error).__name__}: {error}")
        return None


def teller(folder: Path) -> tuple[Say, list[dict[str, Any]]]:
    """A function that prints a measurement and appends it to timings.jsonl, and the list of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    told: list[dict[str, Any]] = []

    def say(what: str, **values: Any) -> None:
        told.append({"what": what, **values, "at_s": round(time.monotonic() - began, 1)})
        line = json.dumps(told[-1])
        with (folder / "timings.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        print(line, flush=True)

    return say, told


def rounded(value: float) -> float:
    """Round to four digits, more than the accuracy of a timing."""
    return float(f"{value:.4g}")


def fitted_scenes(seconds: float, cores: int, patches: int, sets: int, images: int) -> tuple[int, int]:
    """Patches, and image sets of each, that are rendered within some seconds; at least one set of one patch.

    Parameters
    ----------
    seconds : time for rendering. cores : number of them. patches, sets, images : largest numbers.
    """
    most = int(BUSY * cores * max(0.0, seconds - START_S) / IMAGE_S / images)
    fewer = min(patches, LEAST_PATCHES)
    chosen = max(1, min(sets, most // max(1, fewer)))
    return max(1, min(patches, most // chosen)), chosen
