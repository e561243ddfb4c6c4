"""Lock that allows only one training per folder: two would mix up their checkpoints."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)


@contextmanager
def sole_writer(out: Path | str) -> Iterator[None]:
    """Context that locks the folder of `out`; the lock ends with the process, too.

    Raises
    ------
    ValueError
        If another process has the lock; the message says where it runs and how to end it.
    """
    path = Path(out).with_name(".training.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as stream:
        stream.truncate(0)
        me = {"host": socket.gethostname(), "pid": os.getpid(), "slurm_job": os.environ.get("SLURM_JOB_ID")}
        stream.write(json.dumps(me))
        stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path) -> IO[str]:
    """Open and lock a file, again if it was removed in between."""
    while True:
        stream = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read()
            stream.close()
            raise ValueError(_advice(path.parent, holder)) from None
        except OSError as error:  # some network file systems have no locks
            logger.warning(
                "%s: locks are not supported (%s); nothing keeps a second training out", path, error
            )
            return stream
        if path.exists() and path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
            return stream
        stream.close()


def _advice(folder: Path, holder: str) -> str:
    """Error message: which process trains there, and what to do."""
    try:
        found = json.loads(holder)
        slurm, pid, host = found["slurm_job"], found["pid"], found["host"]
    except (ValueError, TypeError, KeyError):
        slurm, pid, host = None, "unknown", "unknown"
    end = f"scancel {slurm}" if slurm else f"kill {pid}"
    of = f" of Slurm job {slurm}" if slurm else ""
    return (
        f"{folder}: expected no other training into this folder, found process {pid}{of} on {host}; "
        f"wait until it has ended, or end it with `{end}` (it saves), then give the same command again"
    )
