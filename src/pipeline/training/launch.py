"""Starts a training: in the job's process, in several processes of one node (torchrun), or on several nodes.

Run as a module, this is the torchrun of one node (``node``) or one process of a training (``worker``).
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

from pipeline.config.base import Section
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import BridgeStage, RivalStage, VaeStage
from pipeline.jobs.job import Work, job
from pipeline.training.bridge import train_bridge
from pipeline.training.loop import SAVED
from pipeline.training.rival import train_rival
from pipeline.training.vae import train_vae
from pipeline.training.writer import sole_writer

logger = logging.getLogger(__name__)

STAGES: dict[str, tuple[type[Section], Callable[..., None]]] = {
    "vae": (VaeStage, train_vae),
    "bridge": (BridgeStage, train_bridge),
    "rival": (RivalStage, train_rival),
}
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
PR_SET_PDEATHSIG = 1  # of Linux's prctl
# Seconds that torchrun gives its processes to save after a signal; Slurm's KillWait may be shorter.
SAVE_SECONDS = 600


def launch(stage: str, work: Work[Any], log: str | None, **arguments: Any) -> None:
    """Train in as many processes as the config or the job's GPUs require; return when all files are written.

    Parameters
    ----------
    stage : a name in `STAGES`. work : the stage's section, key and runtime settings.
    log : log file of the job, for separate processes.
    arguments : further arguments of the stage's function, JSON values; `out` is the file of the weights.

    Raises
    ------
    ValueError
        If the processes do not fit the machine, or another process is training into the same folder.
    SystemExit
        With 75 if the training was asked to stop and saved; with another code if it failed.
    """
    arguments = {name: _plain(value) for name, value in arguments.items()} | {"key": work.key}
    runtime = work.runtime
    with sole_writer(arguments["out"]), ctrl_c_saves():
        if runtime.nodes == 1 and processes_here(runtime) == 1:
            STAGES[stage][1](section=work.section, runtime=runtime, **arguments)
            return
        request = _request(stage, work, log, arguments)
        if runtime.nodes > 1:
            _on_nodes(request, runtime, work.section.cpu_threads)
        else:
            _torchrun(request, ["--standalone"])


@contextmanager
def ctrl_c_saves() -> Iterator[None]:
    """Context in which SIGINT (Ctrl-C) is SIGTERM: a training saves and exits, what comes before it ends.

    It is not in the training loop, since that is a part of all keys of trainings, which must stay.
    """
    before = signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        # A training that was asked to stop is about to exit: a second Ctrl-C must not interrupt that.
        if not isinstance(sys.exc_info()[1], SystemExit):
            signal.signal(signal.SIGINT, before)


def processes_here(runtime: RuntimeSection) -> int:
    """Number of processes of a training on this node: the config's, else one per GPU of this job.

    Raises
    ------
    ValueError
        If there are fewer GPUs than processes.
    """
    gpus = 0 if runtime.device == "cpu" or not torch.cuda.is_available() else torch.cuda.device_count()
    if runtime.processes is None:
        return max(1, gpus)
    if 0 < gpus < runtime.processes:
        raise ValueError(
            f"runtime.processes: expected at most {gpus}, the GPUs that this job may use, "
            f"found {runtime.processes}"
        )
    return runtime.processes


def _plain(value: Any) -> Any:
    """Snakemake's file objects as strings, and its lists of them as lists."""
    if isinstance(value, str):
        return str(value)
    return [str(item) for item in value] if isinstance(value, Sequence) else value


def _request(stage: str, work: Work[Any], log: str | None, arguments: dict[str, Any]) -> str:
    """Everything that a separate process needs, as JSON."""
    wanted = {
        "stage": stage,
        "section": work.section.model_dump(mode="json"),
        "runtime": work.runtime.model_dump(mode="json"),
        "log": None if log is None else str(log),
        "cpu_threads": work.section.cpu_threads,
        "arguments": arguments,
    }
    return json.dumps(wanted)


def _torchrun(request: str, rendezvous: Sequence[str]) -> None:
    """Run one worker per GPU, or as many as the config says; exit with their status if they fail.

    Raises
    ------
    SystemExit
        With the exit code of the worker that failed first; 75 after a signal, on which all workers saved.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    wanted = json.loads(request)
    count = processes_here(RuntimeSection.model_validate(wanted["runtime"]))
    os.environ["OMP_NUM_THREADS"] = str(wanted["cpu_threads"])
    signals = ",".join(number.name for number in (*SIGNALS, signal.SIGINT, signal.SIGHUP))
    options = [f"--nproc-per-node={count}", "--max-restarts=0", f"--signals-to-handle={signals}"]
    options += [f"--shutdown-timeout={SAVE_SECONDS}", *rendezvous]
    logger.info("torchrun: %d processes", count)
    # A signal before the workers have started ends this process: nothing is lost yet.
    try:
        run(parse_args([*options, "-m", "pipeline.training.launch", "worker", request]))
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        raise SystemExit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode) from None
    except SignalException:
        raise SystemExit(SAVED) from None


def _on_nodes(request: str, runtime: RuntimeSection, cpu_threads: int) -> None:
    """Start torchrun once on each node of this Slurm job; exit with their status if they fail.

    Raises
    ------
    ValueError
        If this is no Slurm job.
    SystemExit
        With the highest exit code of the nodes, unless it is 0.
    """
    if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
        raise ValueError(
            f"runtime.nodes: expected 1 outside of a Slurm job, found {runtime.nodes}; use --profile slurm"
        )
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    # This process is on the allocation's first node, so all nodes find it by name.
    meeting = f"{socket.gethostname()}:{port}"
    count, module = runtime.nodes, (sys.executable, "-m", "pipeline.training.launch", "node")
    command = ["srun", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    command += [f"--cpus-per-task={cpu_threads * processes_here(runtime)}", *module]
    command += [str(count), meeting, os.environ["SLURM_JOB_ID"], request]
    with subprocess.Popen(command) as srun:
        before = {number: signal.signal(number, lambda n, _: srun.send_signal(n)) for number in SIGNALS}
        try:
            code = srun.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if code:
        raise SystemExit(code if code > 0 else 128 - code)


def _node(nodes: str, meeting: str, name: str, request: str) -> None:
    """Run torchrun on one of several nodes."""
    wanted = json.loads(request)
    with job(None, wanted["runtime"]["log_level"]):
        meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", f"--rdzv-id={name}"]
        _torchrun(request, [f"--nnodes={nodes}", *meet])


def _worker(request: str) -> None:
    """Run one process of a training; all processes except the first log only warnings."""
    with suppress(OSError, AttributeError):  # on Linux: save and exit when torchrun is killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    wanted = json.loads(request)
    level = wanted["runtime"]["log_level"] if os.environ.get("RANK", "0") == "0" else "WARNING"
    with job(wanted["log"], level, cpu_threads=wanted["cpu_threads"]), ctrl_c_saves():
        runtime = RuntimeSection.model_validate(wanted["runtime"])
        kind, train = STAGES[wanted["stage"]]
        train(section=kind.model_validate(wanted["section"]), runtime=runtime, **wanted["arguments"])


if __name__ == "__main__":
    if sys.argv[1] == "node":
        _node(*sys.argv[2:])
    else:
        _worker(sys.argv[2])
