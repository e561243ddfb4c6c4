"""Figures of light from a real LOLA window: `PYTHONPATH=src .venv/bin/python docs/figures/light.py [folder]`.

Writes beside itself light_engines.png (eight Suns by both engines, and where they differ), light_penumbra.png
(the Sun as a disc) and light_masks.png (missing data). Needs matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import rasterio

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from pipeline.config.masks import StripDraw
from pipeline.drawing.relief import hillshade
from pipeline.drawing.style import image_axis, scale_bar
from pipeline.illumination.directions import vectors
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.missing import draw_strip, strip_mask
from pipeline.illumination.place import Place

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[2] / "shared" / "data" / "lola_40m"
SITE, PIXEL_M, SIDE = "shoemaker_rim_b", 40.0, 300
DISC_DEG, LIMB = 0.533, 0.6
plt.rcParams.update(
    {"font.size": 8, "axes.titlesize": 8, "savefig.dpi": 100, "image.interpolation": "nearest"}
)


def frame(axis: plt.Axes, scale: bool = False) -> None:
    """No ticks; a scale bar where asked, on axes in kilometres."""
    image_axis(axis)
    if scale:
        left, right = axis.get_xlim()
        scale_bar(axis, right - left, 1000.0)


def engines(dem: np.ndarray) -> None:
    """Rows: Embree, horizon, where they differ; columns: eight Suns."""
    inner = (0, 0, *dem.shape)
    suns = [(az, el) for el in (3.0, 8.0) for az in (0.0, 90.0, 180.0, 270.0)]
    sun = vectors(*np.array(suns).T)
    traced, swept = (kind(dem, PIXEL_M, inner).lit(sun) for kind in (EmbreeVisibility, HorizonVisibility))
    relief = hillshade(dem, PIXEL_M)
    km = PIXEL_M / 1000 * np.array([0, dem.shape[1], 0, dem.shape[0]])
    figure, axes = plt.subplots(3, 8, figsize=(12.4, 5.2), layout="constrained")
    for k, (azimuth, elevation) in enumerate(suns):
        for row, light in ((0, traced), (1, swept)):
            axes[row, k].imshow(light[k] * (0.25 + 0.75 * relief), cmap="gray", vmin=0, vmax=1, extent=km)
        differ = traced[k] != swept[k]
        axes[2, k].imshow(relief, cmap="gray", vmin=-1.0, vmax=1.0, extent=km)
        y, x = np.nonzero(differ)
        rows = dem.shape[0]
        axes[2, k].scatter(
            (x + 0.5) * PIXEL_M / 1e3,
            (rows - y - 0.5) * PIXEL_M / 1e3,
            s=26,
            marker="o",
            facecolor="none",
            edgecolor="red",
        )
        axes[0, k].set_title(f"az. {azimuth:.0f}°, el. {elevation:.0f}°")
        axes[2, k].set_xlabel(f"{differ.sum()} of {differ.size} px differ")
        for row in range(3):
            frame(axes[row, k], scale=(row, k) == (0, 0))
    for row, name in enumerate(("Embree (reference)", "horizon", "where they differ")):
        axes[row, 0].set_ylabel(name)
    figure.suptitle(
        f"{SITE}, {dem.shape[0]} px of 40 m a side: ground that sees a point Sun (its relief lit from top "
        "left); azimuth clockwise from map-up"
    )
    save(figure, "light_engines")


def penumbra(dem: np.ndarray) -> None:
    """A shadow's edge: lit by a point, by a uniform disc, by one darker at its limb; a profile across it."""
    inner = (0, 0, *dem.shape)
    sun = vectors(90.0, 3.0)
    horizon = HorizonVisibility(dem, PIXEL_M, inner)
    point = horizon.lit(sun)[0]
    uniform = horizon.share(sun, DISC_DEG)[0]
    limb = horizon.share(sun, DISC_DEG, LIMB)[0]
    traced = EmbreeVisibility(dem, PIXEL_M, inner).share(sun, DISC_DEG)[0]
    # The close-up with the most half-lit ground.
    half = (uniform > 0.02) & (uniform < 0.98)
    size = 70
    table = np.pad(half.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    count = table[size:, size:] - table[:-size, size:] - table[size:, :-size] + table[:-size, :-size]
    top, left = np.unravel_index(count.argmax(), count.shape)
    cut = np.s_[top : top + size, left : left + size]
    # The profile crosses one shadow's edge, and most half-lit pixels of all rows that do.
    edges = np.abs(np.diff(uniform[cut] > 0.5, axis=1)).sum(axis=1)
    row = int(np.where(edges == 1, half[cut].sum(axis=1), 0).argmax())

    km = PIXEL_M / 1000 * np.array([0, size, 0, size])
    figure, axes = plt.subplots(
        1, 5, figsize=(12.4, 2.75), layout="constrained", width_ratios=[1, 1, 1, 1, 1.6]
    )
    names = ("point Sun", "disc, uniform", f"disc, limb darkening u = {LIMB}")
    for axis, name, light in zip(axes, names, (point, uniform, limb), strict=False):
        shown = axis.imshow(light[cut], cmap="gray", vmin=0, vmax=1, extent=km)
        axis.set_title(name)
    figure.colorbar(shown, ax=axes[2], label="visible share of light", shrink=0.85)
    change = (limb - uniform)[cut]
    shown = axes[3].imshow(change, cmap="RdBu_r", vmin=-0.03, vmax=0.03, extent=km)
    axes[3].set_title("limb darkened − uniform")
    figure.colorbar(shown, ax=axes[3], shrink=0.85)
    for k, axis in enumerate(axes[:4]):
        axis.axhline((size - row - 0.5) * PIXEL_M / 1000, color="tab:orange", linewidth=0.8)
        frame(axis, scale=k == 0)
    x = (np.arange(size) + 0.5) * PIXEL_M / 1000
    axes[4].plot(x, point[cut][row], drawstyle="steps-mid", color="0.6", linewidth=1, label="point")
    axes[4].plot(x, uniform[cut][row], color="black", linewidth=1.2, label="disc, horizon engine")
    axes[4].plot(
        x, limb[cut][row], color="tab:red", linewidth=1, linestyle="--", label=f"with limb darkening {LIMB}"
    )
    axes[4].plot(x, traced[cut][row], ".", color="tab:blue", markersize=3, label="disc, Embree (32 rays)")
    axes[4].set(xlabel="km along the orange line (to the east)", ylabel="visible share", ylim=(-0.05, 1.3))
    axes[4].set_yticks([0, 0.5, 1])
    axes[4].legend(loc="upper center", ncols=2, fontsize=6.5, frameon=False)
    figure.suptitle(
        f"{SITE}: penumbra of the {DISC_DEG}° Sun to the right at elevation 3°; {size} x {size} px of 40 m"
    )
    save(figure, "light_penumbra")


def masks(dem: np.ndarray) -> None:
    """What images keep of a patch: published strips, and swaths of the Narrow Angle Camera."""
    size, pixel_m = 96, PIXEL_M
    relief = hillshade(dem[:size, :size], PIXEL_M)
    place = Place(lat=-86.0, lon=30.0, map_lon=30.0, pole=-1)
    draws = {"strip": StripDraw(), "nac": StripDraw(kind="nac")}
    figure, axes = plt.subplots(2, 8, figsize=(12.4, 3.5), layout="constrained")
    for row, (kind, draw) in enumerate(draws.items()):
        rng = np.random.default_rng(3)
        for axis in axes[row]:
            mask = strip_mask(np.array(draw_strip(rng, draw, size, place, pixel_m)), size)
            shown = np.where(mask[..., None], relief[..., None].repeat(3, -1), (0.16, 0.2, 0.34))
            axis.imshow(shown, extent=(0, size * pixel_m / 1e3, 0, size * pixel_m / 1e3))
            axis.set_xlabel(f"keeps {mask.mean():.0%}")
            frame(axis, scale=axis is axes[0, 0])
        axes[row, 0].set_ylabel(f"kind: {kind}")
    figure.suptitle(
        f"Images of a {size} x {size} px patch of {pixel_m:g} m (blue: no data); nac: at 86° S, 30° east of "
        "the map's central meridian"
    )
    save(figure, "light_masks")


def save(figure: plt.Figure, name: str) -> None:
    path = HERE / f"{name}.png"
    figure.savefig(path)
    plt.close(figure)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    path = folder / f"{SITE}_40m.tif"
    if not path.is_file():
        raise SystemExit(f"expected {path}; give the folder of the 40 m windows as the argument")
    with rasterio.open(path) as source:
        dem = source.read(1).astype(np.float64)
    dem = dem[150 : 150 + SIDE, 150 : 150 + SIDE]
    engines(dem)
    penumbra(dem)
    masks(dem)


if __name__ == "__main__":
    main()
