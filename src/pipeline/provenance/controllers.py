"""Which Snakemake processes work in a folder: each holds a shared lock, since Snakemake's own does not tell.

Snakemake's lock lets processes with different outputs work side by side, and the first that ends removes the
folder with the marks of all.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOCK = Path(".snakemake/lunar.lock")
# Held until this process ends: the system lets go of locks, also of those of a killed process.
_held: list[IO[bytes]] = []
_SECONDS = 10.0


class Busy(RuntimeError):
    """Another process works in the folder; the message says which and what to do."""


def join(folder: Path | str) -> bool:
    """Take part in the shared lock until this process ends.

    Returns
    -------
    Whether another controller works here. False where the file system has no such locks.

    Raises
    ------
    Busy
        If `make prune` removes folders here.
    """
    stream = _opened(Path(folder))
    _held.append(stream)
    until = time.monotonic() + _SECONDS
    try:
        if _taken(stream, fcntl.LOCK_EX):
            return not _taken(stream, fcntl.LOCK_SH)
        # Another one that starts at the same time holds the lock alone for a moment.
        while not _taken(stream, fcntl.LOCK_SH):
            if time.monotonic() > until:
                raise Busy(
                    f"{LOCK}: expected no `make prune` at work here, found one; wait until it has ended"
                )
            time.sleep(0.1)
    except OSError:
        return False
    return True


@contextmanager
def no_controller(folder: Path | str) -> Iterator[None]:
    """Keep controllers from starting in a folder where Snakemake has been.

    Raises
    ------
    Busy
        If one works here.
    """
    if not (Path(folder) / LOCK).parent.is_dir():
        yield
        return
    with _opened(Path(folder)) as stream:
        try:
            alone = _taken(stream, fcntl.LOCK_EX)
        except OSError:
            alone = True
        if not alone:
            raise Busy(f"{LOCK}: expected no workflow at work here, found one; wait until it has ended")
        yield


def _opened(folder: Path) -> IO[bytes]:
    path = folder / LOCK
    path.parent.mkdir(exist_ok=True)
    return path.open("a+b")


def _taken(stream: IO[bytes], kind: int) -> bool:
    """Take the lock without waiting; OSError where the file system has no locks."""
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
