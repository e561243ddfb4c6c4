"""Lower bound of height errors for an image set and an a priori DEM of known terrain, and errors of methods.

The bound is the root mean posterior variance, on windows of an image set with known terrain, of a
linear-Gaussian estimator that knows nearly everything else (`linear_gaussian`): the radiance is linearised
about the true slopes under Lambert's law; only well-lit pixels are used, as in `pipeline.models.refinement`;
albedos, exposures, hazes and shifts are unknown. The terrain's covariance is self-affine, with one Hurst
exponent, fitted to the site's true terrain, and the slope of each true window. Errors of spots are those of
the set.

For comparison, on the same windows: the a priori DEM, bicubic, photometric stereo in closed form, kriging
(the exact posterior mean without images; from block means if they are exact), and the refinement, without and
with images.

Images are prepared by the workflow under `config/map.yaml`, as for a map's first pass: they are compared only
with the a priori DEM, so that no network is needed. All of them are used. A set is a folder like
`challenge/malapert_crater_1` of the test data. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from challenge import ROOT, site_of, truth_of
from linear_gaussian import (
    Cameras,
    Posterior,
    block_means,
    fit_hurst,
    information,
    linearised,
    precision,
    slope_of,
)
from pipeline.config.predictors import PhotometricSection
from pipeline.config.root import load_config
from pipeline.maps.expected import expected_in
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import MapImages, read_prepared
from pipeline.maps.tiling import chunks
from pipeline.maps.windows import apriori_of
from pipeline.models import refinement_images, refinement_kernels
from pipeline.models.batch import Batch
from pipeline.models.refinement import refined
from pipeline.predictors.kriging import Kriging
from pipeline.predictors.photometric import Photometric
from pipeline.provenance.plan import Plan
from pipeline.region.reconstruct import collate, prepare
from pipeline.region.windows import Window
from pipeline.shards.shard_set import chosen
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.blocks import block_mean

Floats = NDArray[np.float64]
HALO_CELLS = 2


@dataclass(frozen=True)
class Site:
    """A set with one of its a priori DEMs; `truth` (H, W) is on the requested map."""

    ground: SiteGround
    images: MapImages
    truth: Floats

    def windows(self, size: int, most: int) -> list[Window]:
        """At most `most` windows that do not overlap, on whole cells, evenly spread."""
        layout = self.ground.layout
        first = [-(-start // layout.factor) * layout.factor for start in (layout.row, layout.col)]
        ends = layout.row + layout.height - size, layout.col + layout.width - size
        rows, cols = (range(start, end + 1, size) for start, end in zip(first, ends, strict=True))
        every = [Window(row, col, size) for row in rows for col in cols]
        return [every[i] for i in chosen(len(every), most)]

    def under(self, window: Window) -> Floats:
        """True heights of a window, metres."""
        row, col = window.row - self.ground.layout.row, window.col - self.ground.layout.col
        return self.truth[row : row + window.size, col : col + window.size]

    def batch(self, window: Window, altimetry: bool = True) -> Batch:
        """A window as input of the map's networks; with the DEM's own heights if it is `altimetry`."""
        ground, middle = self.ground, (window.size - 1) / 2
        pixel = ground.layout.grid.true_pixel_m(window.row + middle, window.col + middle)
        patch = prepare(apriori_of(ground, altimetry), self.images, window, HALO_CELLS)
        expected = expected_in(ground, window, pixel, patch.seen.sun)
        return replace(collate([patch], pixel), expected=expected[None])

    def spot_error(self) -> float:
        """Error of the heights of hit pixels, metres; NaN if the DEM is no altimetry."""
        layout = self.ground.layout
        if layout.kind == "coarse" or self.ground.count is None:
            return float("nan")
        here = np.s_[layout.row : layout.row + layout.height, layout.col : layout.col + layout.width]
        hit = self.ground.count[here] > 0
        return float(np.sqrt(np.mean((self.ground.dem[here] - self.truth)[hit] ** 2)))


def prepared(folder: Path, apriori: str, cores: int) -> Site:
    """Prepare the images of a set by the workflow, in the project's own `results`."""
    base = yaml.safe_load((ROOT / "config/map.yaml").read_text())
    site = base["site"] | site_of(folder.resolve(), apriori)
    changes = {"run": f"bound_{folder.name}_{apriori}", "site": site}
    plan = Plan(load_config(base | changes))
    parts = range(len(chunks(plan.site.paths["images"], plan.config.images.per_job)))
    paths = [plan["map_images_first"].path(f"chunk_{part:04d}.zarr.zip") for part in parts]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(base | changes, file)
        file.flush()
        command = [sys.executable, "-m", "snakemake", "--configfile", file.name, f"-c{cores}", *paths]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    ground = SiteGround.load(plan["map_site"].path("ground.zarr.zip"))
    images = MapImages(read_prepared(paths, "all"), ground.layout.grid)
    return Site(ground, images, truth_of(folder))


def methods(batch: Batch, cells: Batch, factor: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and (1, P, P) heights of existing methods, for one window; `cells` has only block means."""
    yield "a priori DEM", batch.prior
    yield "bicubic of its block means", prior_from_lr(cells.lr, HALO_CELLS, factor)
    closed = Photometric(PhotometricSection(), factor, HALO_CELLS)
    yield "photometric stereo, closed form", closed.sample(cells, 1, [])[:, 0]
    if batch.spots is not None:
        yield "kriging of the spots (predictor)", Kriging(HALO_CELLS).sample(batch, 1, [])[:, 0]
    dark = replace(batch, present=torch.zeros_like(batch.present))
    yield "refinement without images", refined(dark, factor).batch.prior
    yield "refinement", refined(batch, factor).batch.prior


def well_lit(batch: Batch) -> NDArray[np.bool_]:
    """(K, P, P) pixels that are used: those of the refinement, regardless of `expected`."""
    images, seen = batch.images.numpy(), batch.valid.numpy()
    lit, level = np.zeros(images.shape, np.bool_), np.zeros(images.shape[:2])
    refinement_kernels.well_lit(
        images, seen, refinement_images.LIT, refinement_images.LIT_OVERALL, lit, level
    )
    return lit[0]


class Bound:
    """The estimator for windows of one size on terrain of one Hurst exponent."""

    def __init__(self, size: int, hurst: float, models: list[float], cameras: Cameras) -> None:
        self.hurst, self._prior = hurst, precision(size, hurst)
        self._models, self._cameras = models, cameras

    def errors(
        self, batch: Batch, truth: Floats, factor: int, spot_px: float
    ) -> Iterator[tuple[str, Floats]]:
        """Names, and (N,) errors of heights or their standard deviations, pixels.

        Parameters
        ----------
        batch : one window. truth : (P, P) pixels. spot_px : error of spots, pixels; NaN for exact block
            means.
        """
        size, slope = truth.shape[0], slope_of(truth, self.hurst)
        sure = np.isnan(spot_px)
        heights = batch.prior[0].double().numpy() / float(batch.pixel_m[0])
        weight = np.zeros(truth.size)
        if not sure:
            assert batch.spots is not None
            weight[batch.spots[0].numpy().ravel() > 0] = spot_px**-2
        cells = block_means(size, factor) if sure else None
        values = block_mean(truth, factor).ravel() if sure else None

        def posterior(more: Floats | None) -> Posterior:
            matrix = self._prior / slope**2
            if more is not None:
                matrix += more
            matrix[np.diag_indices_from(matrix)] += weight
            return Posterior(matrix, cells)

        found = posterior(None)
        yield "kriging (exact, fitted)", found.mean(weight * heights.ravel(), values) - truth.ravel()
        yield "kriging (exact, fitted), expected", np.sqrt(found.variance())
        del found
        lit, suns = well_lit(batch), batch.sun[0].double().numpy()
        for model in self._models:
            light = linearised(truth, suns, lit, replace(self._cameras, model=model))
            yield f"bound, model error {model:g}", np.sqrt(posterior(information(light)).variance())


def scored(site: Site, bound: Bound, windows: list[Window]) -> dict[str, Any]:
    """RMSE over windows and over their central halves, by method, metres; with the settings."""
    factor, spot_m = site.ground.layout.factor, site.spot_error()
    squares: dict[str, list[tuple[float, float]]] = defaultdict(list)
    slopes, lit = [], []

    def note(name: str, off: Floats, size: int) -> None:
        inner = slice(size // 4, size - size // 4)
        square = off.reshape(size, size) ** 2
        squares[name].append((float(square.mean()), float(square[inner, inner].mean())))

    for window in windows:
        batch, cells = site.batch(window), site.batch(window, altimetry=False)
        truth, pixel = site.under(window) - float(batch.reference[0]), float(batch.pixel_m[0])
        for name, found in methods(batch, cells, factor):
            note(name, found[0].double().numpy() - truth, window.size)
        for name, off in bound.errors(batch, truth / pixel, factor, spot_m / pixel):
            note(name, off * pixel, window.size)
        slopes.append(round(slope_of(truth / pixel, bound.hurst), 4))
        lit.append(round(float(well_lit(batch).sum(axis=0).mean()), 2))
    rows = {name: [round(v**0.5, 4) for v in np.mean(both, axis=0)] for name, both in squares.items()}
    return {"rmse_m": rows, "slope_px": slopes, "lit": lit, "spot_m": round(spot_m, 3)}


def main() -> None:
    """Score all a priori DEMs, print a table and the JSON of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "set", type=Path, nargs="?", default=ROOT.parent / "shared/data/challenge/malapert_crater_1",
        help="folder of a set",
    )  # fmt: skip
    dems = ["prior_640m", "ldem_40m", "ldem_sparse_40m"]
    parser.add_argument("--apriori", nargs="+", default=dems, help="DEMs, without .tif")
    parser.add_argument("--size", type=int, default=64, help="side of a window, pixels; whole cells")
    parser.add_argument("--windows", type=int, default=4, help="windows, at most")
    parser.add_argument("--model-error", type=float, nargs="+", default=[0.0, 0.1], help="of the radiance")
    parser.add_argument("--snr", type=float, default=60.0, help="median lit radiance over the noise")
    parser.add_argument("--albedo", type=float, default=0.1, help="standard deviation of pixels")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.cores)
    sites = {apriori: prepared(options.set, apriori, options.cores) for apriori in options.apriori}
    one = next(iter(sites.values()))
    hurst = fit_hurst(one.truth / one.ground.layout.grid.pixel_m)
    cameras = Cameras(noise=1 / options.snr, albedo=options.albedo)
    bound = Bound(options.size, hurst, options.model_error, cameras)
    print(f"{options.set.name}: Hurst exponent {hurst:.2f}")
    heads = ("a priori DEM", "", "windows, m", "of the a priori", "their middles, m", "of the a priori")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    table: dict[str, Any] = {"hurst": hurst, "size": options.size}
    for apriori, site in sites.items():
        table[apriori] = scored(site, bound, site.windows(options.size, options.windows))
        rows = table[apriori]["rmse_m"]
        for name, pair in rows.items():
            ratios = [v / v0 for v, v0 in zip(pair, rows["a priori DEM"], strict=True)]
            told = " | ".join(f"{v:.2f} | {r:.3f}" for v, r in zip(pair, ratios, strict=True))
            print(f"| {apriori} | {name} | {told} |", flush=True)
    print(json.dumps(table))


if __name__ == "__main__":
    main()
