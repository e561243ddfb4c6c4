"""Overview picture of a region: relief, one image, uncertainty and error maps in one PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.drawing.relief import hillshade, show_relief, stretch
from pipeline.drawing.style import QUIET, drawn, new_figure, round_up, scale_bar, show_map
from pipeline.illumination.directions import azimuth_elevation
from pipeline.region.reconstruction import Reconstruction
from pipeline.region.source import WindowImages
from pipeline.storage.atomic import replacing


def write_quicklook(
    path: Path | str, done: Reconstruction, scores: Mapping[str, Any], sample: WindowImages
) -> None:
    """Draw and write the picture, atomically; equal values give equal bytes.

    Parameters
    ----------
    path : PNG to make. done : the region. scores : its ``metrics.json``.
    sample : images of the whole region, of which the one with most lit terrain is shown.
    """
    picture = _draw(done, scores, sample)
    with replacing(path) as temporary:
        temporary.write_bytes(picture)


@drawn
def _draw(done: Reconstruction, scores: Mapping[str, Any], sample: WindowImages) -> Figure:
    truth, prior, across = done.truth, done.apriori.prior, 3 if done.truth is None else 4
    mean, std, px = done.mosaic.mean(), done.mosaic.std(), done.apriori.grid.pixel_m
    figure = new_figure(3.65 * across, 8.9)
    figure.set_layout_engine("constrained", rect=(0.006, 0.004, 0.988, 0.913))
    figure.text(0.012, 0.966, _title(done.origin.site), fontsize=15, fontweight="bold", va="center")
    figure.text(0.012, 0.935, _facts(scores), fontsize=9.5, color=QUIET, va="center")
    model = f"model {done.origin.fingerprint}" if done.origin.fingerprint else ""
    figure.text(0.988, 0.966, model, fontsize=9, color=QUIET, va="center", ha="right")
    axes = figure.subplots(2, across)
    reliefs = {
        f"A priori, {px * done.apriori.factor:g} m cells, bicubic": prior,
        "Mean of the clones": mean,
        "One clone": done.mosaic.clones[0],
    }
    # One stretch for all panels: that of the truth or, without truth, of the mean.
    ends = stretch(hillshade(mean if truth is None else truth, px))
    for axis, (title, dem) in zip(axes[0], reliefs.items()):
        if truth is not None:
            title += f"  |  RMSE {np.sqrt(np.mean((dem - truth) ** 2)):.2f} m"
        show_relief(axis, dem, px, ends, title)
    scale_bar(axes[0, 0], mean.shape[1], px)

    best = int((sample.images > 0).sum(dim=(1, 2)).argmax())
    radiance, valid = sample.images[best].numpy(), sample.valid[best].numpy()
    azimuth, elevation = (float(v) for v in azimuth_elevation(sample.sun[best].numpy()))
    top = float(np.quantile(radiance[valid], 0.998)) if valid.any() else 0.0
    title = f"One image (pale: no data)  |  Sun az. {azimuth:.0f}°, el. {elevation:.0f}°"
    image = np.where(valid, radiance, np.nan)
    show_map(axes[1, 0], image, "gray", (0, top or 1.0), title, "radiance factor")
    _sun_arrow(axes[1, 0], azimuth, len(image))
    top = round_up(float(np.quantile(std, 0.99)))
    show_map(axes[1, 1], std, "magma", (0, top), "Standard deviation", "m", "max")
    changes = {"Mean minus a priori": mean - prior}
    if truth is not None:
        show_relief(axes[0, 3], truth, px, ends, f"Truth, {px:g} m pixels")
        changes = {"Mean minus truth": mean - truth, "A priori minus truth": prior - truth}
    reach = round_up(float(np.quantile(np.abs([*changes.values()][-1]), 0.985)))
    for axis, (title, change) in zip(axes[1, 2:], changes.items(), strict=True):
        show_map(axis, change, "RdBu_r", (-reach, reach), title, "m", "both")
    return figure


def _title(site: str) -> str:
    names = (site or "region").split("+")
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return title.replace("_", " ")


def _facts(scores: Mapping[str, Any]) -> str:
    place, windows, images = scores["place"], scores["windows"], scores["images"]
    east = f"{abs(place['lon']):.2f}° {'E' if place['lon'] >= 0 else 'W'}"
    north = f"{abs(place['lat']):.2f}° {'N' if place['lat'] >= 0 else 'S'}"
    width = place["size_px"] * place["pixel_m"] / 1000
    facts = [
        f"{width:g} x {width:g} km at {north}, {east}",
        f"{windows['count']} windows of {windows['size_px']} px, stride {windows['stride_px']} px",
        f"{scores['members']} clones, {scores['nfe']} evaluations each",
        f"{images['count']} images, {images['per_window']['median']:g} in a typical window",
    ]
    if whole := scores.get("region"):
        slopes = whole["mean"]["slope_deg"], whole["bicubic"]["slope_deg"]
        facts.append(f"slope error {slopes[0]:.2f}° (bicubic {slopes[1]:.2f}°)")
    return "   ·   ".join(facts)


def _sun_arrow(axis: Axes, azimuth: float, pixels: int) -> None:
    """An arrow in the corner in the direction in which the light travels."""
    east, down = np.sin(np.radians(azimuth)), -np.cos(np.radians(azimuth))
    x, y, half = 0.09 * pixels, 0.09 * pixels, 0.05 * pixels
    axis.annotate(
        "", xy=(x - half * east, y - half * down), xytext=(x + half * east, y + half * down),
        arrowprops={"arrowstyle": "-|>", "color": "#f4a300", "linewidth": 1.8, "mutation_scale": 13},
    )  # fmt: skip
