"""Limits of the horizon engine: number of crossings, rate of the inner loop, and the machine's clock."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from numba import njit

from light_terrain import INNER, PIXEL_M, Floats, mirrored
from light_windows import seconds
from pipeline.illumination import horizon_kernels as kernels
from pipeline.illumination.crossing_kernels import LANES, TILE, WINDOW, crossing_table, crossings_of
from pipeline.illumination.directions import azimuth_elevation, fixed_directions
from pipeline.illumination.horizon import HorizonVisibility, by_azimuth

# Of one crossing for LANES pixels: two loads; subtract, multiply-add, subtract, multiply, compare, select.
LOADS, FLOPS = 2, 6
_ADD_CYCLES = 3  # latency of a dependent addition on AMD Zen 3; 4 on Intel since Skylake


@njit
def _outside(terrain, r, c):  # type: ignore[no-untyped-def]
    """Whether a group whose first corner is at (r, c), and all following ones, are outside the DEM."""
    return r >= terrain.row1 or r + WINDOW < terrain.row0 or c >= terrain.col1 or c + WINDOW < terrain.col0


@njit
def _count(terrain, table, count, levels, horizon):  # type: ignore[no-untyped-def]
    """`horizon_kernels._sweep` for comparisons, pixel by pixel: groups tested, groups and crossings taken."""
    first, second, weight, nearness, groups = table
    across = terrain.lowest.shape[1] * TILE
    tested = taken = crossings = 0
    for i in range(terrain.lowest.shape[0]):
        for j in range(terrain.lowest.shape[1]):
            row, col = terrain.top + i * TILE, terrain.left + j * TILE
            passed = 0
            for g in range(count):
                r, c = row + groups[g, 1], col + groups[g, 2]
                if _outside(terrain, r, c):
                    break
                tested += 1
                k0 = groups[g, 0]
                highest = terrain.pooled[r * terrain.stride + c]
                if (highest - terrain.lowest[i, j]) * nearness[k0] < levels[passed]:
                    continue
                taken += 1
                crossings += groups[g + 1, 0] - k0
                low = np.float32(np.inf)
                for y in range(TILE):
                    for x in range(TILE):
                        p = (i * TILE + y) * across + j * TILE + x
                        q = (row + y) * terrain.stride + col + x
                        for k in range(k0, groups[g + 1, 0]):
                            a, b = terrain.flat[q + first[k]], terrain.flat[q + second[k]]
                            tangent = (a + weight[k] * (b - a) - terrain.start[p]) * nearness[k]
                            horizon[p] = max(horizon[p], tangent)
                        low = min(low, horizon[p])
                while passed < len(levels) and levels[passed] <= low:
                    passed += 1
                if passed == len(levels):
                    break
    return tested, taken, crossings


@njit
def _additions(n, step):  # type: ignore[no-untyped-def]
    total = 0.0
    for _ in range(n):
        total += step
    return total


def clock_ghz() -> float:
    """Clock rate, GHz, from the time of dependent additions."""
    _additions(10, 1e-9)
    start = time.process_time()
    _additions(100_000_000, 1e-9)
    return _ADD_CYCLES * 0.1 / (time.process_time() - start)


def bound(patch: Floats, window: Floats) -> dict[str, float]:
    """Crossings per pixel and azimuth after skipping, and nanoseconds of one for LANES pixels."""
    sun = fixed_directions()
    azimuth, elevation = azimuth_elevation(sun)
    headings, begin, order = by_azimuth(azimuth, elevation)
    tangents = np.tan(np.radians(elevation)).astype(np.float32)[order]
    visibility = HorizonVisibility(patch, PIXEL_M, INNER)
    terrain = visibility._terrain
    table = crossing_table(terrain)
    horizon, fast = np.empty(len(terrain.start), np.float32), np.empty(len(terrain.start), np.float32)
    tested = taken = crossings = every = 0
    for i, (east, south) in enumerate(headings):
        count = crossings_of(east, south, terrain, *table)
        levels = tangents[begin[i] : begin[i + 1]]
        kernels._reset(terrain, np.float32(0), horizon)
        kernels._reset(terrain, np.float32(0), fast)
        counted = _count(terrain, table, count, levels, horizon)
        kernels._sweep(terrain, table, count, levels, False, fast)
        if not np.allclose(horizon, fast, rtol=1e-5, atol=1e-5):
            raise RuntimeError("the crossings counted are not those that horizon_kernels._sweep takes")
        tested, taken, crossings = (a + b for a, b in zip((tested, taken, crossings), counted, strict=True))
        every += int(table[4][count, 0])
    tiles = terrain.lowest.size * len(headings)
    whole = seconds(lambda: visibility.lit(sun), 5)
    vectors = crossings * TILE * TILE / LANES
    ghz = clock_ghz()
    reach = every / len(headings)
    print(f"\nlimits of the horizon engine (a patch, 360 directions; clock about {ghz:.2f} GHz)")
    print(f"  crossings per pixel and azimuth: {reach:.0f} in reach, {crossings / tiles:.1f} taken")
    print(f"  groups per tile and azimuth: {tested / tiles:.1f} tested, {taken / tiles:.1f} taken")
    print(f"  all of it: {whole / vectors * 1e9:.2f} ns for {LANES} crossings")
    answer = {"crossings_px": round(crossings / tiles, 1), "all_ns": round(whole / vectors * 1e9, 3)}
    for side in (96, 288, min(window.shape)):
        # Without skipping: rate of the inner loop from the first, second and third level of cache.
        square = HorizonVisibility(mirrored(window, side), PIXEL_M, (0, 0, side, side))._terrain
        square = square._replace(pooled=np.full_like(square.pooled, 1e30))
        table = crossing_table(square)
        horizon = np.empty(len(square.start), np.float32)
        kernels._reset(square, np.float32(0), horizon)
        count = crossings_of(*headings[7], square, *table)
        count = min(count, 24)
        levels = np.array([0, np.inf], np.float32)
        done = _loads(square, table, count)
        once = partial(kernels._sweep, square, table, count, levels, True, horizon)
        t = seconds(once, 15)
        ns = t / (done * TILE) * 1e9
        size = square.flat.nbytes / 1024
        print(
            f"  inner loop, terrain of {size:6.0f} kB: {ns:.2f} ns for {LANES} crossings = "
            f"{ns * ghz:.1f} cycles, {LOADS * LANES * 4 / ns:.0f} GB/s, {FLOPS * LANES / ns:.0f} Gflop/s"
        )
        answer[f"inner_{side}_ns"] = round(ns, 3)
    return answer


@njit
def _loads(terrain, table, count):  # type: ignore[no-untyped-def]
    """Number of crossings of all tiles if none is skipped."""
    groups, total = table[4], 0
    for i in range(terrain.lowest.shape[0]):
        for j in range(terrain.lowest.shape[1]):
            row, col = terrain.top + i * TILE, terrain.left + j * TILE
            for g in range(count):
                r, c = row + groups[g, 1], col + groups[g, 2]
                if _outside(terrain, r, c):
                    break
                total += groups[g + 1, 0] - groups[g, 0]
    return total
