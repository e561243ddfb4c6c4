"""What the published training of a bridge shows and how it descends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from training_setups import ALIGNED, PUBLISHED, bridge_stage, bridge_task

from pipeline.shards.shard_set import ShardSet
from pipeline.training.bridge import training_scene

ALL = bridge_stage(PUBLISHED).model_copy(update={"images": None})


def test_the_first_stage_may_show_all_fibonacci_images_of_a_patch_once(small_manifest: Path) -> None:
    shards, rng = ShardSet(small_manifest, "train"), np.random.default_rng(0)
    scene = training_scene(ALL)
    for number in range(len(shards)):
        shard, patch = shards.at(number)
        suns, present = shard.fibonacci_suns(patch)
        shown = scene.image_set(shard, patch, rng)
        usable = np.flatnonzero(present & shard.lit_any("fibonacci", patch))
        assert shown.group == "fibonacci"
        np.testing.assert_array_equal(shown.images, usable)
        np.testing.assert_array_equal(shown.suns, suns[usable].astype(float))
        # Those that are left out are below the horizon or dark.
        assert len(usable) <= len(suns)


def test_weights_decay_as_the_section_says(small_manifest: Path, tmp_path: Path) -> None:
    """A step of AdamW from a gradient of zero only shrinks weights, by rate x decay."""
    for decay in (0.0, 0.25):
        task = bridge_task(small_manifest, {**ALIGNED, "weight_decay": decay})
        weights = [p for p in task.modules["model"].parameters() if p.ndim > 1 and p.any()]
        before = [p.detach().clone() for p in weights]
        for p in task.modules["model"].parameters():
            p.grad = torch.zeros_like(p)
        task.optimisers["model"].step()
        for old, new in zip(before, weights, strict=True):
            torch.testing.assert_close(new.detach(), old * (1 - 1e-3 * decay), rtol=1e-6, atol=0)
            assert torch.equal(old, new.detach()) == (decay == 0)
