"""Classical shape from shading on the windows of a challenge set: `python benchmarks/shading.py SETS`.

The a priori DEM, the refinement without a network (`pipeline.models.refinement`), shape from shading (`sfs`)
and shape from shading after a bridge (`hybrid`) are compared on the same prepared images of the same adjacent
windows. RMSE in metres and slope error in degrees, over all pixels and by class
(`pipeline.models.light_classes`); CPU seconds per window of one core. Images are prepared by the workflow, as
for `benchmarks/challenge.py`; a set is a folder like `challenge/malapert_crater_1` of the test data.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from challenge import ROOT, made, truth_of
from pipeline.jobs.seeds import seeded
from pipeline.maps.expected import expected_in
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import MapImages, read_prepared
from pipeline.maps.products import slope_deg
from pipeline.maps.tiling import tiles
from pipeline.maps.windows import apriori_of
from pipeline.models.batch import Batch
from pipeline.models.light_classes import CLASSES, light_classes
from pipeline.models.refinement import refined
from pipeline.predictors import hybrid, sfs
from pipeline.predictors.interface import Setup
from pipeline.region.reconstruct import collate, prepare
from pipeline.region.windows import Window

Floats = NDArray[np.float64]
Solver = Callable[[Batch], Tensor]
_CELLS, _SEED = 2, 0x5F5


@dataclass
class Tally:
    """Squared errors of heights and slopes, and numbers of pixels, by class; seconds of each window."""

    heights: Floats = field(default_factory=lambda: np.zeros(len(CLASSES)))
    slopes: Floats = field(default_factory=lambda: np.zeros(len(CLASSES)))
    pixels: Floats = field(default_factory=lambda: np.zeros(len(CLASSES)))
    seconds: list[float] = field(default_factory=list)

    def add(self, found: Floats, truth: Floats, pixel_m: float, classes: NDArray[np.int64]) -> None:
        """Count a window."""
        tilts = slope_deg(found, pixel_m) - slope_deg(truth, pixel_m)
        known, most = np.isfinite(truth) & np.isfinite(tilts), len(CLASSES)
        here = classes[known]
        self.heights += np.bincount(here, (found - truth)[known] ** 2, most)
        self.slopes += np.bincount(here, tilts[known] ** 2, most)
        self.pixels += np.bincount(here, minlength=most)

    def cells(self) -> list[str]:
        """RMSE / slope error of all pixels and of each class, and seconds."""

        def cell(height: float, slope: float, count: float) -> str:
            return f"{np.sqrt(height / count):.2f} / {np.sqrt(slope / count):.2f}" if count else ""

        sums = (self.heights, self.slopes, self.pixels)
        each = [cell(*row) for row in zip(*sums, strict=True)]
        return [cell(*(part.sum() for part in sums)), *each, f"{np.mean(self.seconds):.2f}"]


@dataclass(frozen=True)
class Site:
    """A set's prepared images and a priori DEM."""

    ground: SiteGround
    images: MapImages
    truth: Floats
    size: int

    def windows(self) -> Iterator[tuple[Window, Floats]]:
        """Adjacent windows within the truth, and the truth there."""
        layout = self.ground.layout
        inside = np.full((layout.grid.height, layout.grid.width), np.nan)
        here = np.s_[layout.row : layout.row + layout.height, layout.col : layout.col + layout.width]
        inside[here] = self.truth
        for tile in tiles(layout.grid.height, layout.grid.width, self.size, self.size, 10**6):
            for window in tile:
                yield window, inside[window.pixels]

    def batch(self, window: Window, halo_cells: int, altimetry: bool) -> Batch:
        """A window as input of predictors."""
        grid, middle = self.ground.layout.grid, (self.size - 1) / 2
        patch = prepare(apriori_of(self.ground, altimetry), self.images, window, halo_cells)
        pixel = grid.true_pixel_m(window.row + middle, window.col + middle)
        batch = collate([patch], pixel)
        expected = expected_in(self.ground, window, pixel, batch.sun[0])
        return replace(batch, expected=expected[None])


def solvers(setup: Setup, options: dict[str, Any]) -> dict[str, tuple[Solver, int, bool]]:
    """Methods: function from a batch to (1, P, P) heights, halo, and whether it uses altimetry."""
    factor = int(setup.grid["factor"])
    shading = sfs.make(replace(setup, options=options.get("sfs", {})))
    out: dict[str, tuple[Solver, int, bool]] = {
        "a priori DEM": (lambda batch: batch.prior, _CELLS, True),
        "refinement": (lambda batch: refined(batch, factor).batch.prior, _CELLS, True),
        "sfs": (lambda batch: shading.sample(batch, 1, [])[:, 0], _CELLS, True),
    }
    if setup.files:
        after = hybrid.make(replace(setup, options=options.get("hybrid", {})))

        def mean(batch: Batch) -> Tensor:
            members, sampler = after.section.members, after.section.sampler
            return after.system.sample(batch, members, [seeded(_SEED)], sampler).mean(dim=1)

        takes = after.halo_cells, after.system.section.refine
        out["bridge, mean"] = (mean, *takes)
        out["hybrid"] = (lambda batch: after.sample(batch, 1, [seeded(_SEED)])[:, 0], *takes)
    return out


def scored(folder: Path, apriori: str, options: argparse.Namespace) -> dict[str, Tally]:
    """Scores of one set by method."""
    plan, _, _ = made(folder, apriori, {}, options.cores, "map_images")
    ground = SiteGround.load(plan["map_site"].path("ground.zarr.zip"))
    stores = sorted((ROOT / plan["map_images"].folder).glob("chunk_*.zarr.zip"))
    images = MapImages(read_prepared(stores, "map"), ground.layout.grid)
    truth, patches = truth_of(folder), plan.config.patches
    site = Site(ground, images, truth, patches.size_px)
    grid = {"size_px": patches.size_px, "factor": patches.factor, "halo_px": _CELLS * patches.factor}
    files = {"model": [str(options.weights / "model.safetensors")]} if options.weights else {}
    rivals = solvers(Setup(grid, files=files), options.set)
    tallies = {name: Tally() for name in rivals}
    for window, here in site.windows():
        classes = light_classes(site.batch(window, _CELLS, False))[0].numpy()
        for name, (solve, halo_cells, altimetry) in rivals.items():
            batch = site.batch(window, halo_cells, altimetry)
            begin = time.process_time()
            with torch.no_grad():
                found = solve(batch)[0].double().numpy()
            tallies[name].seconds.append(time.process_time() - begin)
            pixel_m = float(batch.pixel_m[0])
            tallies[name].add(found + float(batch.reference[0]), here, pixel_m, classes)
    return tallies


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", type=Path, nargs="+", help="folders of sets")
    parser.add_argument("--apriori", nargs="+", default=["prior_640m", "ldem_40m"], help="DEMs, without .tif")
    parser.add_argument("--weights", type=Path, help="folder of a bridge's weights, for hybrid")
    parser.add_argument("--set", type=json.loads, default={}, help="options of sfs and hybrid, as JSON")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("set", "a priori", "system", "all, m / deg", *CLASSES, "s")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for folder in options.sets:
        for apriori in options.apriori:
            tallies = scored(folder, apriori, options)
            pixels = next(iter(tallies.values())).pixels
            shares = [f"{share:.1%}" for share in pixels / pixels.sum()]
            print(f"| {folder.name} | {apriori} | share of pixels | | {' | '.join(shares)} | |")
            for name, tally in tallies.items():
                print(f"| | | {name} | {' | '.join(tally.cells())} |", flush=True)


if __name__ == "__main__":
    main()
