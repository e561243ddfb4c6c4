"""Rates of the visibility engines on one core: `make bench-light`.

A result is one pixel under one direction. Four methods for the same 360 published directions over a 96 x 96
patch with 96 pixels of halo:

- trimesh: `mesh.ray.intersects_any`, one call per direction, the scene built beforehand;
- embreex: `EmbreeScene.run` (robust, occlusion query), one call per direction, the scene built beforehand,
  with the rays of `EmbreeVisibility`, whose answers must be identical;
- EmbreeVisibility and HorizonVisibility: this project's engines, from the DEM to the answer; Embree also
  with its scene built beforehand, which is used for its ratios. Those of the horizon engine include all its
  preparations.

Everything is warmed up and on one core (the process is pinned before Embree counts the cores to build its
scenes), and measured by the CPU time of the process, which other users of the machine affect least. The
engines take turns within a round; ratios are computed within each round, and their median over rounds is
reported. Then whole windows, their agreement, the limits of the horizon engine, and tiles by `trace_tile`
(the modules `light_*` beside this file); `--parts` selects some. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from functools import partial

if hasattr(os, "sched_setaffinity"):
    CORES = tuple(sorted(os.sched_getaffinity(0)))
    os.sched_setaffinity(0, {CORES[-1]})
else:
    CORES = ()

import numpy as np
import trimesh
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

import light_bound
import light_storage
import light_tiles
import light_windows
from light_terrain import HALO, INNER, PIXEL_M, SIZE, Floats, terrain
from pipeline.illumination.directions import fibonacci_directions, fixed_directions
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.horizon import HorizonVisibility

Bools = NDArray[np.bool_]
Engine = dict[str, Callable[[Floats], Bools]]
PARTS = ("engines", "windows", "agreement", "bound", "cores", "growth", "storage", "published")
BUILT, EMBREE, HORIZON = "EmbreeVisibility, built", "EmbreeVisibility", "HorizonVisibility"


def triangles(dem: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Vertices in pixels, heights above the patch's mean, and faces."""
    metres = dem.astype(np.float64)
    z = (metres - np.nanmean(metres[HALO:-HALO, HALO:-HALO])) / PIXEL_M
    rows, cols = np.indices(dem.shape)
    vertices = np.stack([cols, -rows, z], axis=-1).astype(np.float32)
    index = np.arange(dem.size).reshape(dem.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, d, b), (a, c, d))])
    return vertices.reshape(-1, 3), faces


def plain_engines(dem: Floats) -> tuple[Callable[[Floats], Bools], Callable[[Floats], Bools]]:
    """Reference of the fast engines: trimesh and a plain embreex loop, with built scenes."""
    vertices, faces = triangles(dem)
    origins = EmbreeVisibility(dem, PIXEL_M, INNER).origins
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
    return float(np.median(light_windows.cpu_times(work, repeats)))


def ours(engine: type[EmbreeVisibility] | type[HorizonVisibility], dem: Floats, sun: Floats) -> Bools:
    """One of this project's engines, from the DEM to the answer."""
    return engine(dem, PIXEL_M, INNER).lit(sun)


def patches(dems: list[Floats], sun: Floats, rounds: int, names: tuple[str, ...]) -> dict[str, Floats]:
    """CPU seconds for all patches: for each engine, an array over the rounds."""
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


def engines(dems: list[Floats], rounds: int) -> dict[str, float]:
    """Rates over patches, the four ratios and the agreement."""
    fixed = fixed_directions()
    own, present = fibonacci_directions(30, 3.0, np.random.default_rng(0))
    own = own[present]
    every = ("trimesh", "embreex", BUILT, EMBREE, HORIZON)
    taken = patches(dems, fixed, rounds, every)
    table(f"{len(fixed)} fixed directions (72 azimuths)", taken, len(dems) * len(fixed) * SIZE**2)
    private = patches(dems, own, rounds, every[1:])
    results = len(dems) * len(own) * SIZE**2
    table(f"{len(own)} private Fibonacci directions", private, results)

    same, embree_same, alike = 0.0, 0.0, 1.0
    for dem in dems:
        sun = np.concatenate([fixed, own])
        horizon, embree = ours(HorizonVisibility, dem, sun), ours(EmbreeVisibility, dem, sun)
        plain = plain_engines(dem)[1](sun)
        same += float((horizon == plain).mean()) / len(dems)
        embree_same += float((horizon == embree).mean()) / len(dems)
        alike = min(alike, float((embree == plain).mean()))
    print(f"\nHorizonVisibility agrees with plain embreex on {same:.5%}, EmbreeVisibility {embree_same:.5%}")
    assert alike == 1, (
        f"expected the answers of plain embreex from EmbreeVisibility, found {alike:.5%} of them"
    )
    print("EmbreeVisibility and plain embreex from the same origins: identical answers")

    def ratio(fast: str, slow: str) -> float:
        return round(float(np.median(taken[slow] / taken[fast])), 2)

    return {
        "embree_vs_trimesh": ratio(BUILT, "trimesh"),
        "embree_vs_embreex": ratio(BUILT, "embreex"),
        "horizon_vs_trimesh": ratio(HORIZON, "trimesh"),
        "horizon_vs_embreex": ratio(HORIZON, "embreex"),
        "agreement": round(same, 8),
        "embree_agreement": round(alike, 8),
        "private_horizon_m_s": round(results / float(np.median(private[HORIZON])) / 1e6, 1),
        "private_embree_m_s": round(results / float(np.median(private[EMBREE])) / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which the engines take turns")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="which measurements")
    parser.add_argument(
        "--sides", nargs="+", type=int, default=[384, 775, 870], help="sides of whole windows, px"
    )
    parser.add_argument("--azimuths", type=int, default=4, help="azimuths over which engines are compared")
    options = parser.parse_args()

    source, dems, window = terrain()
    print(f"terrain: {source}\npatches: {len(dems)} of {SIZE} x {SIZE} px with {HALO} px of halo")
    run: dict[str, Callable[[], dict[str, float]]] = {
        "engines": lambda: engines(dems, options.rounds),
        "windows": lambda: light_windows.whole(window, tuple(options.sides), options.rounds),
        "agreement": lambda: light_windows.agreement(window, options.azimuths),
        "bound": lambda: light_bound.bound(dems[0], window),
        "cores": lambda: light_tiles.two_cores(window, CORES),
        "growth": lambda: light_tiles.growth(window),
        "storage": lambda: light_storage.storage(window, options.rounds),
        "published": lambda: light_tiles.estimate(window),
    }
    answer: dict[str, float] = {}
    for part in options.parts:
        answer |= run[part]()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
