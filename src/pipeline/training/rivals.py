"""Common part of the trainings of learned rivals: batches, optimiser step, weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config.rivals import DirectSection, RivalSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.training import RivalStage
from pipeline.illumination.ephemeris import read_track
from pipeline.jobs.device import pick_device
from pipeline.jobs.seeds import seeded
from pipeline.models.losses import slope_loss
from pipeline.models.rivals import RivalNetwork, in_pixels, weights_config
from pipeline.shards.batches import Sample
from pipeline.shards.scene import ArcScene
from pipeline.shards.scene_samples import SceneSample
from pipeline.shards.shard_set import ShardSet
from pipeline.training.adam import Adam
from pipeline.training.finish import train_and_write
from pipeline.training.loop import average_gradients
from pipeline.training.patches import PatchTask

_INIT = 0x21FA1
# Larger than the seeds of all stages of bridges; rivals with equal seeds are trained on the same samples.
_ORDER = 1 << 41
S = TypeVar("S", bound=RivalSection)
D = TypeVar("D", bound=DirectSection)
Prepared = list[Sample] | list[SceneSample]


class RivalTask(PatchTask, ABC, Generic[S]):
    """Training of a rival, on arcs with missing data, like the last stage of bridges, or on rendered scenes.

    Parameters
    ----------
    stage : section of the training stage. section : of the rival. shards : of the training patches.
    device : of the training.
    track : the Sun's track, for arcs with ``place: ephemeris``.
    """

    def __init__(
        self,
        stage: RivalStage,
        section: S,
        shards: ShardSet,
        device: torch.device,
        track: Sequence[Path | str] = (),
    ) -> None:
        self.section = section
        grid = shards.manifest["grid"]
        suns = read_track(track[0]) if track else None
        scene = ArcScene(stage.arcs.train, stage.arcs.tolerance, stage.masks, suns)
        # A bicubic without edge effects needs two cells around the patch.
        halo_cells = min(2, grid["halo_px"] // grid["factor"])
        super().__init__(
            stage, scene, shards, _ORDER + section.seed, halo_cells, section.augmentation, device
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeded(section.seed, _INIT).initial_seed())
            networks = self.build(int(grid["size_px"]), int(grid["factor"]))
        self.modules = {name: network.to(device) for name, network in networks.items()}
        self.optimisers = {name: self._adam(each.parameters()) for name, each in self.modules.items()}

    @abstractmethod
    def build(self, size_px: int, factor: int) -> dict[str, nn.Module]:
        """Networks by name; ``model`` is the rival, whose weights are the result."""

    @abstractmethod
    def step(self, prepared: Prepared, numbers: Sequence[int], seen: int) -> dict[str, float]:
        """See `pipeline.training.loop.Task`."""

    @property
    def network(self) -> RivalNetwork:
        """The rival."""
        network = self.modules["model"]
        assert isinstance(network, RivalNetwork)
        return network

    def _adam(self, parameters: Iterable[nn.Parameter]) -> Adam:
        rate, decay = self.section.optimiser.learning_rate, self.section.weight_decay
        return Adam(parameters, rate, weight_decay=decay)

    def _descend(self, name: str, loss: Tensor) -> None:
        """Take an optimiser step with clipped gradients."""
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        loss.backward()
        average_gradients(optimiser.parameters)
        if self.section.clip > 0:
            torch.nn.utils.clip_grad_norm_(optimiser.parameters, self.section.clip)
        optimiser.step()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


class DirectTask(RivalTask[D]):
    """A rival whose loss is the error of heights and of slopes."""

    def step(self, prepared: Prepared, numbers: Sequence[int], seen: int) -> dict[str, float]:
        """One optimiser step on a batch."""
        batch = self.batch(prepared, numbers)
        assert batch.dem is not None
        with self._autocast():
            residual = self.network(batch)
        truth = in_pixels(batch.dem - batch.prior, batch)
        error = F.l1_loss if self.section.loss == "l1" else F.mse_loss
        losses = {"pixel": error(residual, truth), "slope": slope_loss(residual, truth)}
        loss = losses["pixel"] + self.section.slope_weight * losses["slope"]
        self._descend("model", loss)
        return {name: value.item() for name, value in {"loss": loss, **losses}.items()}


def train_rival_network(
    name: str,
    task: Callable[[RivalStage, S, ShardSet, torch.device, Sequence[Path | str]], RivalTask[S]],
    kind: type[S],
    section: RivalStage,
    key: str,
    manifest: Path | str,
    runtime: RuntimeSection,
    out: Path | str,
    track: Sequence[Path | str] = (),
) -> None:
    """Train a rival and write its weights, ``config.json`` and ``metrics.jsonl``.

    Parameters
    ----------
    name : of the rival, also for its variants. task : class of the training. kind : class of the section.
    section, key, manifest, runtime, out, track : see `pipeline.training.rival.train_rival`.

    Raises
    ------
    ValueError
        If the patches do not fit the network, a shard is corrupt, or a loss is not finite.
    """
    options, shards = kind.model_validate(section.options), ShardSet(manifest, "train")
    training = task(section, options, shards, pick_device(runtime.device), track)
    config = {"key": key, **weights_config(name, options, shards.manifest["grid"])}
    train_and_write(training, options.optimiser, options.ema, config, runtime, out, section.name)
