"""Inference time of Yasuda's two models, and time of a training step: `python benchmarks/members.py`.

CPU seconds per patch of 96 x 96 pixels with 20 images; weights are untrained, which does not affect times.
Members are drawn with 3 and 6 evaluations each, which gives the time of one evaluation and the constant time
per patch, and hence that of any number. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from pipeline.config.stochastic import DiffusionSection, YasudaSection
from pipeline.models.batch import Batch
from pipeline.models.stochastic import DiffusionNetwork, InterpolantNetwork, StochasticNetwork
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean
from pipeline.training.adam import Adam

SIZE, FACTOR, CELLS, IMAGES = 96, 16, 2, 20
FEW, MORE = 3, 6


def batch_of(patches: int) -> Batch:
    """Random ground and images, since times do not depend on their content."""
    generator = torch.Generator().manual_seed(0)
    halo = CELLS * FACTOR
    dem = torch.randn(patches, SIZE + 2 * halo, SIZE + 2 * halo, generator=generator).cumsum(1).cumsum(2)
    lr = block_mean(dem, FACTOR)
    images = torch.rand(patches, IMAGES, SIZE, SIZE, generator=generator)
    suns = torch.nn.functional.normalize(torch.rand(patches, IMAGES, 3, generator=generator) + 0.1, dim=2)
    return Batch(
        dem=dem[:, halo:-halo, halo:-halo],
        lr=lr,
        prior=prior_from_lr(lr, CELLS, FACTOR),
        images=images,
        valid=torch.ones_like(images, dtype=torch.bool),
        sun=suns,
        present=torch.ones(patches, IMAGES, dtype=torch.bool),
        pixel_m=torch.full((patches,), 40.0),
        reference=torch.zeros(patches),
    )


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """The least CPU time of some rounds after a warm-up."""
    found = []
    for _ in range(rounds + 1):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found[1:])


def times(network: StochasticNetwork, rounds: int, members: int) -> dict[str, float]:
    """CPU seconds: of a step per sample; of a patch, of one evaluation, and of the section's members."""
    training, one = batch_of(8), batch_of(1)
    optimiser = Adam(network.parameters(), 1e-4, weight_decay=0.01)

    def step() -> None:
        loss = network.losses(training, [torch.Generator().manual_seed(i) for i in range(8)])["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    section = network.section

    def drawn(evaluations: int) -> float:
        network.section = section.model_copy(update={"nfe": evaluations})
        return seconds(lambda: network.sample(one, members, [torch.Generator()]), rounds)

    stepped, few, more = seconds(step, rounds), drawn(FEW), drawn(MORE)
    evaluation = (more - few) / (MORE - FEW) / members
    once = max(0.0, few - FEW * members * evaluation)
    return {
        "step_per_sample": stepped / 8,
        "patch": once,
        "evaluation": evaluation,
        "member": section.nfe * evaluation,
        "all_members": once + section.members * section.nfe * evaluation,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the fastest counts")
    parser.add_argument("--members", type=int, default=8, help="drawn at a time")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    networks = {
        "yasuda": InterpolantNetwork(YasudaSection(), SIZE, FACTOR),
        "diffusion": DiffusionNetwork(DiffusionSection(), SIZE, FACTOR),
    }
    found = {name: times(network, asked.rounds, asked.members) for name, network in networks.items()}
    for name, row in found.items():
        print(name, *(f"{key} {value:.4f} s" for key, value in row.items()), sep="  ")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
