"""A user's site in files: a coarse DEM with a hole, images on a grid of their own, an index of Suns."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from scipy import ndimage

from pipeline.config.photometry import PhotometrySection
from pipeline.imagery.suns.sun import Sun
from pipeline.maps.render import Scene
from pipeline.terrain.map_grid import MapGrid, local_projection, lunar_projection

SOUTH = "+proj=stere +lat_0=-90 +lon_0=0 +k=1 +R=1737400 +units=m +no_defs"
NORTH = SOUTH.replace("-90", "90")
FACTOR, CELLS, PIXEL = 8, 16, 40.0


def grid(crs: str = SOUTH) -> MapGrid:
    """The truth's grid: whole cells of the DEM."""
    place = Affine(PIXEL, 0, 20_000, 0, -PIXEL, 450_000)
    return MapGrid(lunar_projection(crs).wkt_text, place, CELLS * FACTOR, CELLS * FACTOR)


def terrain() -> NDArray[np.float64]:
    noise = np.random.default_rng(1).normal(size=(CELLS * FACTOR,) * 2)
    broad = ndimage.gaussian_filter(noise, 12, mode="wrap") * 4000
    return broad + ndimage.gaussian_filter(noise[::-1], 2.5, mode="wrap") * 60 - 1500


def write_site(folder: Path, crs: str = SOUTH) -> None:
    """A DEM of cells with a hole, eight images on a grid of their own, an index, counts, a broken image.

    The other pole's site has the same pixels and, on the map, the same Suns: the Moon is turned by half a
    circle about an axis in its equator, which changes the sign of latitudes and the direction of longitudes.
    """
    truth, where = terrain(), grid(crs)
    cells = truth.reshape(CELLS, FACTOR, CELLS, FACTOR).mean(axis=(1, 3)).astype("f4")
    cells[10:12, 3] = np.nan
    coarse = where.transform @ Affine.scale(FACTOR)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": np.nan, "crs": crs}
    with rasterio.open(
        folder / "ldem.tif", "w", transform=coarse, width=CELLS, height=CELLS, **profile
    ) as raster:
        raster.write(cells, 1)
    with rasterio.open(
        folder / "ldec.tif", "w", transform=coarse, width=CELLS, height=CELLS, **profile
    ) as raster:
        raster.write(np.isfinite(cells).astype("f4"), 1)
    lon, lat = (float(v) for v in where.lonlat(CELLS * FACTOR / 2, CELLS * FACTOR / 2))
    own = local_projection(lon, lat)
    scene = Scene(np.pad(truth, 8, mode="edge").astype("f4"), 8, where, PhotometrySection(law="lambert"))
    rows = []
    (folder / "nac").mkdir()
    for k in range(8):
        # From one side, as at any place that is not the pole.
        turn = -where.pole
        sun = Sun.from_subsolar(lon + turn * (20.0 * k - 70), turn * (1.5 if k % 2 else -1.5), "test")
        light = scene.render(sun, (0, CELLS * FACTOR, 0, CELLS * FACTOR)).radiance
        size = CELLS * FACTOR * PIXEL
        half, pixels = 0.6 * size, 192
        place = Affine(2 * half / pixels, 0, -half, 0, -2 * half / pixels, half)
        out = np.full((pixels, pixels), np.nan, "f4")
        rasterio.warp.reproject(
            light, out, src_transform=where.transform, src_crs=CRS.from_wkt(where.crs_wkt),
            dst_transform=place, dst_crs=CRS.from_wkt(own.wkt_text), src_nodata=np.nan, dst_nodata=np.nan,
            resampling=rasterio.warp.Resampling.cubic,
        )  # fmt: skip
        profile["crs"] = CRS.from_wkt(own.wkt_text)
        name = f"M10{k}000000LE"
        path = folder / "nac" / f"{name}.tif"
        with rasterio.open(path, "w", transform=place, width=pixels, height=pixels, **profile) as raster:
            raster.write(out * 0.05 + 0.001, 1)
        sub_lon, sub_lat = sun.subsolar
        rows.append([name, sub_lat, sub_lon])
    (folder / "nac" / "broken.tif").write_bytes(b"II*\0 no image")
    with (folder / "index.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["PRODUCT_ID", "SUB_SOLAR_LATITUDE", "SUB_SOLAR_LONGITUDE"])
        table.writerows(rows)
