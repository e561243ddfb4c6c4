"""Compare synthetic polar terrain with real LOLA windows at 40 m; make docs/figures/synthetic_vs_real.png.

Usage: python benchmarks/synthetic_vs_real.py [folder of real 40 m windows] [figure]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import rasterio
from numpy.typing import NDArray

from pipeline.config.synthetic import SyntheticSection
from pipeline.drawing.relief import hillshade
from pipeline.terrain.blocks import block_mean
from pipeline.terrain.synthetic.world import synthetic_count, synthetic_dem
from relief_statistics import (
    PERCENTILES,
    ReliefStatistics,
    radial_spectrum,
    relief_statistics,
    slope_degrees,
)

ROOT = Path(__file__).resolve().parents[1]
PIXEL_M = 40.0
SIZE_PX = 525
SEEDS = range(1, 13)
SHOWN_REAL = ("malapert_crater_1", "shoemaker_rim_c", "nobile_rim_2")
SHOWN_SEEDS = (10, 4, 6)


def row(name: str, value: list[float], digits: int = 2) -> str:
    """One table row: mean and standard deviation over tiles."""
    return f"{name:32s} {np.mean(value):8.{digits}f} +- {np.std(value):.{digits}f}"


def table(title: str, statistics: list[ReliefStatistics]) -> None:
    """Print the statistics of a set of tiles."""
    print(f"{title} ({len(statistics)} tiles)")
    print(row("  mean slope, deg", [s.mean_slope_deg for s in statistics]))
    for i, percentile in enumerate(PERCENTILES):
        print(row(f"  slope percentile {percentile}, deg", [s.slope_percentiles_deg[i] for s in statistics]))
    print(row("  patch std, m", [s.patch_std_m for s in statistics], 0))
    print(row("  spectral slope", [s.spectral_slope for s in statistics]))
    print(row("  log10 P at 1 km, m^4", [s.spectral_level for s in statistics]))


def main() -> None:
    """Print the table and write the figure."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data" / "lola_40m"
    figure = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "figures" / "synthetic_vs_real.png"
    real: dict[str, NDArray] = {}
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as source:
            real[path.stem.removesuffix("_40m")] = source.read(1)
    made = {s: synthetic_dem(SyntheticSection(size_px=SIZE_PX, pixel_m=PIXEL_M, seed=s)) for s in SEEDS}
    table("real", [relief_statistics(dem, PIXEL_M) for dem in real.values()])
    table("synthetic", [relief_statistics(dem, PIXEL_M) for dem in made.values()])
    timing()
    plot(real, made, figure)


def timing() -> None:
    """Time the default section and print its coverage."""
    section = SyntheticSection()
    start = time.process_time()
    synthetic_dem(section)
    middle = time.process_time()
    count = synthetic_count(section)
    stop = time.process_time()
    number = section.size_px // 96
    share = block_mean(count[: number * 96, : number * 96] > 0, 96)
    print(
        f"default section: DEM {middle - start:.1f} s, count {stop - middle:.1f} s of CPU; coverage "
        f"{share.mean():.2f}, {np.mean(share < 2242 / 9216):.0%} of the patches below the published threshold"
    )


def plot(real: dict[str, NDArray], made: dict[int, NDArray], figure: Path) -> None:
    """Hillshades above, slope distribution and spectra below."""
    canvas, axes = plt.subplots(3, 3, figsize=(9.6, 9.6), height_ratios=(1, 1, 0.8), layout="constrained")
    shown = [(f"LOLA: {name.replace('_', ' ')}", real[name][:SIZE_PX, :SIZE_PX]) for name in SHOWN_REAL]
    shown += [(f"synthetic: seed {seed}", made[seed]) for seed in SHOWN_SEEDS]
    for axis, (title, dem) in zip(axes[:2].ravel(), shown, strict=True):
        axis.imshow(hillshade(dem, PIXEL_M, elevation_deg=20.0), cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    slopes, spectra, percentiles = axes[2]
    for name, tiles, colour in (("LOLA 40 m", real, "#2b5c8a"), ("synthetic", made, "#c8553d")):
        values = [slope_degrees(dem, PIXEL_M).ravel() for dem in tiles.values()]
        bins = np.linspace(0, 45, 91)
        density = np.histogram(np.concatenate(values), bins, density=True)[0]
        slopes.plot((bins[1:] + bins[:-1]) / 2, density, colour, label=name)
        power = [radial_spectrum(dem[:SIZE_PX, :SIZE_PX], PIXEL_M) for dem in tiles.values()]
        levels = np.log10([p[1] for p in power])
        mean, spread = levels.mean(axis=0), levels.std(axis=0)
        wavelength = 1e-3 / power[0][0]
        spectra.fill_between(
            wavelength, 10 ** (mean - spread), 10 ** (mean + spread), color=colour, alpha=0.2
        )
        spectra.plot(wavelength, 10**mean, colour, label=name)
        means = [v.mean() for v in values]
        stds = [relief_statistics(dem, PIXEL_M).patch_std_m for dem in tiles.values()]
        percentiles.plot(means, stds, "o", color=colour, ms=4, label=name)
    slopes.set(xlabel="slope, degrees", ylabel="density")
    spectra.set(xscale="log", yscale="log", xlabel="wavelength, km", ylabel="power, m$^4$")
    spectra.invert_xaxis()
    percentiles.set(xlabel="mean slope of a tile, degrees", ylabel="patch standard deviation, m")
    for axis in axes[2]:
        axis.legend(fontsize=8, frameon=False)
    canvas.suptitle(
        "Real and synthetic polar terrain, 40 m pixels, 21 km across, Sun 20° up in the north-west"
    )
    figure.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(figure, dpi=66, metadata={"Software": None})
    print(f"{figure}: {figure.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
