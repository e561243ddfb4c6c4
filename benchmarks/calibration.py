"""Spread of the shipped weights' uncalibrated clones: on training and test terrain, lit and dark.

    python benchmarks/calibration.py results/store/manifest/<key>/manifest.json \\
        results/store/manifest_test/<key>/manifest.json

Both manifests are those of `config/lola40.yaml`. Prints, for clean and for imperfect images, the ratio of the
root mean square departure of uncalibrated clones from the estimate to its error, for lit and unlit pixels.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from configured import ROOT, configured
from pipeline.calibration.fit import Pixels
from pipeline.calibration.sets import ArcSets
from pipeline.calibration.stage import Drawing, Kind
from pipeline.models.files import load_system
from pipeline.shards.scene import ArcScene
from pipeline.shards.shard_set import ShardSet

#: Approximate number of patches of each split.
PATCHES = 70


def row(name: str, drawn: Kind) -> str:
    """One line of the table."""
    lit, dark = (Pixels.of(drawn.validation, unlit) for unlit in (False, True))
    ratios = [np.exp(-pixels.level) for pixels in (lit, dark)]
    pixels = 100 * len(dark.spread) / (len(lit.spread) + len(dark.spread))
    share = 100 * dark.squared.sum() / (lit.squared.sum() + dark.squared.sum())
    return f"{name:32s} {ratios[0]:8.2f} {ratios[1]:8.2f} {pixels:9.1f} % {share:9.0f} %"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", help="of the shards of training and validation patches")
    parser.add_argument("manifest_test", help="of the shards of test patches")
    options = parser.parse_args()
    manifests = {
        "train": options.manifest, "validation": options.manifest, "test": options.manifest_test
    }  # fmt: skip
    torch.set_num_threads(2)
    config = configured(ROOT / "config/lola40.yaml")
    scene = ArcScene(config.arcs.test["main"], config.arcs.tolerance)
    system = load_system(ROOT / "pretrained/lola40/model.safetensors")
    print(f"{'':32s} {'lit':>8s} {'dark':>8s} {'dark pixels':>11s} {'of error':>11s}")
    for kind, how in (("clean", None), ("imperfect", config.imperfections.test)):
        for split, manifest in manifests.items():
            shards = ShardSet(manifest, split)
            picked = range(0, len(shards), max(1, len(shards) // PATCHES))
            sets = ArcSets(f"{kind}, {split}", how, scene, config.photometry)
            drawing = Drawing(system, sets, config.bridge.sampler, 0)
            print(row(sets.title, drawing.draw(shards, picked, [0], sets.title)), flush=True)


if __name__ == "__main__":
    main()
