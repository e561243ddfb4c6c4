"""Heights at points, for instance LOLA shots: differences of the a priori DEM and of the map from them."""

from __future__ import annotations

import csv
import gzip
import math
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline.config.base import unlike
from pipeline.terrain.map_grid import MapGrid

Floats = NDArray[np.float64]

# Names of columns, in the order of preference; LOLA's own among them.
_NAMES = {
    "lon": ("lon", "longitude", "pt_longitude"),
    "lat": ("lat", "latitude", "pt_latitude"),
    "height": ("height", "elevation", "height_m", "topography"),
    "radius": ("radius", "pt_radius"),
}
_RADIUS_M = 1737400.0


def read_points(path: Path | str) -> Floats:
    """Points of a CSV file (plain or gzip): (n, 3) longitude and latitude in degrees, height in metres.

    Columns are found by name: ``lon``, ``lat`` and ``height``, or those of LOLA's shots, whose radius is in
    kilometres.

    Raises
    ------
    ValueError
        If a column is missing, there is no point, or a row does not hold three numbers; the message names
        file and line.
    """
    path = Path(path)
    with _opened(path) as stream:
        rows = csv.reader(stream)
        try:
            header = [name.strip().lower() for name in next(rows, [])]
        except (UnicodeDecodeError, csv.Error, OSError):
            raise ValueError(unlike(str(path), "a CSV file of points", "none that can be read")) from None
        at = {
            key: next((header.index(n) for n in names if n in header), None) for key, names in _NAMES.items()
        }
        height = at["height"] if at["height"] is not None else at["radius"]
        if at["lon"] is None or at["lat"] is None or height is None:
            raise ValueError(
                unlike(str(path), "columns lon, lat and height", ", ".join(header) or "no header")
            )
        points = []
        for number, row in enumerate(rows, start=2):
            if not row:
                continue
            try:
                point = float(row[at["lon"]]), float(row[at["lat"]]), float(row[height])
            except (ValueError, IndexError):
                point = math.nan, math.nan, math.nan
            # Written so that NaN is refused too.
            if not (-360 <= point[0] <= 360 and -90 <= point[1] <= 90 and math.isfinite(point[2])):
                wanted = "longitude, latitude and height"
                raise ValueError(unlike(f"{path}, line {number}", wanted, ",".join(row)[:80]))
            points.append(point)
    if not points:
        raise ValueError(unlike(str(path), "points", "none"))
    found = np.array(points)
    if at["height"] is None:
        radius = found[:, 2]
        found[:, 2] = radius * (1e3 if np.median(radius) < 1e5 else 1.0) - _RADIUS_M
    return found


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return path.open(newline="", encoding="utf-8-sig")


def compare_points(points: Floats, grid: MapGrid, mean: str, prior: str) -> dict[str, Any]:
    """Differences of the map and of the a priori DEM from points, metres.

    Parameters
    ----------
    points : (n, 3), see `read_points`. grid : of the products. mean, prior : their GeoTIFFs.

    Returns
    -------
    Numbers of points ``given`` and ``on_the_map``; for ``map`` and ``prior``, where there are such points,
    ``rms_m``, ``median_m`` and ``half_spread_m`` (half the distance of the 16th and 84th percentiles).
    """
    import rasterio

    row, col = grid.pixel_at(points[:, 0], points[:, 1])
    rows, cols = np.rint(row).astype(int), np.rint(col).astype(int)
    inside = (rows >= 0) & (rows < grid.height) & (cols >= 0) & (cols < grid.width)
    summary: dict[str, Any] = {"given": len(points), "on_the_map": int(inside.sum())}
    for name, path in (("map", mean), ("prior", prior)):
        with rasterio.open(path) as raster:
            values = raster.read(1).astype(np.float64)
        apart = values[rows[inside], cols[inside]] - points[inside, 2]
        apart = apart[np.isfinite(apart)]
        if len(apart):
            low, middle, high = np.percentile(apart, (16, 50, 84))
            summary[name] = {
                "rms_m": float(np.sqrt(np.mean(apart**2))), "median_m": float(middle),
                "half_spread_m": float((high - low) / 2),
            }  # fmt: skip
    return summary
