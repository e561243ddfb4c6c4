"""``lunar-bridge map | select | export-asp | verify | sun``: make a map of a site, and single tools."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config.maps import MapSection
from pipeline.config.shipped import installed, project
from pipeline.config.site import SITE_FILES

CONFIG = "config/map.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["verify"]:
        from pipeline.bundle.verify import main as verify

        return verify(given[1:], prog="lunar-bridge verify")
    if given[:1] == ["sun"]:
        from pipeline.cli.sun import main as sun

        return sun(given[1:])
    if given[:1] == ["select"]:
        from pipeline.cli.select import main as select

        return select(given[1:])
    if given[:1] == ["export-asp"]:
        from pipeline.cli.export_asp import main as export_asp

        return export_asp(given[1:])
    parser = _parser()
    options = parser.parse_args(given)
    try:
        return _map(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lunar-bridge", description="High-resolution lunar DEMs from coarse ones."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("verify", help="check a reproducibility bundle")
    commands.add_parser("sun", help="azimuth and elevation of the Sun at a site and time")
    commands.add_parser("select", help="rank images of a site by what they add to a map")
    commands.add_parser("export-asp", help="write a map as input of the Ames Stereo Pipeline's sfs")
    made = commands.add_parser(
        "map",
        help="make a map from a DEM, real images and a table of Suns",
        description="Make a map of a site from a DEM, map-projected images and a table of their Suns. "
        "After an interruption the same command goes on.",
        epilog="example: lunar-bridge map --dem my/ldem.tif --images 'my/nac/*.tif' --suns my/index.csv "
        "--pixel 40 --out results/mysite --dry-run",
    )
    made.add_argument("--dem", required=True, help="a priori DEM: GeoTIFF or PDS3 in any lunar projection")
    made.add_argument("--count", help="altimetry spots per pixel, on the DEM's grid")
    made.add_argument("--error", help="1-sigma error of the DEM, metres, on its grid")
    made.add_argument("--height-unit", choices=("m", "km"), help="of the DEM, where its file does not say")
    made.add_argument("--images", nargs="+", help="paths or globs of map-projected images")
    made.add_argument(
        "--suns", help="LROC's index, a CSV with its columns, or a list of the Ames Stereo Pipeline"
    )
    made.add_argument("--far", help="coarse DEM for the horizon, 200 km around the map")
    made.add_argument("--exposures", help="list of the Ames Stereo Pipeline, lines of `image value`")
    made.add_argument("--kernels", nargs="+", help="SPICE kernels, for images whose id contains the time")
    made.add_argument("--points", help="CSV with columns lon, lat, height")
    made.add_argument("--pixel", type=float, metavar="M", help="pixel size of the map, metres (the DEM's)")
    made.add_argument("--center", type=float, nargs=2, metavar=("X", "Y"), help="in the DEM's CRS")
    made.add_argument("--size", type=int, metavar="PX", help="side of the map, pixels; with --center")
    made.add_argument(
        "--bounds",
        type=float,
        nargs=4,
        metavar=("LEFT", "BOTTOM", "RIGHT", "TOP"),
        help="of the map, in the DEM's CRS (the whole DEM)",
    )
    made.add_argument("--crs", help="of --center and --bounds, if it is not the DEM's")
    made.add_argument("--members", type=int, help=f"number of clones ({MapSection().members})")
    made.add_argument(
        "--out", default="results/map", help="results/<run>, with the map in its folder map/ (%(default)s)"
    )
    made.add_argument("--cores", type=int, default=2, help="CPU cores to use (%(default)s)")
    made.add_argument(
        "-n", "--dry-run", action="store_true", help="list images, bounds, memory and time, and stop"
    )
    return parser


def _map(options: argparse.Namespace) -> int:
    """Run the workflow's target `map`."""
    out = Path(options.out)
    if out.parts[:-1] != ("results",):
        raise ValueError(f"--out: expected results/<run>, found {options.out}")
    root = project()
    if not (root / "Snakefile").is_file():
        raise ValueError(f"expected the workflow beside the package, found no {root / 'Snakefile'}")
    site = site_of(options)
    changes: dict[str, Any] = {"run": out.name, "site": site}
    if options.members is not None:
        changes["map"] = {"members": options.members}
    # Snakemake takes a name like `2024`, quoted or not, for a number, unless YAML's tag says what it is.
    pairs = [
        f"{key}={json.dumps(value)}" if key != "run" else f"run=!!str {value}"
        for key, value in changes.items()
    ]
    # Of a wheel, results belong to the folder where the user is; of a checkout, to the checkout.
    if installed():
        where = ["--snakefile", str(root / "Snakefile")]
        configs, folder = [str(root / "config/config.yaml"), str(root / CONFIG)], Path.cwd()
    else:
        where, configs, folder = [], [CONFIG], root
    # The target comes first: `--quiet` takes all words that follow it.
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "map",
        *where,
        "--configfile",
        *configs,
        "--cores",
        str(options.cores),
    ]
    if options.dry_run:
        # Not `all`: Snakemake takes it for nothing in a dry run, and lists every job.
        command += ["--dry-run", "--quiet", "rules", "progress", "host", "reason"]
    # A user's folder is no place to import modules from; without this, Python looks there first.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"} if installed() else None
    command += ["--config", *pairs]
    code = _finished(command, folder, environment)
    if code == 0 and not options.dry_run:
        _tell(out / "map", folder)
    return code


def _tell(place: Path, folder: Path) -> None:
    """Print where a finished map is, and its verdict."""
    print(f"map:     {place / 'viewer.html'}" + ("" if folder == Path.cwd() else f" (in {folder})"))
    facts = json.loads((folder / place / "map.json").read_text(encoding="utf-8"))
    print(f"verdict: {facts['check']['verdict']}")


def _finished(command: list[str], folder: Path, environment: dict[str, str] | None) -> int:
    """Run the workflow to its end, also after Ctrl-C; returns its exit status.

    A terminal sends Ctrl-C to both processes. The workflow then ends its jobs and lets go of its folder; this
    takes seconds. `subprocess.run` would kill it before, and the lock left behind would stop the next start.
    """
    with subprocess.Popen(command, cwd=folder, env=environment) as workflow:
        while True:
            try:
                code = workflow.wait()
            except KeyboardInterrupt:
                continue
            return code if code >= 0 else 128 - code


def site_of(options: argparse.Namespace) -> dict[str, Any]:
    """The config section `site` from the options of `map`, with absolute paths of files."""
    site: dict[str, Any] = {
        key: _absolute(getattr(options, key)) for key in SITE_FILES if getattr(options, key)
    }
    for key in ("images", "kernels"):
        if getattr(options, key):
            site[key] = [_absolute(each) for each in getattr(options, key)]
    named = {
        "pixel_m": options.pixel,
        "center_m": options.center,
        "size_px": options.size,
        "bounds": options.bounds,
    }
    named |= {"crs": options.crs, "height_unit": options.height_unit}
    return site | {key: value for key, value in named.items() if value is not None}


def _absolute(path: str) -> str:
    return str(Path.cwd() / path)


if __name__ == "__main__":
    sys.exit(main())
