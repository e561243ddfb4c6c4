"""``lunar-bridge select``: rank images of a site, or rows of an index, by what they add to a map."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from glob import glob
from typing import Any

from pipeline.config.root import load_config
from pipeline.maps.candidates import Candidate, blocks_of, of_images, of_index, thinned
from pipeline.maps.ground import read_ground
from pipeline.maps.layout import lay_out
from pipeline.maps.select import ENOUGH, Lack, Pick, lacking, rank
from pipeline.maps.survey import survey
from pipeline.storage.atomic import write_text

# Blocks along the longer side of a map, and images that are rendered at most.
_SIDE, _MOST = 192, 400
_COLUMNS = (
    "rank", "image", "azimuth_deg", "elevation_deg", "apart_deg", "covers", "lights", "unlit", "few",
    "slope_deg", "note",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Rank images; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _select(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lunar-bridge select",
        description="Rank images of a site by what they add to a map, and report what the set still lacks. "
        "Without --images, rank the rows of --suns by their corners and Suns.",
    )
    parser.add_argument("--dem", required=True, help="a priori DEM: GeoTIFF or PDS3 in any lunar projection")
    parser.add_argument("--height-unit", choices=("m", "km"), help="of the DEM, where its file does not say")
    parser.add_argument("--images", nargs="+", help="paths or globs of map-projected images")
    parser.add_argument("--suns", help="table of Suns; without --images: with the columns of LROC's index")
    parser.add_argument(
        "--kernels", nargs="+", default=[], help="SPICE kernels, for images whose id contains the time"
    )
    parser.add_argument("--pixel", type=float, metavar="M", help="pixel size of the map, metres")
    parser.add_argument("--center", type=float, nargs=2, metavar=("X", "Y"), help="in the DEM's CRS")
    parser.add_argument("--size", type=int, metavar="PX", help="side of the map, pixels")
    parser.add_argument("--bounds", type=float, nargs=4, metavar=("LEFT", "BOTTOM", "RIGHT", "TOP"))
    parser.add_argument("--crs", help="of --center and --bounds, if it is not the DEM's")
    parser.add_argument("--want", type=int, default=30, metavar="N", help="images to choose (default: 30)")
    parser.add_argument("--out", metavar="CSV", help="table of all images, the chosen ones first")
    return parser


def _select(options: argparse.Namespace) -> None:
    if options.want < 1:
        raise ValueError(f"--want: expected at least 1, found {options.want}")
    if not (options.images or options.suns):
        raise ValueError("--images: expected images, or an index with --suns, found neither")
    paths = _files(options.images or [])
    named = {
        "dem": options.dem, "suns": options.suns, "kernels": options.kernels, "pixel_m": options.pixel,
        "center_m": options.center, "size_px": options.size, "bounds": options.bounds, "crs": options.crs,
        "height_unit": options.height_unit,
    }  # fmt: skip
    given: dict[str, Any] = {"systems": [], "primary": "pretrained", "pretrained": {"weights": "none"}}
    config = load_config({"site": {key: v for key, v in named.items() if v is not None}, **given})
    site, patches = config.site, config.patches
    layout = lay_out(site, patches.factor, patches.size_px)
    ground = read_ground(site, layout, patches.halo_px // patches.factor, config.images.light_m)
    blocks = blocks_of(ground, _SIDE)
    refused: list[tuple[str, str]] = []
    if paths:
        rows = survey(paths, site, config.images, layout.grid)
        refused = [(row.path, row.why) for row in rows if not row.usable]
        candidates = of_images(rows, blocks)
    else:
        candidates = of_index(options.suns, blocks, config.images)
    tried = thinned(candidates, blocks, _MOST)
    picks = rank(tried, blocks, options.want)
    lack = lacking([pick.candidate for pick in picks], blocks)
    print(f"map:     {layout.region.describe()}, in {blocks.grid.height} x {blocks.grid.width} blocks")
    print(f"images:  {len(candidates) + len(refused)} given, {len(refused)} refused, {len(picks)} chosen")
    if len(tried) < len(candidates):
        print(f"         {len(tried)} tried, spread over the azimuths, preferring those that cover most")
    print("\n".join(_table(picks)))
    print("\n".join(_lacks(lack)))
    if options.out:
        write_text(options.out, _csv(picks, candidates, refused))


def _files(entries: Sequence[str]) -> list[str]:
    """Paths of globs, each once."""
    found: list[str] = []
    for entry in entries:
        local = sorted(glob(entry))  # noqa: PTH207
        if not local:
            raise ValueError(f"--images: expected files, found no file {entry!r}")
        found += [path for path in local if path not in found]
    return found


def _table(picks: Sequence[Pick]) -> list[str]:
    """The chosen images as text; `unlit` and the columns after it describe the images up to that row."""
    lines = [f"rank  azimuth  elevation  apart  lights  unlit  <{ENOUGH} lit  slope error  image"]
    for number, pick in enumerate(picks, 1):
        image = pick.candidate
        lines.append(
            f"{number:4}  {image.azimuth_deg:7.1f}  {image.elevation_deg:9.2f}  {pick.apart_deg:5.0f}  "
            f"{pick.lights:6.0%}  {pick.unlit:5.0%}  {pick.few:6.0%}  {pick.slope_deg:7.2f} deg  {image.name}"
        )
    return lines


def _lacks(lack: Lack) -> list[str]:
    """What the chosen set lacks, as text."""
    start, end = lack.gap
    lines = [
        "what the set lacks (azimuths clockwise from map-up):",
        f"  widest gap between azimuths: {lack.gap_deg:.0f} deg, from {start:.0f} to {end:.0f}",
        f"  lit by fewer than {ENOUGH} images: {lack.few:.1%} of the map",
    ]
    for azimuth, elevation, share in lack.helpers:
        lines.append(
            f"    a Sun at azimuth {azimuth:.0f}, {elevation:.1f} deg high, would light {share:.0%} of it"
        )
    lines.append(f"  lit by no image, nor by the highest Sun of any direction: {lack.dark:.1%} of the map")
    return lines


def _csv(picks: Sequence[Pick], candidates: Sequence[Candidate], refused: Sequence[tuple[str, str]]) -> str:
    """All images as a table: chosen ones by rank, the others, then those that cannot be used."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for number, pick in enumerate(picks, 1):
        parts = (pick.lights, pick.unlit, pick.few)
        table.writerow(
            [
                number, *_sun(pick.candidate), f"{pick.apart_deg:.1f}", f"{pick.candidate.covers.mean():.3f}",
                *(f"{part:.3f}" for part in parts), f"{pick.slope_deg:.3f}", pick.candidate.note,
            ]
        )  # fmt: skip
    chosen = {pick.candidate.name for pick in picks}
    for image in candidates:
        if image.name not in chosen:
            table.writerow(["", *_sun(image), "", f"{image.covers.mean():.3f}", *[""] * 4, image.note])
    for path, why in refused:
        table.writerow(["", path, *[""] * 8, f"refused: {why}"])
    return text.getvalue()


def _sun(image: Candidate) -> list[str]:
    return [image.name, f"{image.azimuth_deg:.2f}", f"{image.elevation_deg:.2f}"]


if __name__ == "__main__":
    sys.exit(main())
