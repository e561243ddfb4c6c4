"""What a job says about itself: log lines, a run record, and timings kept apart."""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.config.base import Section
from pipeline.config.runtime import RuntimeSection
from pipeline.storage.atomic import write_json

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Work(Generic[S]):
    """What a stage's function takes from its rule, typed.

    Attributes
    ----------
    section : the stage's section. key : its key. runtime : how it is run.
    """

    section: S
    key: str
    runtime: RuntimeSection


@contextmanager
def rule_job(rule: Any, kind: type[S], run_record: str | None = None) -> Iterator[Work[S]]:
    """Run the work of a rule that makes a stage: `job` with what the rule's params say.

    The one place where a stage's section is parsed. Stages that compute with torch say in their section how
    many threads that takes.

    Parameters
    ----------
    rule : Snakemake's object; params ``stage``, ``key``, ``section`` and ``runtime``, and a log file.
    kind : class of the section. run_record : see `job`.
    """
    p = rule.params
    runtime = RuntimeSection.model_validate_json(p.runtime)
    section = kind.model_validate_json(p.section)
    identity = {"stage": p.stage, "key": p.key, "section": section.model_dump(mode="json")}
    threads = getattr(section, "cpu_threads", None)
    with job(rule.log[0], runtime.log_level, run_record=run_record, cpu_threads=threads, **identity):
        yield Work(section, p.key, runtime)


@contextmanager
def job(
    log: str | None,
    level: str = "INFO",
    *,
    stage: str = "",
    key: str = "",
    section: Any = None,
    run_record: str | Path | None = None,
    cpu_threads: int | None = None,
) -> Iterator[None]:
    """Run one rule's work: log to its file and to the terminal, record what ran, name errors plainly.

    Parameters
    ----------
    log : log file of the rule, or None for the terminal alone.
    stage, key, section : identity of the stage, for the record; the section as JSON values.
    run_record : where to write ``run.json``; beside the log, ``<name>.run.json``, unless told otherwise.
        ``….timing.json`` goes beside it.
    cpu_threads : torch threads, part of the identity of stages that compute with torch.

    Raises
    ------
    SystemExit
        With 1 after a mistake in the input, trouble with a file or too little memory, told in one line; with
        143 on SIGTERM (cancel, time limit), so that half-written files are cleaned up on the way out.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log, mode="a", encoding="utf-8"))
    logging.basicConfig(
        level=level, handlers=handlers, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if cpu_threads is not None:
        set_threads(cpu_threads)
    start = time.time()
    try:
        yield
    except (ValueError, OSError) as error:
        # A mistake in the input has one clear sentence; the stack behind it helps nobody.
        logging.getLogger(__name__).error("%s", error)
        logging.getLogger(__name__).debug("details", exc_info=True)
        raise SystemExit(1) from None
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        logging.getLogger(__name__).error(
            "out of memory: %s; give the job more (mem_mb; profiles/slurm/config.yaml on a cluster)",
            str(error).split("\n")[0] or "an allocation failed",
        )
        raise SystemExit(1) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    if run_record is None and log and key:
        run_record = Path(log).with_suffix(".run.json")
    if run_record is not None:
        run_record = Path(run_record)
        write_json(run_record, record_of(stage, key, section or {}))
        write_json(
            run_record.with_name(run_record.stem + ".timing.json"),
            {
                "started": start,
                "seconds": time.time() - start,
                "host": socket.gethostname(),
                "python": platform.python_version(),
                "slurm_job": os.environ.get("SLURM_JOB_ID"),
            },
        )


def record_of(stage: str, key: str, section: Any) -> dict[str, Any]:
    """The record that a stage's jobs leave: equal for all of them, whatever computed."""
    return {"schema": "run/1", "stage": stage, "key": key, "section": section}


def out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory ran out; torch says so in words only.

    oneDNN names no cause where it cannot create what it has already planned: there an allocation has failed.
    An operation that it cannot plan, for want of a kernel, lacks a "primitive descriptor".
    """
    return (
        isinstance(error, MemoryError)
        or any(words in str(error) for words in ("can't allocate memory", "out of memory", "std::bad_alloc"))
        or str(error).split("\n")[0]
        in {f"could not create a {what}" for what in ("primitive", "memory", "memory object")}
    )


def set_threads(count: int) -> None:
    """Fix the number of torch threads and ask for deterministic kernels: sums depend on both."""
    import torch

    torch.set_num_threads(count)
    # Products on a GPU are the same each time only with this; it is read when the first one is computed.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same as use_deterministic_algorithms(True, warn_only=True), which imports the compiler (5 s of CPU).
    torch.set_deterministic_debug_mode("warn")
