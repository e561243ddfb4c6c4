"""Training batches of patches with their images, for bridges and their rivals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from pipeline.config.stages.training import BridgeStage, RivalStage
from pipeline.models.batch import Batch, flip, transpose
from pipeline.shards.batches import Sample, assemble, read_sample
from pipeline.shards.scene import Scene
from pipeline.shards.scene_samples import SceneSample, assemble_scenes, read_scene
from pipeline.shards.shard_set import ShardSet
from pipeline.training.adam import Adam
from pipeline.training.order import DataOrder


class PatchTask:
    """Common part of all trainings on patches: choice of samples, and assembly of batches.

    Parameters
    ----------
    stage : photometry, imperfections, scenes and masks of the images. scene : source of image sets; not used
        with rendered scenes.
    shards : of the training patches. seed : of the data order and all random draws.
    halo_cells : a priori cells around the patch. augmentation : ``flips`` or ``square``.
    device : of the batches.
    """

    modules: dict[str, torch.nn.Module]
    optimisers: dict[str, Adam]

    def __init__(
        self,
        stage: BridgeStage | RivalStage,
        scene: Scene | None,
        shards: ShardSet,
        seed: int,
        halo_cells: int,
        augmentation: str,
        device: torch.device,
    ) -> None:
        self.photometry, self.imperfections = stage.photometry, stage.imperfections
        self.draw, self.masks = stage.scenes, stage.masks
        self.scene = None if stage.scenes is not None else scene
        self.shards, self.device = shards, device
        self.halo_cells, self.augmentation = halo_cells, augmentation
        self.factor = int(shards.manifest["grid"]["factor"])
        self.order = DataOrder(len(shards), seed)
        self.bf16 = stage.training.precision == "bf16"

    def prepare(self, numbers: Sequence[int]) -> list[Sample] | list[SceneSample]:
        """Draw image sets and read patches and visibility, or rendered scenes and altimetry."""
        if self.scene is None:
            return [self._scene_sample(number) for number in numbers]
        out = []
        for number in numbers:
            shard, patch = self.shards.at(self.order.patch(number))
            images = self.scene.image_set(shard, patch, self.order.scene_rng(number))
            out.append(read_sample(shard, patch, images, self.halo_cells))
        return out

    def _scene_sample(self, number: int) -> SceneSample:
        assert self.draw is not None
        shard, patch = self.shards.at(self.order.patch(number))
        rng = self.order.scene_rng(number)
        return read_scene(shard, patch, rng, self.draw, self.masks, self.halo_cells)

    def _assemble(self, prepared: list[Sample] | list[SceneSample], numbers: Sequence[int]) -> Batch:
        """Make a batch: compute radiance and apply imperfections."""
        halo, factor, off = self.halo_cells, self.factor, self.imperfections.off
        rngs = None if off else [self.order.imperfections_rng(n) for n in numbers]
        if self.scene is None:
            scenes = cast(list[SceneSample], prepared)
            return assemble_scenes(scenes, halo, factor, self.device, self.imperfections, rngs)
        prepared = cast(list[Sample], prepared)
        return assemble(prepared, halo, factor, self.photometry, self.device, self.imperfections, rngs)

    def batch(self, prepared: list[Sample] | list[SceneSample], numbers: Sequence[int]) -> Batch:
        """A batch with random flips and, for ``square``, transpositions."""
        batch = flip(self._assemble(prepared, numbers), self.order.flips(numbers))
        if self.augmentation == "square":
            batch = transpose(batch, self.order.transpositions(numbers))
        return batch
