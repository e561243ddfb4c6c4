"""Cost of training and sampling on a GPU, and results of minutes of training: `make gpu`, `make bench-gpu`.

- tests: the GPU tests, in a separate process, while patches are prepared.
- step: one training step (forward, backward, optimiser) of the full-size published VAE and bridge net, in
  single precision and in bfloat16, and of the same networks from parts of `diffusers` if it is installed:
  median over rounds by the device's clock, and peak memory.
- sample: clones per second, from the condition to metres, of the shipped weights and of the published system.
- train: terrain to shards, samples per second of the loader, then training of the published system at full
  size on real terrain (config/lola40_published_gpu.yaml) for the remaining time, scored on test patches.
- moon: scenes rendered for a share of the time, then training of the network of config/moon_gpu.yaml for the
  remaining time, scored on test patches with the written weights, in half precision.

Everything ends within `--seconds`: parts without enough time are skipped with a message. The folder `--out`
gets timings.jsonl (one line per measurement), figures.json (all of one run), curves.jsonl (losses),
metrics.json and metrics.csv, and moon_gpu/ (weights). `--work` contains shards and weights; existing shards
are used again. `--small` rehearses everything with small networks; without a GPU, `moon` always does so.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pipeline
from configured import ROOT
from gpu_budget import Clock, Say, attempted, rounded, teller
from pipeline.config.bridge import BridgeSampler, BridgeSection
from pipeline.config.pretrained import PretrainedSampler
from pipeline.config.vae import VaeSection
from pipeline.jobs.device import pick_device
from pipeline.jobs.job import set_threads
from pipeline.jobs.seeds import seeded
from pipeline.models import inputs
from pipeline.models.batch import Batch
from pipeline.models.factory import build_network, build_vae
from pipeline.models.losses import absolute_sum
from pipeline.models.spaces import Codec
from pipeline.models.system import System
from pipeline.storage.atomic import write_json
from pipeline.training.adam import Adam

PARTS = ("prepare", "step", "sample", "train", "tests", "moon")
#: Least seconds of a part, and shares of the remaining time.
LEAST_S = {"tests": 40.0, "step": 10.0, "sample": 5.0}
TESTS_SHARE, TIMINGS_SHARE, TIMINGS_SHARE_SMALL = 0.4, 0.3, 0.2
#: Cores reserved for the tests while patches are prepared.
TESTS_CORES = 4
SIZE, FACTOR, IMAGES = 96, 16, 20
SMALL = {"width": 32, "depth": 1, "heads": 2}
#: Seconds of one measurement.
MOST_S = 6.0


def seconds_of(work: Callable[[], object], device: torch.device, rounds: int, warmup: int = 3) -> list[float]:
    """Seconds of each round, by the device's clock on a GPU; fewer rounds after `MOST_S` seconds."""
    began = time.monotonic()
    for _ in range(warmup):
        work()
        if time.monotonic() - began > MOST_S:
            break
    out: list[float] = []
    for _ in range(rounds):
        if out and time.monotonic() - began > MOST_S:
            break
        if device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            stop.record()
            torch.cuda.synchronize()
            out.append(start.elapsed_time(stop) / 1000)
        else:
            began = time.perf_counter()
            work()
            out.append(time.perf_counter() - began)
    return out


def free(device: torch.device) -> None:
    """Free memory, so that the next measurement's peak is not affected."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: torch.device) -> float | None:
    """Peak memory of tensors, GB; None on the CPU."""
    return rounded(torch.cuda.max_memory_allocated() / 1e9) if device.type == "cuda" else None


def on(device: torch.device, batch: Batch) -> Batch:
    """A batch on a device."""
    moved = {k: v.to(device) for k, v in vars(batch).items() if isinstance(v, Tensor)}
    return replace(batch, **moved)


# --- training steps -------------------------------------------------------------------------------------


def vae_loss(net: nn.Module, ours: bool, batch: int, device: torch.device) -> Callable[[], Tensor]:
    """L1 and KL of random maps."""
    side = SIZE
    x, noise = torch.randn(batch, 1, side, side, device=device), torch.randn(batch, 4, 12, 12, device=device)

    def loss() -> Tensor:
        posterior = net.encode(x) if ours else net.encode(x).latent_dist
        z = posterior.mean + torch.exp(0.5 * posterior.logvar) * noise
        y = net.decode(z) if ours else net.decode(z).sample
        return absolute_sum(y.float(), x) + 1e-6 * posterior.kl().float().mean()

    return loss


def bridge_loss(net: nn.Module, ours: bool, batch: int, device: torch.device) -> Callable[[], Tensor]:
    """Squared error of random states under random image sets."""
    from train_loader import random_batch

    sets = on(device, random_batch(batch, IMAGES))
    state = (batch, 4, 12, 12)
    x_t, target, t = torch.randn(state, device=device), torch.randn(state, device=device), torch.rand(batch)
    t, lr = t.to(device), sets.lr / 1000

    def loss() -> Tensor:
        out = net(x_t, t, net.condition(sets)) if ours else net(x_t, t, lr, sets.images)
        return (out.float() - target).square().mean()

    return loss


LOSSES = {"vae": vae_loss, "bridge": bridge_loss}


def build(name: str, small: bool) -> nn.Module:
    """One of the published networks, with noise on parameters that start at zero."""
    torch.manual_seed(0)
    if name == "vae":
        net: nn.Module = build_vae(VaeSection(base=8) if small else VaeSection())
    else:
        net = build_network(BridgeSection(**SMALL) if small else BridgeSection(), SIZE, FACTOR, (4, 12, 12))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return net


def theirs_of(name: str, net: nn.Module) -> nn.Module | None:
    """The same network from parts of `diffusers`, if it is installed."""
    try:
        from train_theirs import their_bridge, their_vae
    except (ImportError, RuntimeError):  # diffusers raises the latter for a missing dependency
        return None
    return their_vae(net) if name == "vae" else their_bridge(net)  # type: ignore[arg-type]


@contextmanager
def changed(chunks: int | None = None, determinism: bool = True) -> Iterator[None]:
    """Context with another number of chunks, or with nondeterministic kernels."""
    before, mode = inputs.CHUNKS_ON_GPU, torch.get_deterministic_debug_mode()
    inputs.CHUNKS_ON_GPU = before if chunks is None else chunks
    if not determinism:
        torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        inputs.CHUNKS_ON_GPU = before
        torch.set_deterministic_debug_mode(mode)


def step_time(
    net: nn.Module, name: str, ours: bool, precision: str, batch: int, device: torch.device, rounds: int
) -> dict[str, Any]:
    """Median seconds of a step and peak memory, for the largest of `batch`, its half, ... that fits."""
    rate, betas = (4.5e-6, (0.5, 0.9)) if name == "vae" else (1e-4, (0.9, 0.999))
    while True:
        free(device)
        loss, optimiser = LOSSES[name](net, ours, batch, device), Adam(net.parameters(), rate, betas)

        def step() -> None:
            optimiser.zero_grad()  # noqa: B023
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                value = loss()  # noqa: B023
            value.backward()
            optimiser.step()  # noqa: B023

        try:
            median = statistics.median(seconds_of(step, device, rounds, min(3, rounds)))
        except torch.OutOfMemoryError:
            del loss, optimiser
            if batch == 1:
                return {"batch": 0}
            batch //= 2
            continue
        return {
            "batch": batch,
            "step_s": rounded(median),
            "samples_s": rounded(batch / median),
            "peak_gb": peak_gb(device),
        }


def steps(
    say: Say, clock: Clock, device: torch.device, small: bool, rounds: int, precisions: Sequence[str]
) -> None:
    """All training steps, the most important ones first."""
    batches = {"vae": 1, "bridge": 1} if small else {"vae": 64, "bridge": 256}
    for name, batch in batches.items():
        net = build(name, small)
        theirs = None if small else theirs_of(name, net)
        net.to(device)
        millions = rounded(sum(p.numel() for p in net.parameters()) / 1e6)
        for precision in precisions:
            if clock.left <= 0:
                say(
                    "skipped", part=f"step of the {name}, {precision}", why="its share of the seconds is over"
                )
                continue
            found = step_time(net, name, True, precision, batch, device, rounds)
            say("step", network=name, of="ours", precision=precision, parameters_m=millions, **found)
            if theirs is not None and clock.left > 0:
                theirs.to(device)
                found = step_time(theirs, name, False, precision, batch, device, rounds)
                say("step", network=name, of="diffusers", precision=precision, **found)
                theirs.to("cpu")
        variants: dict[str, dict[str, Any]] = {"any order": {"determinism": False}}
        if name == "bridge":
            variants |= {f"chunks {n}": {"chunks": n} for n in (1, 64)}
        for label, how in variants.items() if device.type == "cuda" and "fp32" in precisions else ():
            if clock.left > 0:
                with changed(**how):
                    found = step_time(net, name, True, "bf16", batch, device, rounds)
                say("step", network=name, of="ours", variant=label, precision="bf16", **found)
        del net, theirs
        free(device)


# --- sampling -------------------------------------------------------------------------------------------


def samples(
    say: Say, clock: Clock, device: torch.device, small: bool, rounds: int, precisions: Sequence[str]
) -> None:
    """Clones per second, from the condition to metres, including the synchronisation with the device."""
    from train_loader import random_batch

    torch.manual_seed(0)
    section = VaeSection(base=8) if small else VaeSection()
    codec = Codec(build_vae(section).to(device).eval().requires_grad_(False), section)
    published = System(BridgeSection(**SMALL if small else {}), SIZE, FACTOR, 1.0, codec).to(device).eval()
    shipped = pipeline.load(ROOT / "pretrained" / "lola40", device)
    ways = {"lola40": (shipped, PretrainedSampler()), "published": (published, BridgeSampler())}
    for name, (system, how) in ways.items():
        for patches, members in ((1, 2),) if small else ((1, 16), (16, 16)):
            sets = on(device, random_batch(patches, IMAGES, system.halo_cells))

            def draw() -> Tensor:
                generators = [seeded(k) for k in range(patches)]  # noqa: B023
                return system.sample(sets, members, generators, how).cpu()  # noqa: B023

            if clock.left > 0:
                median = statistics.median(seconds_of(draw, device, rounds, warmup=1))
                found = {"patches": patches, "members": members, "nfe": how.nfe}
                say("sample", system=name, **found, clones_s=rounded(patches * members / median))
    free(device)


# --- tests ----------------------------------------------------------------------------------------------


class GpuTests:
    """The GPU tests in a separate process; `finish` waits for them and reports their result."""

    def __init__(self, out: Path, seconds: float) -> None:
        self.log, self.clock = out / "tests.log", Clock(seconds)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--tb=short",
            "tests/gpu",
        ]
        with self.log.open("w", encoding="utf-8") as stream:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)

    def finish(self, say: Say) -> None:
        try:
            code: int | None = self.process.wait(max(1.0, self.clock.left))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        seconds = round(self.clock.seconds - self.clock.left, 1)
        say("tests", exit_code=code, in_time=code is not None, last_line="".join(lines[-1:]), seconds=seconds)


def tests_of(options: argparse.Namespace, say: Say, clock: Clock, device: torch.device) -> GpuTests | None:
    """The started GPU tests, if they are requested and can run."""
    if "tests" not in options.parts:
        return None
    if device.type != "cuda":
        say("skipped", part="tests", why="torch sees no CUDA device, or the CPU was asked for")
        return None
    share = clock.share(TESTS_SHARE)
    return GpuTests(options.out, share.left) if share.allows("tests", LEAST_S["tests"], say) else None


# --- all ------------------------------------------------------------------------------------------------


def work_on(options: argparse.Namespace, say: Say, clock: Clock, device: torch.device) -> None:
    """Run the requested parts one after the other; tests run during the preparation."""
    import gpu_moon
    import gpu_train

    parts, small, work = options.parts, options.small, options.work or options.out / "work"
    moon = None
    if "moon" in parts:
        moon = gpu_moon.Moon(work / ("moon_small" if small else "moon"), options.dem, small)
    needed = moon is None or {"prepare", "train"} & set(parts)
    published = gpu_train.Run(work, options.dem, small) if needed else None
    threads = (moon or published).config.training.cpu_threads
    if published and "prepare" in parts:
        began = time.monotonic()
        found = published.prepare()
        say("prepare", seconds=rounded(time.monotonic() - began), **found)
    if not set(parts) - {"prepare"}:
        return
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    tests = tests_of(options, say, clock, device)
    if moon:
        others = TESTS_CORES if tests else 0
        moon = moon if attempted("scenes", partial(moon.render, say, clock, others), say) else None
    if tests:
        tests.finish(say)
    set_threads(threads)
    say("device", name=name, torch=torch.__version__, threads=torch.get_num_threads())
    # Training is more important than timings.
    trains = "train" in parts or moon is not None
    share = TIMINGS_SHARE_SMALL if small else TIMINGS_SHARE
    timings = clock.share(share if trains else 1.0)
    for part, timed in (("step", steps), ("sample", samples)):
        if part in parts and timings.allows(part, LEAST_S[part] / (5 if small else 1), say):
            precisions = options.precisions
            work_of_part = partial(timed, say, timings, device, small, options.rounds, precisions)
            attempted(part, work_of_part, say)
    if published and "train" in parts:
        published.train_and_score(say, clock, device, options.out)
    if moon:
        attempted("moon", partial(moon.train_and_score, say, clock, device, options.out), say)


def windows() -> str:
    """DEM windows beside the project, if its own folder has none."""
    own, beside = "resources/lola_40m/*.tif", "../shared/data/lola_40m/*.tif"
    there = [any(Path(name).parent.glob(Path(name).name)) for name in (own, beside)]
    return beside if there == [False, True] else own


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=480, help="time limit of everything")
    parser.add_argument("--out", type=Path, default=Path("results/bench_gpu"), help="folder of results")
    parser.add_argument("--work", type=Path, help="folder of shards and weights; default: in `--out`")
    parser.add_argument("--dem", default=windows(), help="DEM windows, like inputs.dem")
    parser.add_argument("--parts", nargs="+", default=PARTS[:4], choices=PARTS)
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="small networks, for a rehearsal")
    parser.add_argument("--rounds", type=int, default=10, help="of each timing")
    parser.add_argument("--precisions", nargs="+", default=("bf16", "fp32"), choices=("bf16", "fp32"))
    options = parser.parse_args()

    clock = Clock(options.seconds)
    say, told = teller(options.out)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    device = pick_device(options.device)
    if "moon" in options.parts and device.type == "cpu":
        print("no GPU is used: this rehearses every part on the CPU, with small networks and few patches")
        options.small, options.rounds = True, 1
    try:
        work_on(options, say, clock, device)
    finally:
        took = round(clock.seconds - clock.left, 1)
        figures = {"seconds": options.seconds, "took_s": took, "small": options.small, "figures": told}
        write_json(options.out / "figures.json", figures)
    print(json.dumps(figures))
    sys.exit(any(line["what"] == "failed" for line in told))


if __name__ == "__main__":
    main()
