"""Where clones, as shipped weights draw them, are too close together: seen and unseen terrain, lit and dark.

Usage: python benchmarks/calibration.py results/store/manifest/<key>/manifest.json
    results/store/manifest_test/<key>/manifest.json

Both manifests are those of `config/lola40.yaml`. Prints, for clean and for imperfect images, what share of
the estimate's error the uncalibrated clones' departure from it is (root mean squares), where images light the
ground and where none does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from snakemake.utils import update_config

from pipeline.config.root import Config, load_config
from pipeline.evaluation.calibrate import Drawing, Drawn
from pipeline.models.files import load_system
from pipeline.shards.scene import ArcScene
from pipeline.shards.shard_set import ShardSet

ROOT = Path(__file__).resolve().parents[1]
#: About this many patches of each split.
PATCHES = 70


def lola40() -> Config:
    """The config of the shipped weights."""
    merged: dict[str, Any] = {}
    for name in ("config", "lola40"):
        update_config(merged, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    return load_config(merged)


def row(name: str, drawn: Drawn) -> str:
    """One line of the table."""
    unlit = np.concatenate([d.unlit for d in drawn.found])
    variance = np.concatenate([(d.members**2).mean(axis=0) for d in drawn.found])
    squared = np.concatenate([d.truth**2 for d in drawn.found])
    ratios = [float(np.sqrt(variance[part].sum() / squared[part].sum())) for part in (~unlit, unlit)]
    share = squared[unlit].sum() / squared.sum()
    return f"{name:32s} {ratios[0]:8.2f} {ratios[1]:8.2f} {100 * unlit.mean():9.1f} % {100 * share:9.0f} %"


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    torch.set_num_threads(2)
    config = lola40()
    scene = ArcScene(config.arcs.test["main"], config.arcs.tolerance)
    system = load_system(ROOT / "pretrained/lola40/model.safetensors")
    drawing = Drawing(system, scene, config.photometry, config.bridge.sampler, 0)
    print(f"{'':32s} {'lit':>8s} {'dark':>8s} {'dark pixels':>11s} {'of error':>11s}")
    for kind, how in (("clean", None), ("imperfect", config.imperfections.test)):
        for manifest, split in ((1, "train"), (1, "validation"), (2, "test")):
            shards = ShardSet(sys.argv[manifest], split)
            picked = range(0, len(shards), max(1, len(shards) // PATCHES))
            print(
                row(f"{kind}, {split}", drawing.draw(shards, picked, [0], how, f"{kind}, {split}")),
                flush=True,
            )


if __name__ == "__main__":
    main()
