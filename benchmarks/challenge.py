"""Scores of maps made from independently rendered image sets of known terrain: `make bench-maps`.

For each set and a priori DEM the map is made with `config/map.yaml`, like a user's map. Compared with
`truth_<pixel>m.tif` are the DEM itself, a thin-plate spline of its hit pixels (with counts), photometric
stereo in closed form and the refinement without a network (`pipeline.models.refinement`) on the same
prepared images, the reconstruction before any fallback to the DEM, and the map. The last line is one JSON
object. A set is a folder like `challenge/nobile_rim_1` of the test data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import yaml
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from pipeline.config.bridge import BridgeSection
from pipeline.config.maps import MapSection
from pipeline.config.predictors import PhotometricSection
from pipeline.config.root import load_config
from pipeline.maps.blend import Clones
from pipeline.maps.blocks import by_block
from pipeline.maps.check import moments_of
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import MapImages, read_prepared
from pipeline.maps.products import slope_deg
from pipeline.maps.tiling import tiles
from pipeline.maps.windows import sample_windows
from pipeline.models.refinement import refined
from pipeline.predictors.photometric import Photometric
from pipeline.provenance.plan import Plan

ROOT = Path(__file__).resolve().parents[1]
Floats = NDArray[np.float64]
# Tables of Suns: LROC's index, or a list of the Ames Stereo Pipeline.
_SUNS = ("index.csv", "sun_positions.txt")
# Number of hit pixels from which the spline at a pixel is computed.
_NEIGHBOURS = 64


class ClosedForm:
    """Photometric stereo with the interface of a `System`: one clone, no noise."""

    section = BridgeSection()

    def __init__(self, size_px: int, factor: int, halo_cells: int) -> None:
        self.size_px, self.halo_cells = size_px, halo_cells
        self._predictor = Photometric(PhotometricSection(), factor, halo_cells)

    def sample(self, batch: Any, members: int, sources: Any, sampler: Any) -> torch.Tensor:
        """(1, 1, P, P) heights."""
        return self._predictor.sample(batch, 1, [])


class Refinement:
    """The refinement, from which networks with `bridge.refine` begin, with the interface of a `System`."""

    section = BridgeSection(space="pixel", conditioning="aligned", posterior_mean=True, refine=True)

    def __init__(self, size_px: int, factor: int, halo_cells: int) -> None:
        self.size_px, self.halo_cells, self._factor = size_px, halo_cells, factor

    def sample(self, batch: Any, members: int, sources: Any, sampler: Any) -> torch.Tensor:
        """(1, 1, P, P) heights."""
        return refined(batch, self._factor).batch.prior[:, None]


def site_of(folder: Path, apriori: str) -> dict[str, Any]:
    """The section `site` of a set."""
    region = json.loads((folder / "region.json").read_text())
    count = folder / f"{apriori.replace('ldem', 'ldec')}.tif"
    return {
        "dem": str(folder / f"{apriori}.tif"),
        "count": str(count) if apriori.startswith("ldem") and count.is_file() else None,
        "images": str(folder / "images" / "*.tif"),
        "suns": str(next(path for name in _SUNS if (path := folder / name).is_file())),
        "pixel_m": region["pixel_m"],
        "center_m": region["center_m"],
        "size_px": region["size_px"],
    }


def made(
    folder: Path, apriori: str, more: Mapping[str, Any], cores: int, rule: str = "map"
) -> tuple[Plan, Path, float]:
    """Make a map, or the output of an earlier rule, in the project's own `results`.

    Returns
    -------
    Its plan, its folder and the time, seconds.
    """
    run = f"challenge_{folder.name}_{apriori}"
    changes = {"run": run, "site": site_of(folder.resolve(), apriori), **more}
    base = yaml.safe_load((ROOT / "config/map.yaml").read_text())
    whole = {**base, **changes, "site": {**base["site"], **changes["site"]}}
    whole["map"] = {**base["map"], **dict(more.get("map", {}))}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(whole, file)
        file.flush()
        command = [sys.executable, "-m", "snakemake", "--configfile", file.name, f"-c{cores}", "map"]
        command += ["--until", rule] if rule != "map" else []
        begin = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return Plan(load_config(whole)), ROOT / "results" / run / "map", seconds


def band(path: Path) -> Floats:
    """The first band of a raster, NaN without data."""
    with rasterio.open(path) as raster:
        return raster.read(1, masked=True).astype(np.float64).filled(np.nan)


def truth_of(folder: Path) -> Floats:
    """The DEM that a set's maps are compared with, ``truth_<pixel>m.tif``."""
    (path,) = folder.glob("truth_*m.tif")
    return band(path)


def spline_of_hits(dem: Floats, hit: NDArray[np.bool_]) -> Floats:
    """Thin-plate spline through the hit pixels of a DEM."""
    middle = float(dem[hit].mean())
    spline = RBFInterpolator(
        np.argwhere(hit).astype(float), dem[hit] - middle, neighbors=_NEIGHBOURS, kernel="thin_plate_spline"
    )
    everywhere = np.argwhere(np.ones_like(hit)).astype(float)
    return np.asarray(spline(everywhere).reshape(dem.shape) + middle)


def without_network(
    kind: type[ClosedForm | Refinement], plan: Plan, ground: SiteGround, images: list[Path], folder: Path
) -> Floats:
    """Result of a solver on the map's images, with windows blended as in the map."""
    config = plan.config
    grid, size = ground.layout.grid, config.patches.size_px
    drawn = config.map.model_copy(update={"std": "clones"})
    windows = [w for t in tiles(grid.height, grid.width, size, drawn.stride_px, drawn.tile_px) for w in t]
    source = MapImages(read_prepared(images, "map"), grid)
    system: Any = kind(size, ground.layout.factor, 2)
    out = folder / f"{kind.__name__}.zarr.zip"
    sample_windows(system, ground, source, windows, drawn, 1, config.pretrained.sampler, out)
    return moments_of(Clones([out], ground, drawn, 1))[0]


def scores(found: Floats, truth: Floats, pixel_m: float) -> dict[str, float]:
    """RMSE of heights, metres, and of slopes, degrees."""
    slopes = slope_deg(found, pixel_m) - slope_deg(truth, pixel_m)
    return {
        "rmse_m": float(np.sqrt(np.nanmean((found - truth) ** 2))),
        "slope_rmse_deg": float(np.sqrt(np.nanmean(slopes**2))),
    }


def marks(check: Mapping[str, Any], raw: Floats, dem: Floats, truth: Floats) -> dict[str, Any]:
    """How the marked blocks compare with those where the reconstruction is no better than the DEM."""
    whole = (0, truth.shape[0], 0, truth.shape[1])
    ours, theirs = (by_block((found - truth) ** 2, whole, truth.shape) for found in (raw, dem))
    worse = ours >= theirs
    marked = np.array(check["blocks"]["marked"], dtype=bool)[: worse.shape[0], : worse.shape[1]]
    both = int((worse & marked).sum())
    return {"blocks": worse.size, "worse": int(worse.sum()), "marked": int(marked.sum()), "both": both}


def scored(folder: Path, apriori: str, more: Mapping[str, Any], cores: int) -> dict[str, Any]:
    """One row of the table."""
    plan, place, seconds = made(folder, apriori, more, cores)
    facts = json.loads((place / "map.json").read_text())
    truth = truth_of(folder)
    pixel = float(facts["place"]["ground_pixel_m"])
    ground = SiteGround.load(plan["map_site"].path("ground.zarr.zip"))
    layout = ground.layout
    here = np.s_[layout.row : layout.row + layout.height, layout.col : layout.col + layout.width]
    stores = sorted(Path(plan["map_clones"].folder).glob("tile_*.zarr.zip"))
    images = sorted(Path(plan["map_images"].folder).glob("chunk_*.zarr.zip"))
    drawn = MapSection(**dict(more.get("map", {})))
    raw, _ = moments_of(Clones(stores, ground, drawn, plan.config.map.members))
    found = {"DEM": ground.dem[here], "reconstruction": raw[here], "map": band(place / "mean.tif")}
    if ground.count is not None and layout.kind == "fine":
        found["spline"] = spline_of_hits(ground.dem, ground.count > 0)[here]
    with tempfile.TemporaryDirectory() as scratch:
        for name, kind in (("photometric", ClosedForm), ("refinement", Refinement)):
            found[name] = without_network(kind, plan, ground, images, Path(scratch))[here]
    out: dict[str, Any] = {
        name: {k: round(v, 4) for k, v in scores(values, truth, pixel).items()}
        for name, values in found.items()
    }
    std, lit = band(place / "std.tif"), band(place / "lit.tif")
    wrong = band(place / "mean.tif") - truth
    groups = {"all": lit >= 0, "never": lit == 0, "1-2": (lit > 0) & (lit < 3), "3+": lit >= 3}
    members = plan.config.map.members
    # For a perfect ensemble of M members, the squared error of the mean is (M + 1) / M of the variance.
    fair = np.sqrt((members + 1) / members)
    out["spread_skill"] = {
        name: round(float(fair * np.sqrt(np.mean(std[g] ** 2) / np.mean(wrong[g] ** 2))), 3)
        for name, g in groups.items()
        if g.any()
    }
    out["marks"] = marks(facts["check"], raw[here], ground.dem[here], truth)
    return out | {"seconds": round(seconds), "verdict": facts["check"]["verdict"]}


def main() -> None:
    """Make the maps, print a table, and the same as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", type=Path, nargs="+", help="folders of sets")
    parser.add_argument("--apriori", nargs="+", default=["prior_640m", "ldem_40m"], help="DEMs, without .tif")
    parser.add_argument("--set", type=json.loads, default={}, help="sections of the config, as JSON")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    columns = ("DEM", "spline", "photometric", "refinement", "reconstruction", "map")
    print("| set | a priori | " + " | ".join(f"{name}, m / deg" for name in columns) + " | spread / skill |")
    print("|---|---|" + "---|" * (len(columns) + 1))
    table = {}
    for folder in options.sets:
        for apriori in options.apriori:
            row = scored(folder, apriori, options.set, options.cores)
            table[f"{folder.name} {apriori}"] = row
            cells = [
                f"{row[n]['rmse_m']:.2f} / {row[n]['slope_rmse_deg']:.2f}" if n in row else ""
                for n in columns
            ]
            print(
                f"| {folder.name} | {apriori} | {' | '.join(cells)} | {row['spread_skill']['all']} |",
                flush=True,
            )
    print(json.dumps(table))


if __name__ == "__main__":
    main()
