"""Heights at points beside a map: names of columns, units, and differences."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from pipeline.maps.points import compare_points, read_points
from pipeline.terrain.map_grid import MapGrid, lunar_projection

SHOTS = Path(__file__).resolve().parents[4] / "shared" / "data" / "lola_shots" / "RDR_hadley_LOLA.csv.gz"
SOUTH = "+proj=stere +lat_0=-90 +lon_0=0 +k=1 +R=1737400 +units=m +no_defs"


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("id,Lat,LON,height\na,-89,10,5\n\nb,-88.5,20,-7.5\n")
    np.testing.assert_array_equal(read_points(path), [[10, -89, 5], [20, -88.5, -7.5]])


def test_radii_in_kilometres_become_heights(tmp_path: Path) -> None:
    path = tmp_path / "shots.csv.gz"
    with gzip.open(path, "wt") as stream:
        stream.write("Pt_Longitude, Pt_Latitude, Pt_Radius\n3.1,25.2,1736.4\n")
    np.testing.assert_allclose(read_points(path), [[3.1, 25.2, -1000.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "expected columns lon, lat and height, found a, b"),
        ("", "expected columns lon, lat and height, found no header"),
        ("lon,lat,height\n", "expected points, found none"),
        ("lon,lat,height\n1,2,3\n1,x,3\n", "line 3: expected longitude, latitude and height, found 1,x,3"),
    ],
)
def test_what_holds_no_points_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_points(path)


def test_real_shots_are_read() -> None:
    if not SHOTS.is_file():
        pytest.skip(f"no {SHOTS}")
    points = read_points(SHOTS)
    assert len(points) == 52363
    assert (points[:, 0] > 2.6).all() and (points[:, 1] < 25.9).all() and np.abs(points[:, 2]).max() < 5000


def test_differences_are_those_of_the_rasters(tmp_path: Path) -> None:
    grid = MapGrid(lunar_projection(SOUTH).wkt_text, Affine(100.0, 0, 0, 0, -100.0, 20_000), 20, 20)
    for name, height in (("mean", 12.0), ("prior", 7.0)):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=20, height=20, count=1, dtype="float32",
            crs=CRS.from_wkt(grid.crs_wkt), transform=grid.transform,
        ) as raster:  # fmt: skip
            raster.write(np.full((20, 20), height, "f4"), 1)
    lon, lat = grid.lonlat(np.arange(5.0), np.arange(5.0))
    points = np.column_stack([lon, lat, np.full(5, 10.0)])
    points = np.vstack([points, [0.0, -20.0, 3.0]])
    said = compare_points(points, grid, str(tmp_path / "mean.tif"), str(tmp_path / "prior.tif"))
    assert (said["given"], said["on_the_map"]) == (6, 5)
    assert said["map"]["rms_m"] == pytest.approx(2) and said["map"]["median_m"] == pytest.approx(2)
    assert said["prior"]["rms_m"] == pytest.approx(3) and said["prior"]["median_m"] == pytest.approx(-3)
