"""What training and sampling cost on a GPU, and what minutes of training give: `make bench-gpu`.

- step: one training step (forward, backward, optimiser) of the full-size published VAE and bridge net, in
  single precision and in bfloat16, beside the same networks from parts of `diffusers` where it is installed:
  median over rounds by the device's clock, and peak memory.
- sample: clones per second, from the condition to metres, of the shipped weights and of the published system.
- train: terrain to shards, samples per second of the loader, then the published system at full size on real
  terrain (config/lola40_published_gpu.yaml) for the seconds that are left, scored on test patches.

Everything ends within `--seconds`. In the folder `--out`: timings.jsonl (one line per measurement),
curves.jsonl (losses), metrics.json and metrics.csv. In `--work`: shards and weights; shards that are there
are used again. `--small` and a CPU rehearse it with small networks.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pipeline
from configured import ROOT
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
from pipeline.training.adam import Adam

PARTS = ("prepare", "step", "sample", "train")
SIZE, FACTOR, IMAGES = 96, 16, 20
SMALL = {"width": 32, "depth": 1, "heads": 2}
#: Seconds of one measurement.
MOST_S = 6.0
def seconds_of(work: Callable[[], object], device: torch.device, rounds: int, warmup: int = 3) -> list[float]:
    """Seconds of each round, by the device's clock on a GPU; fewer rounds where `MOST_S` are over."""
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
    """Give memory back, so that the next measurement's peak is its own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: torch.device) -> float | None:
    """Most memory that tensors took, GB; None on the CPU."""
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
    """One of the published networks, with noise on what starts at zero."""
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
    """The same network from parts of `diffusers`, where it is installed."""
    try:
        from train_theirs import their_bridge, their_vae
    except (ImportError, RuntimeError):  # diffusers' own word for a package that it lacks
        return None
    return their_vae(net) if name == "vae" else their_bridge(net)  # type: ignore[arg-type]


@contextmanager
def changed(chunks: int | None = None, determinism: bool = True) -> Iterator[None]:
    """Another number of chunks at once, or kernels in any order."""
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
    """Median seconds of a step with the largest of `batch`, a half of it, ... that fits, and peak memory."""
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
            median = statistics.median(seconds_of(step, device, rounds))
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


def steps(say: Say, clock: Clock, device: torch.device, small: bool, rounds: int) -> None:
    """All training steps; those that matter most come first."""
    batches = {"vae": 4, "bridge": 4} if small else {"vae": 64, "bridge": 256}
    for name, batch in batches.items():
        net = build(name, small)
        theirs = None if small else theirs_of(name, net)
        net.to(device)
        millions = rounded(sum(p.numel() for p in net.parameters()) / 1e6)
        for precision in ("bf16", "fp32"):
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
        for label, how in variants.items() if device.type == "cuda" else ():
            if clock.left > 0:
                with changed(**how):
                    found = step_time(net, name, True, "bf16", batch, device, rounds)
                say("step", network=name, of="ours", variant=label, precision="bf16", **found)
        del net, theirs
        free(device)


# --- sampling -------------------------------------------------------------------------------------------


def samples(say: Say, clock: Clock, device: torch.device, small: bool, rounds: int) -> None:
    """Clones per second, from the condition to metres, with the synchronisation that a user waits for."""
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=480, help="that everything may take")
    parser.add_argument("--out", type=Path, default=Path("results/bench_gpu"), help="folder of results")
    parser.add_argument("--work", type=Path, help="folder of shards and weights; in `--out` unless named")
    parser.add_argument("--dem", default="resources/lola_40m/*.tif", help="DEM windows, as inputs.dem")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="small networks, for a rehearsal")
    parser.add_argument("--rounds", type=int, default=10, help="of each timing")
    options = parser.parse_args()

    clock, say = Clock(options.seconds), teller(options.out)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    import gpu_train

    run = gpu_train.Run(options.work or options.out / "work", options.dem, options.small)
    if "prepare" in options.parts:
        began = time.monotonic()
        found = run.prepare()
        say("prepare", seconds=rounded(time.monotonic() - began), **found)
    if not set(options.parts) - {"prepare"}:
        return
    set_threads(run.config.training.cpu_threads)
    device = pick_device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    say("device", name=name, torch=torch.__version__, threads=torch.get_num_threads())
    # What is trained matters more than what is timed.
    timings = Clock((0.3 if "train" in options.parts else 1.0) * clock.left)
    for part, work in (("step", steps), ("sample", samples)):
        if part in options.parts:
            work(say, timings, device, options.small, options.rounds)
    if "train" in options.parts:
        run.train_and_score(say, clock, device, options.out)


if __name__ == "__main__":
    main()
