"""Progress for long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)


def progress(items: Iterable[T], total: int, desc: str, every_s: float = 10.0) -> Iterator[T]:
    """Yield `items` and report progress.

    Parameters
    ----------
    items : things to work on.
    total : their number.
    desc : the work, as named in the log.
    every_s : least time between two lines of a log, seconds.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=desc)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == total or now - last >= every_s:
            logger.info("%s: %d of %d (%.0f s)", desc, done, total, now - start)
            last = now
