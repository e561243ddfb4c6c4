"""Whole windows: seconds of the exact engine and of the line sweep, and agreement of all engines."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import ndimage

from light_terrain import PIXEL_M, Floats, mirrored
from pipeline.illumination.directions import fixed_directions, near_suns, sun_arc, vectors
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.sweep import SweepVisibility

AZIMUTHS = np.arange(0.0, 360.0, 5.0)
ELEVATIONS = (5.0, 10.0, 20.0, 30.0)


def cpu_times(work: Callable[[], object], repeats: int) -> list[float]:
    """CPU seconds of each of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of one run: the least of a few, which other programs affect least."""
    return min(cpu_times(work, repeats))


def whole(window: Floats, sizes: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Seconds for squares of several sides. The arc is that of a region at latitude 85."""
    fixed = fixed_directions()
    arc = fixed[near_suns(sun_arc(30.0, 85.0), 0.1, fixed)]
    print(f"\nwhole windows, CPU seconds (sides above {min(window.shape)} px: mirrored)")
    print(f"  {'side':>5} {'72 horizons':>12} {'360 Suns':>18} {f'{len(arc)} Suns of an arc':>20}")
    print(f"  {'':>5} {'exact':>12} {'exact':>9}{'sweep':>9} {'exact':>11}{'sweep':>9}")
    answer: dict[str, float] = {}
    for size in sizes:
        dem = mirrored(window, size)
        inner = (0, 0, size, size)
        exact, sweep = HorizonVisibility(dem, PIXEL_M, inner), SweepVisibility(dem, PIXEL_M, inner)
        for warm in (
            partial(exact.horizon, [3.0]),
            partial(exact.lit, arc[:1]),
            partial(sweep.lit, arc[::20]),
        ):
            warm()
        t = [
            seconds(partial(exact.horizon, AZIMUTHS), repeats),
            *(
                seconds(partial(engine.lit, sun), repeats)
                for sun in (fixed, arc)
                for engine in (exact, sweep)
            ),
        ]
        print(f"  {size:5d} {t[0]:12.3f} {t[1]:9.3f}{t[2]:9.3f} {t[3]:11.3f}{t[4]:9.3f}")
        names = ("horizons_s", "lit_s", "lit_sweep_s", "arc_s", "arc_sweep_s")
        answer |= {f"whole_{size}_{name}": round(s, 4) for name, s in zip(names, t, strict=True)}
    return answer


def agreement(window: Floats, azimuths: int) -> dict[str, float]:
    """Share of equal pixels for each pair of engines, and ``off`` for the others.

    ``off``: distance of the Sun's elevation from the pixel's exact horizon, degrees.
    """
    inner = (0, 0, *window.shape)
    embree, exact, sweep = (
        engine(window, PIXEL_M, inner) for engine in (EmbreeVisibility, HorizonVisibility, SweepVisibility)
    )
    azimuth = np.arange(azimuths) * 360.0 / azimuths
    horizon = np.degrees(np.arctan(exact.horizon(azimuth)))
    print(f"\nagreement over {window.shape[0]} x {window.shape[1]} pixels, {azimuths} azimuths")
    print("  elevation   Embree=exact  Embree=sweep   exact=sweep   the rest: off by, degrees")
    least = {"embree_exact": 1.0, "embree_sweep": 1.0, "exact_sweep": 1.0}
    for elevation in ELEVATIONS:
        sun = vectors(azimuth, elevation)
        a, b, c = embree.lit(sun), exact.lit(sun), sweep.lit(sun)
        same = {
            "embree_exact": (a == b).mean(),
            "embree_sweep": (a == c).mean(),
            "exact_sweep": (b == c).mean(),
        }
        least = {name: min(value, float(same[name])) for name, value in least.items()}
        outline = np.stack([ndimage.binary_dilation(x) & ndimage.binary_dilation(~x) for x in b])
        text = "   ".join(
            f"{name}: median {np.median(off):.3f}, 99 % {np.quantile(off, 0.99):.3f}, max {off.max():.3f}, "
            f"lit there {lit[differ].mean():.0%}, beside a shadow's outline {outline[differ].mean():.0%}"
            for name, lit, differ in (("Embree", a, a != b), ("sweep", c, c != b))
            if differ.any() and len(off := np.abs(horizon[differ] - elevation))
        )
        shares = "  ".join(f"{value:11.4%}" for value in same.values())
        print(f"  {elevation:9.0f}  {shares}   {text}")
    return {f"whole_{name}": round(value, 6) for name, value in least.items()}
