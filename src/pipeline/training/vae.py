"""Stage ``vae``: train the topography autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.config.photometry import PhotometrySection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import VaeStage
from pipeline.config.training import TrainingSection
from pipeline.config.vae import VaeSection
from pipeline.jobs.device import pick_device
from pipeline.jobs.seeds import seeded
from pipeline.models.batch import flip
from pipeline.models.factory import build_discriminator, build_vae
from pipeline.models.losses import (
    Lpips,
    absolute_sum,
    adaptive_weight,
    discriminator_hinge,
    generator_hinge,
    slope_loss,
)
from pipeline.models.spaces import Codec
from pipeline.shards.batches import Sample, assemble, read_sample
from pipeline.shards.scene import NO_IMAGES
from pipeline.shards.shard_set import ShardSet
from pipeline.training.adam import Adam
from pipeline.training.finish import train_and_write
from pipeline.training.loop import average_gradients, averaged
from pipeline.training.order import DataOrder

_INIT = 0x7AE1


class VaeTask:
    """Reconstruction + KL + delayed adaptive hinge GAN (Rombach et al. 2022).

    Autoencoder and critic are updated in every step, or in alternating turns of ``gan_alternate`` steps.
    Turns are counted from the first step on; before the GAN starts, the critic's turns update nothing, as
    published.
    """

    def __init__(
        self, section: VaeSection, training: TrainingSection, shards: ShardSet, device: torch.device
    ) -> None:
        self.section, self.shards, self.device = section, shards, device
        self.order = DataOrder(len(shards), section.seed)
        self.grid = shards.manifest["grid"]
        # The bicubic a priori DEM, which the target `residual` needs, uses two cells around the patch.
        self.halo_cells = min(2, self.grid["halo_px"] // self.grid["factor"])

        def adam(module: torch.nn.Module) -> Adam:
            rate = section.optimiser.learning_rate
            return Adam(module.parameters(), rate, section.betas)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeded(section.seed, _INIT).initial_seed())
            self.vae = build_vae(section).to(device)
            self.modules: dict[str, torch.nn.Module] = {"model": self.vae}
            self.optimisers: dict[str, Adam] = {"model": adam(self.vae)}
            late = section.gan_start_samples >= section.optimiser.samples
            self.adversarial = section.gan_weight > 0 and not late
            if self.adversarial:
                self.modules["critic"] = build_discriminator(section).to(device)
                self.optimisers["critic"] = adam(self.modules["critic"])
        self.lpips = Lpips(section.lpips_weights).to(device) if section.lpips_weights else None
        self.codec = Codec(self.vae, section)
        self.bf16 = training.precision == "bf16"

    def prepare(self, numbers: Sequence[int]) -> list[Sample]:
        """Read the patches of a step; no images are needed."""
        places = [self.shards.at(self.order.patch(n)) for n in numbers]
        return [read_sample(shard, patch, NO_IMAGES, self.halo_cells) for shard, patch in places]

    def critics_turn(self, seen: int) -> bool:
        """Whether the step after `seen` samples updates only the critic."""
        turn = self.section.gan_alternate
        return self.adversarial and turn > 0 and seen // self.section.optimiser.batch // turn % 2 == 1

    def step(self, prepared: list[Sample], numbers: Sequence[int], seen: int) -> dict[str, float]:
        """One optimiser step of the autoencoder and, once it has started, of the critic."""
        started = self.adversarial and seen >= self.section.gan_start_samples
        critics = self.critics_turn(seen)
        with torch.set_grad_enabled(not critics):
            out, x, y = self._reconstruct(prepared, numbers)
        if started and not critics:
            push = generator_hinge(self.modules["critic"](y))
            weight = adaptive_weight(out["reconstruction"], push, self.vae.last_layer, averaged)
            out["loss"] = out["loss"] + self.section.gan_weight * weight * push
            out["generator"] = push
        if not critics:
            self._descend("model", out["loss"])
        if started and (critics or not self.section.gan_alternate):
            critic = self.modules["critic"]
            out["critic"] = discriminator_hinge(critic(x), critic(y.detach()))
            self._descend("critic", out["critic"])
        return {name: value.item() for name, value in out.items()}

    def _reconstruct(
        self, prepared: list[Sample], numbers: Sequence[int]
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Losses without the GAN, the maps (B, 1, P, P), and their reconstructions."""
        batch = assemble(prepared, self.halo_cells, self.grid["factor"], PhotometrySection(), self.device)
        batch = flip(batch, self.order.flips(numbers))
        assert batch.dem is not None
        x = self.codec.maps(batch.dem, batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            posterior = self.vae.encode(x)
            shape, each = posterior.mean.shape[1:], [self.order.noise(n) for n in numbers]
            noise = torch.stack([torch.randn(shape, generator=g) for g in each])
            z = posterior.sample(noise.to(posterior.mean))
            y = self.vae.decode(z)
        y = y.float()
        reconstruction = absolute_sum(y, x)
        if self.lpips is not None:
            reconstruction = reconstruction + x[0].numel() * self.lpips(y, x).mean()
        kl = posterior.kl().float().mean()
        loss = reconstruction + self.section.kl_weight * kl
        if self.section.slope_weight > 0:
            # Per pixel like the reconstruction, which is a sum.
            metres = self.codec.dem(y, batch) - batch.dem
            slopes = slope_loss(metres, torch.zeros_like(metres), batch.pixel_m)
            loss = loss + self.section.slope_weight * x[0].numel() * slopes
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}, x, y

    def _descend(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        loss.backward()
        average_gradients(list(self.modules[name].parameters()))
        optimiser.step()


def train_vae(
    section: VaeStage,
    key: str,
    manifest: Path | str,
    runtime: RuntimeSection,
    out: Path | str,
    lpips_weights: str | None = None,
) -> None:
    """Train the VAE and write ``model.safetensors``, ``config.json`` and ``metrics.jsonl``.

    Parameters
    ----------
    section : of the stage. key : its key. manifest : of the training shards.
    runtime : device and checkpoint interval. out : weights to write; the other files are beside it.
    lpips_weights : file of the perceptual loss's weights, whose digest is in the section.

    Raises
    ------
    ValueError
        If a shard is corrupt, the patch size does not fit the network, or a loss is not finite.
    """
    vae = section.vae.model_copy(update={"lpips_weights": lpips_weights})
    shards = ShardSet(manifest, "train")
    task = VaeTask(vae, section.training, shards, pick_device(runtime.device))
    written, grid = section.vae.model_dump(mode="json"), shards.manifest["grid"]
    config = {"kind": "vae", "key": key, "section": written, "grid": grid}
    train_and_write(task, vae.optimiser, vae.ema, config, runtime, out, "vae")
