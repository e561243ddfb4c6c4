"""Log, errors and run record of a job; timings go to a file of their own."""

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
    """Typed arguments that a stage's function takes from its rule.

    Attributes
    ----------
    section : the stage's section. key : the stage's key. runtime : device, log level and similar settings.
    """

    section: S
    key: str
    runtime: RuntimeSection


@contextmanager
def rule_job(rule: Any, kind: type[S], run_record: str | None = None) -> Iterator[Work[S]]:
    """Run the work of a stage's rule: `job` with the rule's params.

    The only place where a stage's section is parsed. Sections of stages that compute with torch hold the
    number of threads.

    Parameters
    ----------
    rule : Snakemake's object; params ``stage``, ``key``, ``section`` and ``runtime``, and a log file.
    kind : class of the section. run_record : see `job`.

    Raises
    ------
    SystemExit
        As in `job`.
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
    """Run one rule's work: log to its file and to the terminal, record what ran, report errors in one line.

    Parameters
    ----------
    log : log file of the rule, or None for the terminal only.
    stage, key, section : identity of the stage, for the record; the section as JSON values.
    run_record : file to write; by default ``<name>.run.json`` beside the log. ``….timing.json`` goes beside
        it.
    cpu_threads : torch threads, part of the identity of stages that compute with torch.

    Raises
    ------
    SystemExit
        With 1 after invalid input, a file error or too little memory, reported in one line; with 143 on
        SIGTERM (cancel, time limit), so that half-written files are removed.
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
        # Invalid input is explained by one sentence; a traceback would not help.
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
    """Run record of a stage; the same for all of its jobs and on all machines."""
    return {"schema": "run/1", "stage": stage, "key": key, "section": section}


def out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory ran out; torch reports this in the message only.

    oneDNN gives no cause where it cannot create a primitive that it has already planned: there an allocation
    has failed. Where it lacks a kernel, it cannot create a "primitive descriptor" instead.
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
    # Matrix products on a GPU are reproducible only with this; it is read when the first one is computed.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same as use_deterministic_algorithms(True, warn_only=True), which imports the compiler (5 s of CPU).
    torch.set_deterministic_debug_mode("warn")
