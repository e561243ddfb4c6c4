"""``lunar-bridge export-asp``: write a finished map as input of the Ames Stereo Pipeline's program `sfs`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.maps.asp import DEM, EXPOSURES, HAZE, IMAGES, SUNS, export_asp


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="lunar-bridge export-asp",
        description="Write a map's DEM without holes and the lists of its images that ASP's sfs reads: "
        f"{DEM}, {IMAGES}, {SUNS}, {EXPOSURES}, {HAZE}.",
    )
    parser.add_argument("run", metavar="RUN_FOLDER", help="results/<run> with a finished map")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    options = parser.parse_args(arguments)
    try:
        done = export_asp(options.run, options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {done.images} images; DEM of {done.pixels} pixels, {done.holes} of them filled")
    if done.unknown:
        print(f"{done.unknown} images without a distance to the Sun: 1 au is assumed")
    return 0
