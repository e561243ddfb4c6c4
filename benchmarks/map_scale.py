"""Time and peak memory of maps of several sizes, stage by stage, made by the workflow.

Usage: PYTHONPATH=src python benchmarks/map_scale.py FOLDER [--sizes 512 1024 2048] [--images 4] [--members 4]
           [--stride 96] [--cores 2]

Writes a synthetic site with 40 m pixels into FOLDER (used again by the next call), whose DEM has cells of
640 m and extends 30 km beyond the largest map. Its images are squares of 512 pixels, rendered with cast
shadows; --images is their number per square of the map. Then makes the map of each size with the shipped
weights, one Snakemake call per rule, and prints wall seconds, CPU seconds and the memory of the largest
process of each (including Snakemake's start), CPU seconds per megapixel, km^2 per minute and clones of
windows per second, and all of it relative to the smallest map. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from pipeline.config.photometry import PhotometrySection
from pipeline.config.synthetic import SyntheticSection
from pipeline.imagery.suns.sun import Sun
from pipeline.maps.render import Scene
from pipeline.region.windows import moving_windows
from pipeline.terrain.blocks import block_mean
from pipeline.terrain.map_grid import MapGrid, lunar_projection
from pipeline.terrain.synthetic.world import SOUTH_POLAR, synthetic_dem

ROOT = Path(__file__).resolve().parents[1]
PIXEL_M, FACTOR, MARGIN_PX, SIZE_PX, SQUARE_PX = 40.0, 16, 752, 96, 512
CENTER_M = (120_000.0, 230_000.0)
RULES = (
    *("map_site", "map_images_first", "map_clones_first", "map_first"),
    *("map_images", "map_clones", "map_check", "map"),
)


def write_raster(path: Path, values: NDArray[np.float32], left: float, top: float, pixel_m: float) -> None:
    """A tiled GeoTIFF in the polar projection."""
    profile = {
        "driver": "GTiff", "count": 1, "dtype": "float32", "nodata": np.nan, "crs": SOUTH_POLAR,
        "height": values.shape[0], "width": values.shape[1], "tiled": True, "compress": "deflate",
        "transform": from_origin(left, top, pixel_m, pixel_m),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(values, 1)


def write_site(folder: Path, size: int, images: int) -> None:
    """A synthetic DEM of coarse cells, and images of squares of its inner `size` pixels."""
    whole = size + 2 * MARGIN_PX
    place = {"center_x_m": CENTER_M[0], "center_y_m": CENTER_M[1]}
    dem = synthetic_dem(SyntheticSection(size_px=whole, pixel_m=PIXEL_M, **place))
    left, top = corner(size)
    projection = lunar_projection(SOUTH_POLAR)
    grid = MapGrid(projection.wkt_text, from_origin(left, top, PIXEL_M, PIXEL_M), size, size)
    scene = Scene(dem, MARGIN_PX, grid, PhotometrySection(law="lambert"))
    lon = float(grid.lonlat(size / 2, size / 2)[0])
    squares = range(0, size, SQUARE_PX)
    with (folder / "index.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["PRODUCT_ID", "SUB_SOLAR_LATITUDE", "SUB_SOLAR_LONGITUDE"])
        for row, col in product(squares, squares):
            print(f"square ({row}, {col}) of {size} px rendered", file=sys.stderr)
            for k in range(images):
                # From one side, as everywhere except at the pole.
                turn = 140.0 * (k + 0.5) / images - 70
                sun = Sun.from_subsolar(lon + turn, 1.5 if k % 2 else -1.5, "rendered")
                light = scene.render(sun, (row, row + SQUARE_PX, col, col + SQUARE_PX)).radiance
                name = f"M1{row // SQUARE_PX:02d}{col // SQUARE_PX:02d}{k:04d}LE"
                at = left + col * PIXEL_M, top - row * PIXEL_M
                # A map uses the images of its own squares.
                beside = folder / f"nac_{max(row, col) + SQUARE_PX}"
                beside.mkdir(exist_ok=True)
                write_raster(beside / f"{name}.tif", light, *at, PIXEL_M)
                east, north = sun.subsolar
                table.writerow([name, north, east])
    cells = block_mean(dem.astype(np.float64), FACTOR).astype(np.float32)
    margin = MARGIN_PX * PIXEL_M
    write_raster(folder / "ldem.tif", cells, left - margin, top + margin, PIXEL_M * FACTOR)


def corner(size: int) -> tuple[float, float]:
    """Left and top of the largest map, which all maps share."""
    return CENTER_M[0] - size * PIXEL_M / 2, CENTER_M[1] + size * PIXEL_M / 2


def images_of(folder: Path, size: int) -> str:
    """Glob pattern of the images on a map."""
    links = folder / f"nac_of_{size}"
    links.mkdir(exist_ok=True)
    for side in range(SQUARE_PX, size + 1, SQUARE_PX):
        for path in (folder / f"nac_{side}").glob("*.tif"):
            link = links / path.name
            if not link.is_symlink():
                link.symlink_to(path)
    return f"{links.name}/*.tif"


def run(folder: Path, rule: str, words: list[str], cores: int) -> dict[str, float]:
    """One Snakemake call: wall and CPU seconds, MB of the largest of its processes."""
    target = ["map"] if rule == "map" else ["map", "--until", rule]
    call = [
        *(sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(folder)),
        *(f"-c{cores}", *target, "--nolock", *words),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    with (folder / "log.txt").open("ab") as log:
        start = time.perf_counter()
        process = subprocess.Popen(call, stdout=log, stderr=log, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{rule}: expected a finished call, found exit {process.returncode}; see {log.name}")
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def measure(
    folder: Path, size: int, largest: int, members: int, stride: int, cores: int
) -> dict[str, dict[str, float]]:
    """Measure all rules of one map, in the top-left corner of the largest one."""
    left, top = corner(largest)
    half = size * PIXEL_M / 2
    site = {
        "dem": "ldem.tif", "images": images_of(folder, size), "suns": "index.csv", "pixel_m": PIXEL_M,
        "center_m": [left + half, top - half], "size_px": size,
    }  # fmt: skip
    drawn = {"members": members, "stride_px": stride, "tile_px": SQUARE_PX}
    images = {"per_job": 4, "check_from": 4, "withhold_least": 1}
    words = [
        *("--configfile", str(ROOT / "config" / "map.yaml"), "--config", f"run=map_{size}"),
        *(f"site={json.dumps(site)}", f"map={json.dumps(drawn)}", f"images={json.dumps(images)}"),
        f'pretrained={{"weights": "{ROOT / "pretrained" / "lola40"}"}}',
    ]
    found = {}
    for rule in RULES:
        found[rule] = run(folder, rule, words, cores)
        numbers = "  ".join(f"{name} {value:8.1f}" for name, value in found[rule].items())
        print(f"  {size:5d} {rule:18s} {numbers}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--stride", type=int, default=96)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "ldem.tif").is_file():
        # In a separate process: the system counts a parent's memory for its children.
        with get_context("spawn").Pool(1) as pool:
            pool.apply(write_site, (folder, max(given.sizes), given.images))
    answer: dict[str, dict[str, float]] = {}
    for size in sorted(given.sizes):
        found = measure(folder, size, max(given.sizes), given.members, given.stride, given.cores)
        wall, cpu = (sum(each[name] for each in found.values()) for name in ("wall_s", "cpu_s"))
        windows = len(moving_windows(size, size, SIZE_PX, given.stride))
        drawing = found["map_clones"]["wall_s"]
        answer[str(size)] = {
            "wall_s": wall, "cpu_s": cpu, "cpu_s_per_megapixel": cpu / (size**2 / 1e6),
            "peak_mb": max(each["peak_mb"] for each in found.values()),
            "km2_per_minute": (size * PIXEL_M / 1000) ** 2 / (wall / 60),
            "window_clones_per_second": windows * given.members / drawing,
        }  # fmt: skip
    first = answer[str(min(given.sizes))]
    names = list(first)
    print(f"\n{'size':>6} " + " ".join(f"{name:>24}" for name in names))
    for key, row in answer.items():
        cells = (f"{row[n]:12.1f} (x{row[n] / first[n]:8.2f})" for n in names)
        print(f"{key:>6} " + " ".join(f"{cell:>24}" for cell in cells))
    print(json.dumps({key: {n: round(v, 2) for n, v in row.items()} for key, row in answer.items()}))


if __name__ == "__main__":
    main()
