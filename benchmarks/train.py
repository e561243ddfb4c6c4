"""Cost of training and sampling on this machine's CPU: `make bench-train`.

- vae, bridge: one step (forward, backward, optimiser) of the full-size published VAE and bridge net, and of
  the same networks from parts of `diffusers` with equal weights, which must give equal outputs. Both take
  turns in one process, with the threads of the config; the ratio ours / theirs is computed within each round,
  and its median over rounds is reported.
- loader: samples per second of the loader (visibility and DEM read, radiance and batch computed), compared
  with a raw memory-mapped copy of equal size (module `train_loader`).
- sampler: clones per second, from the condition to metres. Loader and sampler by the CPU time of one core.

`--parts` selects some. The last line is one JSON object. Needs the extra `bench` (pip install -e '.[bench]').
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from configured import ROOT, configured
from pipeline.config.bridge import BridgeSection
from pipeline.config.vae import VaeSection
from pipeline.jobs.job import set_threads
from pipeline.models.factory import build_network, build_vae
from pipeline.models.losses import absolute_sum
from pipeline.models.published import PublishedNet

PARTS = ("vae", "bridge", "loader", "sampler")
PHASES = ("forward", "backward", "optimiser")


@dataclass
class Side:
    """One network and the times of its steps.

    Attributes
    ----------
    loss : forward pass. optimiser : of the network.
    wall, cpu : seconds of each step's three phases, one row per round.
    """

    loss: Callable[[], Tensor]
    optimiser: torch.optim.Optimizer
    wall: list[list[float]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)

    def step(self) -> None:
        """One training step."""
        self.optimiser.zero_grad(set_to_none=True)
        marks = [(time.perf_counter(), time.process_time())]
        loss = self.loss()
        marks.append((time.perf_counter(), time.process_time()))
        loss.backward()
        marks.append((time.perf_counter(), time.process_time()))
        self.optimiser.step()
        marks.append((time.perf_counter(), time.process_time()))
        wall, cpu = np.diff(np.array(marks), axis=0).T
        self.wall.append(list(wall))
        self.cpu.append(list(cpu))


def compare(name: str, ours: Side, theirs: Side, rounds: int) -> dict[str, float]:
    """Let both take turns and print their seconds; the first round warms up and is not counted."""
    for k in range(rounds + 1):
        for side in (ours, theirs) if k % 2 else (theirs, ours):
            side.step()
    walls, cpus = ([np.array(getattr(side, kind)[1:]) for side in (ours, theirs)] for kind in ("wall", "cpu"))
    by_wall, by_cpu = (float(np.median(a.sum(axis=1) / b.sum(axis=1))) for a, b in (walls, cpus))
    for label, seconds in zip(("ours", "diffusers"), walls, strict=True):
        phases = "  ".join(f"{p} {s:.3f}" for p, s in zip(PHASES, np.median(seconds, axis=0), strict=True))
        print(f"  {label:10s} {np.median(seconds.sum(axis=1)):7.3f} s per step   {phases}")
    phases = "  ".join(
        f"{p} {r:.3f}" for p, r in zip(PHASES, np.median(cpus[0] / cpus[1], axis=0), strict=True)
    )
    print(f"  ours / diffusers: {by_wall:.3f} by wall, {by_cpu:.3f} by CPU time   ({phases})")
    return {
        f"{name}_step_s": round(float(np.median(walls[0].sum(axis=1))), 4),
        f"{name}_diffusers_step_s": round(float(np.median(walls[1].sum(axis=1))), 4),
        f"{name}_ratio": round(by_wall, 3),
        f"{name}_ratio_cpu": round(by_cpu, 3),
    }


def stirred(module: nn.Module) -> nn.Module:
    """The module with noise on its parameters, so that none is zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return module


def vae(batch: int, rounds: int) -> dict[str, float]:
    """A step of the published VAE (L1 and KL, Adam) compared with `AutoencoderKL`."""
    from train_theirs import agree, their_vae

    torch.manual_seed(0)
    ours = build_vae(VaeSection())
    stirred(ours)
    theirs = their_vae(ours)
    x, noise = torch.randn(batch, 1, 96, 96), torch.randn(batch, 4, 12, 12)
    with torch.no_grad():
        decoded = theirs.decode(theirs.encode(x).latent_dist.mean).sample
        found = agree(ours.decode(ours.encode(x).mean), decoded, "vae")
    print(f"\npublished VAE, batch {batch}, 96 x 96 px (outputs differ by {found:.0e})")

    def our_loss() -> Tensor:
        posterior = ours.encode(x)
        y = ours.decode(posterior.mean + torch.exp(0.5 * posterior.logvar) * noise)
        return absolute_sum(y, x) + 1e-6 * posterior.kl().mean()

    def their_loss() -> Tensor:
        posterior = theirs.encode(x).latent_dist
        y = theirs.decode(posterior.mean + posterior.std * noise).sample
        return absolute_sum(y, x) + 1e-6 * posterior.kl().mean()

    def adam(net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(net.parameters(), lr=4.5e-6, betas=(0.5, 0.9))

    return compare("vae", Side(our_loss, adam(ours)), Side(their_loss, adam(theirs)), rounds)


def bridge(batch: int, images: int, rounds: int) -> dict[str, float]:
    """A step of the published bridge net (squared error, AdamW) compared with the same from `diffusers`."""
    from train_loader import random_batch
    from train_theirs import agree, their_bridge

    torch.manual_seed(0)
    section = BridgeSection()
    ours = build_network(section, 96, 16, (4, 12, 12))
    assert isinstance(ours, PublishedNet)
    stirred(ours)
    theirs = their_bridge(ours)
    sets = random_batch(batch, images)
    x_t, t, target = torch.randn(batch, 4, 12, 12), torch.rand(batch), torch.randn(batch, 4, 12, 12)
    lr = sets.lr / 1000
    with torch.no_grad():
        found = agree(ours(x_t, t, ours.condition(sets)), theirs(x_t, t, lr, sets.images), "bridge net")
    print(f"\npublished bridge net, batch {batch}, {images} images per set (outputs differ by {found:.0e})")

    def adamw(net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=section.weight_decay)

    def our_loss() -> Tensor:
        return (ours(x_t, t, ours.condition(sets)) - target).square().mean()

    def their_loss() -> Tensor:
        return (theirs(x_t, t, lr, sets.images) - target).square().mean()

    return compare("bridge", Side(our_loss, adamw(ours)), Side(their_loss, adamw(theirs)), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", type=Path, default=ROOT / "config" / "lola40.yaml", help="whose threads and sections"
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds in which networks take turns")
    parser.add_argument("--batch", type=int, default=2, help="samples per step")
    parser.add_argument("--images", type=int, default=8, help="images per set, bridge net")
    parser.add_argument("--threads", type=int, help="torch threads, instead of the config's")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="which measurements")
    options = parser.parse_args()

    import train_loader

    config = configured(options.config)
    threads = options.threads or config.training.cpu_threads
    set_threads(threads)
    print(f"{threads} torch threads")
    run: dict[str, Callable[[], dict[str, float]]] = {
        "vae": lambda: vae(options.batch, options.rounds),
        "bridge": lambda: bridge(options.batch, options.images, options.rounds),
        "loader": lambda: train_loader.loader(config, options.rounds),
        "sampler": lambda: train_loader.sampler(options.rounds),
    }
    answer: dict[str, float] = {"threads": threads}
    for part in options.parts:
        answer |= run[part]()
        gc.collect()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
