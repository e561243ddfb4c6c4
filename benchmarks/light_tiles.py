"""Tiles by `trace_tile`: two cores against one, memory, growth, cost of the published data set."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from light_terrain import PIXEL_M, Floats
from pipeline.config.illumination import IlluminationSection
from pipeline.illumination.trace import trace_tile
from pipeline.storage.store import StoreWriter

PUBLISHED_PATCHES, DIRECTIONS = 91_708, 390


def write_patches(folder: Path, window: Floats, count: int, size: int, halo: int) -> None:
    """A patch store and its list: `count` patches of a window, evenly spread, overlapping if necessary."""
    side = size + 2 * halo
    corners = np.linspace(0, min(window.shape) - side, int(np.ceil(np.sqrt(count)))).astype(int)
    places = [(r, c) for r in corners for c in corners][:count]
    dem = np.stack([window[r : r + side, c : c + side] for r, c in places]).astype(np.float32)
    attrs = {"pixel_m": PIXEL_M, "size_px": size, "halo_px": halo, "crs_wkt": ""}
    with StoreWriter(folder / "patches.zarr.zip", "patches", attrs) as writer:
        writer.write("dem", dem, ("patch", "y", "x"), chunks=(1, side, side))
        writer.write("id", np.arange(count), ("patch",))
        for name in ("row", "col", "site"):
            writer.write(name, np.zeros(count, np.int32), ("patch",))
        for name in ("x0", "y0", "lon", "lat"):
            writer.write(name, np.zeros(count), ("patch",))
        writer.write("on_grid", np.ones(count, bool), ("patch",))
        writer.write("halo", np.full((count, 4), halo, np.int32), ("patch", "side"))
        writer.write("pole", np.full(count, -1, np.int8), ("patch",))
    listed = [{"id": k, "kept": True, "reason": None} for k in range(count)]
    (folder / "selected.json").write_text(json.dumps({"schema": "selected/1", "tile": 0, "patches": listed}))


def forget_peak() -> None:
    """Reset the peak memory to the present use (Linux)."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Peak memory of this process; `getrusage` would count that of its parent before it."""
    if Path("/proc/self/status").exists():
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        return float(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _trace(
    window: Floats,
    count: int,
    size: int,
    halo: int,
    engine: str,
    core: int | None,
    start: object,
    pipe: object,
) -> None:
    """In a separate process: wall and CPU seconds of a tile, growth of the peak memory, bytes written."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    light = IlluminationSection(engine=engine, halo_px=halo)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm = folder / "warm"
        warm.mkdir()
        write_patches(warm, window, 1, size, halo)
        write_patches(folder, window, count, size, halo)
        trace_tile(warm / "patches.zarr.zip", warm / "selected.json", size, light, warm / "out.zarr.zip")
        forget_peak()
        start.wait()  # type: ignore[attr-defined]
        wall, cpu = time.perf_counter(), time.process_time()
        out = folder / "out.zarr.zip"
        trace_tile(folder / "patches.zarr.zip", folder / "selected.json", size, light, out)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = peak_mb()
        pipe.send((wall, cpu, peak, out.stat().st_size))  # type: ignore[attr-defined]


def trace(
    window: Floats,
    count: int,
    size: int = 96,
    halo: int = 96,
    engine: str = "horizon",
    cores: tuple = (None,),
) -> list[tuple[float, float, float, int]]:
    """`_trace` in one process per core, all at once."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(len(cores))
    pipes, processes = [], []
    for core in cores:
        ours, theirs = context.Pipe(duplex=False)
        arguments = (window, count, size, halo, engine, core, start, theirs)
        processes.append(context.Process(target=_trace, args=arguments))
        processes[-1].start()
        theirs.close()
        pipes.append(ours)
    results = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return results


def two_cores(window: Floats, cores: tuple[int, ...], rounds: int = 2) -> dict[str, float]:
    """Speed-up of two pinned processes, each with a tile, over one process with both tiles.

    ``by_cpu`` compares the least CPU seconds of a single tile and of simultaneous ones: the cost of sharing
    memory and caches, independent of other programs. ``by_wall`` is a user's speed-up, which other programs
    reduce.
    """
    count = 40
    print(f"\ntwo processes on two cores against one, {count} patches each")
    if len(cores) < 2:
        print("  skipped: this process may use one core only")
        return {}
    alone, both, walls = [], [], []
    for _ in range(rounds):
        singles = [trace(window, count, cores=(core,))[0] for core in cores[:2]]
        pair = trace(window, count, cores=cores[:2])
        walls.append(sum(r[0] for r in singles) / max(r[0] for r in pair))
        alone += singles
        both += pair
    every = [*alone, *both]
    cpu = 2 * min(r[1] for r in alone) / min(r[1] for r in both)
    wall, got = max(walls), sum(r[1] for r in every) / sum(r[0] for r in every)
    print(f"  by CPU {cpu:.2f}   by wall {wall:.2f}   share of the cores that the processes got {got:.0%}")
    return {
        "two_cores_by_cpu": round(cpu, 2),
        "two_cores_by_wall": round(wall, 2),
        "two_cores_share_got": round(got, 2),
    }


def growth(window: Floats) -> dict[str, float]:
    """Peak memory and time per pixel, for more patches and for larger ones."""
    print("\na tile by trace_tile, horizon engine, one worker (390 directions)")
    answer: dict[str, float] = {}
    cases = [(20, 96, 96), (80, 96, 96), (64, 48, 32), (16, 96, 32), (4, 192, 32)]
    for count, size, halo in cases:
        _, cpu, peak, _ = trace(window, count, size, halo)[0]
        per_pixel = cpu / (count * size**2) * 1e6
        print(
            f"  {count:3d} patches of {size:3d} px, halo {halo} px: {per_pixel:6.3f} us a pixel, "
            f"peak memory {peak:6.1f} MB"
        )
        answer |= {
            f"tile_{count}x{size}_us_px": round(per_pixel, 3),
            f"tile_{count}x{size}_mb": round(peak, 1),
        }
    return answer


def estimate(window: Floats) -> dict[str, float]:
    """Core-hours and bytes of the published data set (no halo), extrapolated from a measured tile."""
    print(f"\nextrapolated to {PUBLISHED_PATCHES} patches x {DIRECTIONS} directions, one core")
    answer: dict[str, float] = {}
    for engine, count, halo in (("embree", 6, 0), ("horizon", 24, 0), ("embree", 4, 96), ("horizon", 24, 96)):
        _, cpu, _, size = trace(window, count, halo=halo, engine=engine)[0]
        hours, gigabytes = cpu / count * PUBLISHED_PATCHES / 3600, size / count * PUBLISHED_PATCHES / 1e9
        print(f"  {engine:8s} halo {halo:2d} px: {hours:6.2f} core-hours, {gigabytes:5.1f} GB")
        answer |= {f"published_{engine}_halo{halo}_core_h": round(hours, 2)}
        answer |= {"published_gb": round(gigabytes, 1)}
    return answer
