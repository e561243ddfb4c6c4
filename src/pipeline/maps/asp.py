"""A finished map for the program `sfs` of the Ames Stereo Pipeline: a DEM without holes, and lists."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.base import unlike
from pipeline.imagery.suns.sun import Sun
from pipeline.maps.ground import filled
from pipeline.maps.kinds import DOCUMENTS
from pipeline.storage.atomic import read_json, replacing, write_text

#: Files written. `sfs` finds the last two by a prefix, ``--image-exposures-prefix`` and ``--haze-prefix``.
DEM, IMAGES, SUNS = "dem.tif", "images.txt", "sun_positions.txt"
EXPOSURES, HAZE = "sfs-exposures.txt", "sfs-haze.txt"
#: The Sun's distance where a table of Suns gave none: one astronomical unit, km.
AU_KM = 149_597_870.7

_NODATA = -32768.0
_NUMBERS = ("sub_solar_lon_deg", "sub_solar_lat_deg", "exposure", "dark")


@dataclass(frozen=True)
class Exported:
    """Summary of an export.

    Attributes
    ----------
    images : number of images. pixels, holes : number of the DEM's pixels, and of those that were filled.
    unknown : number of images whose Sun was assumed at 1 au.
    """

    images: int
    pixels: int
    holes: int
    unknown: int


@dataclass(frozen=True)
class _Image:
    path: str
    sun: Sun
    exposure: str
    dark: str


def export_asp(run: Path | str, out: Path | str) -> Exported:
    """Write a map's DEM and lists for `sfs`.

    Heights are those of ``mean.tif``, metres above the datum of the a priori DEM; holes are interpolated
    smoothly, and filled with the nearest height beyond the data's edge. The lists contain the images that the
    map used, including those withheld for its check, by their paths as given: body-fixed positions of the Sun
    in metres, exposures (image over rendering), and dark levels in the image's unit.

    Parameters
    ----------
    run : folder of a run, or of its map. out : folder to write into.

    Raises
    ------
    ValueError
        If there is no finished map, it used no images, or a list cannot hold an image.
    """
    folder = _folder(Path(run))
    images = _images(folder / DOCUMENTS["images"])
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    pixels, holes = _write_dem(folder / "mean.tif", out / DEM)
    lists = {
        IMAGES: [image.path for image in images],
        SUNS: [f"{image.path} {_position(image.sun)}" for image in images],
        EXPOSURES: [f"{image.path} {image.exposure}" for image in images],
        HAZE: [f"{image.path} {image.dark}" for image in images],
    }
    for name, lines in lists.items():
        write_text(out / name, "".join(f"{line}\n" for line in lines))
    return Exported(len(images), pixels, holes, sum(math.isinf(image.sun.distance_km) for image in images))


def _folder(run: Path) -> Path:
    """The folder of a finished map."""
    folder = run if (run / DOCUMENTS["map"]).is_file() else run / "map"
    for name in (DOCUMENTS["map"], DOCUMENTS["images"], "mean.tif"):
        if not (folder / name).is_file():
            raise ValueError(
                unlike(str(run), "the folder of a run with a finished map", f"no {folder / name}")
            )
    read_json(folder / DOCUMENTS["map"], "map/1")
    return folder


def _images(path: Path) -> list[_Image]:
    """The images that a map used."""
    with path.open(newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        for name in ("file", "used", "sun_distance_km", *_NUMBERS):
            if name not in (table.fieldnames or ()):
                raise ValueError(unlike(str(path), f"a column {name} (make the map again)", "none"))
        images = [_image(path, number, row) for number, row in enumerate(table, 2) if row["used"] == "yes"]
    if not images:
        raise ValueError(unlike(str(path), "images that the map used", "none"))
    return images


def _image(path: Path, line: int, row: dict[str, str]) -> _Image:
    where, name = f"{path}, line {line}", row["file"]
    if not name or len(name.split()) != 1 or name.startswith("#"):
        raise ValueError(
            unlike(where, "an image without blanks in its path, which lists cannot hold", repr(name))
        )
    try:
        lon, lat, exposure, dark = (float(row[column]) for column in _NUMBERS)
        distance = float(row["sun_distance_km"] or "inf")
        if not (exposure > 0 and math.isfinite(dark)):
            raise ValueError(f"exposure {exposure:g}, dark level {dark:g}")
        sun = Sun.from_subsolar(lon, lat, where, distance)
    except ValueError as error:
        raise ValueError(unlike(where, f"numbers in {', '.join(_NUMBERS)}", str(error))) from None
    return _Image(name, sun, row["exposure"], row["dark"])


def _position(sun: Sun) -> str:
    """The Sun's body-fixed position relative to the Moon's centre, metres, as text."""
    metres = 1000 * (sun.distance_km if math.isfinite(sun.distance_km) else AU_KM)
    return " ".join(f"{metres * part:.3f}" for part in (sun.x, sun.y, sun.z))


def _write_dem(source: Path, target: Path) -> tuple[int, int]:
    """Write the DEM without holes; returns the number of its pixels and of those that were filled."""
    import rasterio

    with rasterio.open(source) as raster:
        heights = raster.read(1).astype(np.float64)
        tags = {k: v for k, v in raster.tags().items() if k != "AREA_OR_POINT"}
        profile = {
            "driver": "GTiff", "dtype": "float32", "count": 1, "height": raster.height, "width": raster.width,
            "crs": raster.crs, "transform": raster.transform, "nodata": _NODATA, "tiled": True,
            "blockxsize": 256, "blockysize": 256, "compress": "deflate", "bigtiff": "if_safer",
        }  # fmt: skip
        description, unit = raster.descriptions[0], raster.units[0]
    holes = int((~np.isfinite(heights)).sum())
    if holes == heights.size:
        raise ValueError(unlike(str(source), "heights", "none"))
    with replacing(target) as temporary, rasterio.open(temporary, "w", **profile) as raster:
        raster.write(filled(heights).astype(np.float32), 1)
        raster.update_tags(**tags, AREA_OR_POINT="Area")
        raster.set_band_description(1, description)
        raster.units = (unit,)
    return heights.size, holes
