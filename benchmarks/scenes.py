"""Cost and error of fine renderings (stage `scenes`): `python benchmarks/scenes.py`.

Patches of 96 x 96 pixels with 96 pixels of halo, a mesh of 4 cells per pixel along an axis, Suns in four
ranges of elevation. The cost is CPU time of one thread per image. The error is the root mean square
difference to images whose horizon is traced at every cell of the fine mesh, over their median lit radiance,
averaged over the images of a range. "At the DEM's pixels" is traced at a quarter of the stage's points. The
last line is one JSON object.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from light_terrain import HALO, INNER, PIXEL_M, SITES, SIZE, terrain
from pipeline.config.photometry import HapkeSection, PhotometrySection
from pipeline.config.scenes import ScenesSection
from pipeline.illumination import fine
from pipeline.illumination.directions import azimuth_elevation, vectors
from pipeline.illumination.fine import FineGround, SlopeTables, fine_heights
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.place import Place
from pipeline.illumination.scenes import render_patch

MESH, DISC_DEG, PER_RANGE = 4, 0.533, 8
RANGES = ((1, 3), (3, 7), (7, 20), (20, 60))
LAW = [(1.0, PhotometrySection(law="hapke", hapke=HapkeSection(theta_deg=23)))]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU time of this thread, ms, and the result; the least of three rounds."""
    best, result = np.inf, None
    for _ in range(3):
        start = time.thread_time()
        result = work()
        best = min(best, time.thread_time() - start)
    return best * 1e3, result


def traced_on(dem: Any, cells: int, azimuth: Any) -> tuple[float, Any]:
    """Time, ms, and horizons at `cells` per pixel along an axis, over the surface of a `FineGround`."""
    margin = fine.MOST_SHIFT + 1
    wide = tuple(cells * n for n in (HALO - margin, HALO - margin, SIZE + 2 * margin, SIZE + 2 * margin))
    surface = fine_heights(dem, cells) if cells > 1 else np.asarray(dem, dtype=np.float64)
    engine = HorizonVisibility(surface, PIXEL_M / cells, wide)
    start = time.thread_time()
    horizon = engine.horizon(azimuth)
    return (time.thread_time() - start) * 1e3, horizon


def measure(dem: Any) -> dict[str, Any]:
    """Costs (ms per image) and errors (share of the lit median, one per range of elevation) of a patch."""
    rng = np.random.default_rng(0)
    elevation = np.concatenate([rng.uniform(*span, PER_RANGE) for span in RANGES])
    suns = vectors(rng.uniform(0, 360, len(elevation)), elevation)
    azimuth, count, still = azimuth_elevation(suns)[0], len(suns), np.zeros((len(suns), 2))
    build, ground = timed(lambda: FineGround(dem, PIXEL_M, INNER, MESH))
    horizon_ms, horizons = timed(lambda: ground.horizons(suns, DISC_DEG))
    table_ms, tables = timed(lambda: SlopeTables(suns, ground.steepest, LAW))
    render_ms, images = timed(lambda: ground.render(suns, horizons, tables, still, DISC_DEG))
    direct_ms, every_cell = traced_on(dem, MESH, azimuth)
    pixel_ms, every_pixel = traced_on(dem, 1, azimuth)
    exact = ground.render(suns, every_cell, tables, still, DISC_DEG)
    coarse = ground.render(suns, every_pixel, tables, still, DISC_DEG)

    def error(found: Any) -> list[float]:
        each = [np.sqrt(((a - b) ** 2).mean()) / np.median(b[b > 0]) for a, b in zip(found, exact) if b.any()]
        return [float(np.mean(part)) for part in np.array_split(each, len(RANGES))]

    section = ScenesSection()
    pole = Place(0.0, -88.0, 0.0, -1)
    stage_ms, _ = timed(lambda: render_patch(dem.astype(np.float32), PIXEL_M, INNER, 1, pole, section))
    costs = {"horizon": horizon_ms, "table": table_ms, "render": render_ms, "every cell": direct_ms}
    return {
        "ms": {name: spent / count for name, spent in (costs | {"every pixel": pixel_ms}).items()},
        "build_ms": build,
        "stage_ms": stage_ms / (section.sets * section.images),
        "error": error(images),
        "error_at_pixels": error(coarse),
    }


def main() -> None:
    """Measure all patches and print."""
    torch.set_num_threads(1)
    where, patches, _ = terrain()
    print(f"{where}; errors at elevations of {', '.join(f'{a} to {b}' for a, b in RANGES)} degrees")
    found = {site: measure(dem) for site, dem in zip(SITES, patches)}
    for site, told in found.items():
        costs = ", ".join(f"{name} {value:.2f}" for name, value in told["ms"].items())
        print(f"{site}: ms per image: {costs}; build {told['build_ms']:.0f} ms per patch")
        print(f"  the stage, redrawn Suns included: {told['stage_ms']:.2f} ms per image")
        for name, key in (("as rendered", "error"), ("at the DEM's pixels", "error_at_pixels")):
            print(f"  error {name}: " + ", ".join(f"{100 * value:.2f} %" for value in told[key]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
