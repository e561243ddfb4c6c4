"""``stac.json``: a map as an item of a SpatioTemporal Asset Catalog (STAC 1.1).

With the extensions projection 2, raster 2 and ssys 1.1: geometry and box are longitudes and latitudes of the
Moon (mean Earth, planetocentric), as ssys specifies for bodies other than the Earth.

A map has no time of its own. ``datetime`` is null, and start and end are the first and last time of its
images, where all of their product ids contain a time. Otherwise they are the first and the last time that RFC
3339 can express, which mean unknown and match any search in time. The date of the computation is not used, as
it has no relation to the terrain and would make equal maps differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.imagery.suns.names import product_id, utc_of
from pipeline.maps.kinds import DOCUMENTS, KINDS
from pipeline.storage.atomic import write_json
from pipeline.terrain.iau import iau_code
from pipeline.terrain.map_grid import MapGrid
from pipeline.terrain.outline import outline

_HOST = "https://stac-extensions.github.io"
EXTENSIONS = tuple(
    f"{_HOST}/{name}/schema.json" for name in ("projection/v2.0.0", "raster/v2.0.0", "ssys/v1.1.0")
)
GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
#: Start and end of a time that is unknown.
UNKNOWN = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"

# Roles of GeoTIFFs beside ``data``, and kinds and roles of the other files.
_ROLES = {
    "std": ["uncertainty"], "slope_std": ["uncertainty"], "lit": ["quality"], "azimuth_gap": ["quality"],
    "class": ["quality"], "hillshade": ["visual"],
}  # fmt: skip
_OTHERS = {
    "images": ("text/csv", "metadata", "What became of each image"),
    "map": ("application/json", "metadata", "How the map came about"),
    "quicklook": ("image/png", "overview", "Picture of the map"),
    "viewer": ("text/html", "overview", "Page to compare layers, draw profiles and see images"),
}
_STATISTICS = {"minimum": "MINIMUM", "maximum": "MAXIMUM", "mean": "MEAN", "stddev": "STDDEV"}


def write_item(
    out: str, files: Mapping[str, str], grid: MapGrid, images: Sequence[str], facts: Mapping[str, Any]
) -> None:
    """Write the STAC item of a finished map.

    Parameters
    ----------
    out : file to write. files : finished files beside it, by their names in `KINDS` and `DOCUMENTS`.
    grid : of the map. images : paths of the images used. facts : contents of ``map.json``.
    """
    geometry, box = outline(grid)
    start, end = times(images)
    key = str(facts["key"])
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": f"lunar-bridge-map-{key}" if key else "lunar-bridge-map",
        "geometry": geometry,
        "bbox": box,
        "properties": {
            "title": f"Lunar DEM, {grid.describe()}",
            "description": (
                "Heights with an uncertainty, from a DEM and images. Times are those of the images. "
                f"Verdict: {facts['check']['verdict']}."
            ),
            "datetime": None,
            "start_datetime": start,
            "end_datetime": end,
            "ssys:targets": ["Moon"],
            "ssys:target_class": "satellite",
            **_projected(grid),
            "lunar_bridge:model_fingerprint": facts["model_fingerprint"],
        },
        "links": [],
        "assets": {
            name: _raster(name, path, grid) if name in KINDS else _document(name, path)
            for name, path in files.items()
            if name in KINDS or name in _OTHERS
        },
    }
    write_json(out, item)


def times(images: Sequence[str]) -> tuple[str, str]:
    """Start of the first and of the last exposure, in UTC; `UNKNOWN` where an image's name has no time.

    Parameters
    ----------
    images : paths.
    """
    found = [_time(path) for path in images]
    known = [time for time in found if time is not None]
    if not found or len(known) < len(found):
        return UNKNOWN
    return f"{min(known):%Y-%m-%dT%H:%M:%SZ}", f"{max(known):%Y-%m-%dT%H:%M:%SZ}"


def _time(path: str) -> datetime | None:
    product = product_id(path)
    if product is None:
        return None
    try:
        return utc_of(product)
    except ValueError:
        return None


def _projected(grid: MapGrid) -> dict[str, Any]:
    """Fields of the projection extension."""
    from pyproj import CRS

    lon, lat = grid.lonlat((grid.height - 1) / 2, (grid.width - 1) / 2)
    return {
        "proj:code": iau_code(grid.projection),
        "proj:wkt2": CRS.from_user_input(grid.crs_wkt).to_wkt("WKT2_2019"),
        "proj:shape": [grid.height, grid.width],
        "proj:transform": [float(value) for value in grid.transform],
        "proj:bbox": list(grid.bounds),
        "proj:centroid": {"lat": round(float(lat), 7), "lon": round(float(lon), 7)},
    }


def _raster(name: str, path: str, grid: MapGrid) -> dict[str, Any]:
    import rasterio

    kind = KINDS[name]
    values: dict[str, Any] = {"data_type": kind.dtype, "unit": kind.unit}
    if kind.nodata is not None:
        values["nodata"] = "nan" if math.isnan(kind.nodata) else kind.nodata
    bands = []
    with rasterio.open(path) as raster:
        for band in range(1, raster.count + 1):
            tags = raster.tags(band)
            found = {
                k: float(tags[f"STATISTICS_{v}"]) for k, v in _STATISTICS.items() if f"STATISTICS_{v}" in tags
            }
            if "STATISTICS_VALID_PERCENT" in tags:
                found["valid_percent"] = float(tags["STATISTICS_VALID_PERCENT"])
            label = name if raster.count == 1 else f"{name}_{band}"
            said = {"name": label, "description": raster.descriptions[band - 1], **values}
            bands.append({**said, "statistics": found} if found else said)
    middle = (grid.height - 1) / 2, (grid.width - 1) / 2
    return {
        "href": f"./{Path(path).name}", "type": GEOTIFF, "title": kind.description,
        "roles": ["data", *_ROLES.get(name, [])], "bands": bands, "raster:sampling": "area",
        "raster:spatial_resolution": round(grid.true_pixel_m(*middle), 6),
    }  # fmt: skip


def _document(name: str, path: str) -> dict[str, Any]:
    media, role, title = _OTHERS[name]
    said: dict[str, Any] = {"href": f"./{DOCUMENTS[name]}", "type": media, "title": title, "roles": [role]}
    if media == "image/png":
        from PIL import Image

        # Not on the map's grid: the item's projection does not hold for it.
        with Image.open(path) as picture:
            said |= {"proj:code": None, "proj:wkt2": None, "proj:shape": [picture.height, picture.width]}
    return said
