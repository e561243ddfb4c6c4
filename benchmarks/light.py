"""Rates of the visibility engines on one core: `make bench-light`.

A result is one pixel under one direction. Four ways to the same 360 published directions over a 96 x 96 patch
with 96 pixels of halo:

- trimesh: `mesh.ray.intersects_any`, one call a direction, the scene built beforehand;
- embreex: `EmbreeScene.run` (robust, occlusion query), one call a direction, the scene built beforehand;
- EmbreeVisibility and HorizonVisibility: this project's engines, from the DEM to the answer; Embree also
  with its scene built beforehand, which is what the ratios of Embree take. Those of the horizon engine
  include all its preparations.

Everything is warm, on one core (the process is pinned before Embree counts the cores to build its scenes),
and timed by the CPU time of the process, which other users of the machine disturb least. The engines take
turns within a round; a ratio is taken within each round, and the median over rounds is told. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np
import trimesh
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from pipeline.illumination.directions import fibonacci_directions, fixed_directions, vectors
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.horizon import HorizonVisibility

ROOT = Path(__file__).resolve().parents[1]
SITES = ("amundsen_rim", "shoemaker", "malapert_massif")
WINDOW_SITE = "leibnitz_beta_plateau_extended"
PIXEL_M, SIZE, HALO, CORNER = 40.0, 96, 96, 100
INNER = (HALO, HALO, SIZE, SIZE)
Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Engine = dict[str, Callable[[Floats], Bools]]
BUILT, EMBREE, HORIZON = "EmbreeVisibility, built", "EmbreeVisibility", "HorizonVisibility"


def terrain() -> tuple[str, list[Floats], Floats]:
    """Where the terrain comes from, patches with their halo, and one whole window."""
    for folder in (ROOT.parent / "shared" / "data" / "lola_40m", ROOT / "resources" / "lola_40m"):
        if folder.is_dir():
            import rasterio

            windows = []
            for site in (*SITES, WINDOW_SITE):
                with rasterio.open(folder / f"{site}_40m.tif") as source:
                    windows.append(source.read(1))
            cut = slice(CORNER, CORNER + SIZE + 2 * HALO)
            return f"real: {folder}", [w[cut, cut] for w in windows[:-1]], windows[-1]
    fractals = [fractal(SIZE + 2 * HALO, seed) for seed in range(len(SITES))]
    return "synthetic fractal terrain (no lola_40m folder found)", fractals, fractal(775, 99)


def fractal(size: int, seed: int) -> Floats:
    """Random terrain of spectrum k^-2 in amplitude and a mean slope like the real patches' (11.5 degrees)."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    k[0, 0] = np.inf
    z = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) / k**2, s=(size, size))
    slope = np.hypot(*np.gradient(z, PIXEL_M))
    return (z * np.tan(np.radians(11.5)) / slope.mean()).astype(np.float32)


def triangles(dem: Floats) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Vertices in pixels, faces, and the origins of the patch's rays, just above the surface."""
    z = (dem - dem[HALO:-HALO, HALO:-HALO].mean()) / PIXEL_M
    rows, cols = np.indices(dem.shape)
    vertices = np.stack([cols, -rows, z], axis=-1).astype(np.float32)
    index = np.arange(dem.size).reshape(dem.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, d, b), (a, c, d))])
    origins = vertices[HALO:-HALO, HALO:-HALO].reshape(-1, 3) + np.array([0, 0, 3e-5], np.float32)
    return vertices.reshape(-1, 3), faces, origins


def plain_engines(dem: Floats) -> tuple[Callable[[Floats], Bools], Callable[[Floats], Bools]]:
    """What the fast engines are measured against: trimesh and a plain embreex loop, scenes built."""
    vertices, faces, origins = triangles(dem)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    scene = EmbreeScene()
    TriangleMesh(scene, vertices, faces.astype(np.int32))

    def by_trimesh(sun: Floats) -> Bools:
        free = [~mesh.ray.intersects_any(origins, np.broadcast_to(s, origins.shape)) for s in sun]
        return np.stack(free).reshape(-1, SIZE, SIZE)

    def by_embreex(sun: Floats) -> Bools:
        sun = sun.astype(np.float32)
        free = [scene.run(origins, sun[i : i + 1], query="OCCLUDED") == -1 for i in range(len(sun))]
        return np.stack(free).reshape(-1, SIZE, SIZE)

    return by_trimesh, by_embreex


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of one run: the median of a few."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return float(np.median(times))


def ours(engine: type[EmbreeVisibility] | type[HorizonVisibility], dem: Floats, sun: Floats) -> Bools:
    """One of this project's engines, from the DEM to the answer."""
    return engine(dem, PIXEL_M, INNER).lit(sun)


def patches(dems: list[Floats], sun: Floats, rounds: int, names: tuple[str, ...]) -> dict[str, Floats]:
    """CPU seconds for all patches, an array over the rounds for each engine."""
    engines: list[Engine] = []
    for dem in dems:
        by_trimesh, by_embreex = plain_engines(dem)
        engine: Engine = {
            "trimesh": by_trimesh,
            "embreex": by_embreex,
            BUILT: EmbreeVisibility(dem, PIXEL_M, INNER).lit,
            EMBREE: partial(ours, EmbreeVisibility, dem),
            HORIZON: partial(ours, HorizonVisibility, dem),
        }
        engines.append({name: engine[name] for name in names})
    for engine in engines:
        for run in engine.values():
            run(sun[::30])
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            repeats = 9 if name == HORIZON else 1
            taken[name].append(sum(seconds(partial(engine[name], sun), repeats) for engine in engines))
    return {name: np.array(t) for name, t in taken.items()}


def table(title: str, taken: dict[str, Floats], results: float) -> None:
    print(f"\n{title}")
    for name, t in taken.items():
        print(f"  {name:24s} {results / np.median(t) / 1e6:9.2f} M/s   ({np.median(t) * 1e3:9.2f} ms)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which the engines take turns")
    rounds = parser.parse_args().rounds

    source, dems, window = terrain()
    print(f"terrain: {source}\npatches: {len(dems)} of {SIZE} x {SIZE} px with {HALO} px of halo")
    fixed = fixed_directions()
    own, present = fibonacci_directions(30, 3.0, np.random.default_rng(0))
    own = own[present]

    every = ("trimesh", "embreex", BUILT, EMBREE, HORIZON)
    taken = patches(dems, fixed, rounds, every)
    table(f"{len(fixed)} fixed directions (72 azimuths)", taken, len(dems) * len(fixed) * SIZE**2)
    private = patches(dems, own, rounds, every[1:])
    table(f"{len(own)} private Fibonacci directions", private, len(dems) * len(own) * SIZE**2)

    same = embree_same = 0.0
    for dem in dems:
        sun = np.concatenate([fixed, own])
        horizon = ours(HorizonVisibility, dem, sun)
        same += float((horizon == plain_engines(dem)[1](sun)).mean()) / len(dems)
        embree_same += float((horizon == ours(EmbreeVisibility, dem, sun)).mean()) / len(dems)
    print(f"\nHorizonVisibility agrees with plain embreex on {same:.5%}, EmbreeVisibility {embree_same:.5%}")

    azimuth = np.arange(0.0, 360.0, 5.0)
    low = float(np.tan(np.radians(5.0)))
    whole = HorizonVisibility(window, PIXEL_M, (0, 0, *window.shape))
    four = np.concatenate([vectors(azimuth, e) for e in (5.0, 10.0, 20.0, 30.0)])
    whole.horizon([3.0])
    print(f"\nwhole window {window.shape[0]} x {window.shape[1]}, 72 azimuths")
    cases: tuple[tuple[str, Callable[[], object]], ...] = (
        ("horizons", lambda: whole.horizon(azimuth)),
        ("horizons above 5 deg", lambda: whole.horizon(azimuth, floor=low)),
        ("lit, 288 directions", lambda: whole.lit(four)),
    )
    for name, case in cases:
        t = seconds(case)
        print(f"  {name:20s} {t:6.2f} s   ({len(azimuth) * window.size / t / 1e6:.1f} M pixel-azimuths/s)")

    def ratio(fast: str, slow: str) -> float:
        return round(float(np.median(taken[slow] / taken[fast])), 2)

    answer = {
        "embree_vs_trimesh": ratio(BUILT, "trimesh"),
        "embree_vs_embreex": ratio(BUILT, "embreex"),
        "horizon_vs_trimesh": ratio(HORIZON, "trimesh"),
        "horizon_vs_embreex": ratio(HORIZON, "embreex"),
        "agreement": round(same, 8),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
