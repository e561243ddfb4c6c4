"""Map grids: canonical form, units, coordinates, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from pipeline.terrain.grid import Grid, GridError, Projection, check_pixel, make_grid

SOUTH = "+proj=stere +lat_0=-90 +lon_0=0 +k=1 +x_0=0 +y_0=0 +R=1737400 +units=m +no_defs"
NORTH = SOUTH.replace("lat_0=-90", "lat_0=90")
CAP = Affine(20.0, 0.0, -304000.0, 0.0, -20.0, 304000.0)


def wkt(proj4: str) -> str:
    return CRS.from_proj4(proj4).to_wkt()


def cap(proj4: str = SOUTH, transform: Affine = CAP, size: int = 30400, name: str = "ldem.tif") -> Grid:
    return make_grid(name, wkt(proj4), transform, size, size)


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize("lon0", [0.0, 33.0, -120.0])
@pytest.mark.parametrize("scale", [1.0, 0.994])
def test_projection_agrees_with_proj_both_ways(pole: int, lon0: float, scale: float) -> None:
    projection = Projection(pole, lon0, 1737400.0, scale)
    crs = CRS.from_wkt(projection.wkt())
    assert crs.ellipsoid is not None and crs.ellipsoid.semi_major_metre == 1737400.0
    transformer = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    x, y = np.random.default_rng(3).uniform(-3e5, 3e5, (2, 50))
    lon, lat = projection.lonlat(x, y)
    want_lon, want_lat = transformer.transform(x, y)
    np.testing.assert_allclose((lon - want_lon + 180) % 360 - 180, 0, atol=1e-9)
    np.testing.assert_allclose(lat, want_lat, atol=1e-9)
    np.testing.assert_allclose(np.stack(projection.xy(lon, lat)), np.stack([x, y]), atol=1e-6)


@given(
    pole=st.sampled_from([1, -1]),
    lon0=st.floats(-180, 180),
    x=st.floats(-6e5, 6e5),
    y=st.floats(-6e5, 6e5),
)
def test_lonlat_and_xy_are_inverse(pole: int, lon0: float, x: float, y: float) -> None:
    projection = Projection(pole, lon0, 1737400.0, 1.0)
    back = projection.xy(*projection.lonlat(x, y))
    np.testing.assert_allclose([back[0], back[1]], [x, y], atol=1e-6)


def test_pixel_centres_of_the_published_cap() -> None:
    grid = cap()
    assert (grid.pixel_m, grid.pole, grid.metres_per_unit) == (20.0, -1, 1.0)
    x, y = grid.xy(0, 0)
    assert (float(x), float(y)) == (-303990.0, 303990.0)
    row, col = grid.rowcol(x, y)
    assert (float(row), float(col)) == (0.0, 0.0)
    lon, lat = grid.lonlat(15199.5, 15199.5)
    assert float(lat) == -90.0
    # Up on a south-polar map is longitude 0; right is 90 east.
    lon, lat = grid.lonlat([0, 15199.5], [15199.5, 30399])
    np.testing.assert_allclose(lon, [0.0, 90.0], atol=1e-9)
    assert np.all(np.abs(lat + 80) < 0.03)


def test_up_on_a_north_polar_map_is_longitude_180() -> None:
    lon, _ = cap(NORTH).lonlat([30399, 15199.5], [15199.5, 30399])
    np.testing.assert_allclose(lon, [0.0, 90.0], atol=1e-9)


@pytest.mark.parametrize("units", ["m", "km"])
def test_northern_product_in_kilometres(units: str) -> None:
    """The numbers are km whether the CRS says so or claims metres."""
    grid = cap(NORTH.replace("units=m", f"units={units}"), Affine(0.02, 0, -304.0, 0, -0.02, 304.0))
    assert grid.metres_per_unit == 1000.0
    assert grid.transform == CAP
    assert grid.same_as(cap(NORTH))


def test_single_precision_kilometres_snap_to_the_metre_grid() -> None:
    step = float(np.float32(0.02))
    assert step != 0.02
    grid = cap(NORTH, Affine(step, 0, -304.0, 0, -step, 304.0))
    assert grid.pixel_m == 20.0 and grid.origin == (-304000.0, 304000.0)


def test_same_terrain_in_other_words_has_the_same_grid() -> None:
    named = make_grid("a", "IAU_2015:30135", CAP, 30400, 30400)
    shifted = cap(SOUTH.replace("x_0=0", "x_0=5000"), CAP @ Affine.translation(250, 0))
    true_scale = cap(SOUTH.replace("k=1", "lat_ts=-90"))
    assert cap() == named == true_scale
    assert shifted.same_as(named)


def test_lattice_offsets() -> None:
    grid = cap()
    assert grid.lattice_offset(grid.window(12, -7, 5, 5)) == (12, -7)
    moved = cap(transform=CAP @ Affine.translation(0.5, 0))
    assert grid.lattice_offset(moved) is None
    assert grid.lattice_offset(cap(NORTH)) is None
    assert grid.lattice_offset(cap(transform=CAP @ Affine.scale(2), size=15200)) is None


def test_json_round_trip_is_exact() -> None:
    grid = cap(SOUTH.replace("lon_0=0", "lon_0=12.5"), Affine(5 / 3, 0, 1 / 3, 0, -5 / 3, 7 / 9), 9)
    assert Grid.from_json(grid.to_json()) == grid


@pytest.mark.parametrize(
    ("proj4", "transform", "words"),
    [
        ("+proj=stere +lat_0=-90 +lon_0=0 +k=1 +datum=WGS84 +units=m", CAP, "6378.14"),
        ("+proj=eqc +R=1737400 +units=m", CAP, "'eqc'"),
        ("+proj=stere +lat_0=-70 +lon_0=0 +R=1737400 +units=m", CAP, "latitude -70"),
        ("+proj=longlat +R=1737400", CAP, "geographic"),
        (SOUTH, Affine(20, 1, 0, 1, -20, 0), "rotated"),
        (SOUTH, Affine(20, 0, 0, 0, -21, 0), "square pixels"),
        (SOUTH, Affine(20, 0, 0, 0, 20, 0), "rows downwards"),
        (SOUTH, CAP @ Affine.scale(20), "one hemisphere"),
        (SOUTH, Affine(0.25, 0, 158000, 0, -0.25, 95000), "one hemisphere"),
    ],
)
def test_other_grids_are_refused(proj4: str, transform: Affine, words: str) -> None:
    with pytest.raises(GridError, match=r"ldem\.tif: expected .* found") as error:
        cap(proj4, transform)
    assert words in str(error.value)


def test_missing_crs_is_refused() -> None:
    with pytest.raises(GridError, match="found none"):
        make_grid("x.tif", None, CAP, 10, 10)


def test_pixel_size_is_checked_against_the_config() -> None:
    check_pixel("a.tif", cap(), 20.0)
    check_pixel("a.tif", cap(), None)
    with pytest.raises(GridError, match=r"a\.tif: expected pixels of 40 m \(inputs.pixel_m\), found 20 m"):
        check_pixel("a.tif", cap(), 40.0)


def test_real_windows_are_on_one_lattice(shared_data: Path) -> None:
    import rasterio

    grids = []
    for path in sorted((shared_data / "lola_40m").glob("*.tif")):
        with rasterio.open(path) as d:
            grids.append(make_grid(path.name, d.crs.to_wkt(), d.transform, d.width, d.height))
            x, y = grids[-1].xy(3, 7)
            assert d.index(float(x), float(y)) == (3, 7)
    assert len(grids) == 23
    assert all(grids[0].lattice_offset(g) is not None for g in grids)
    assert math.isclose(grids[0].pixel_m, 40.0)
