"""Images of a map: where the Sun stands on it, what a window gets, and how much light a pixel has."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from raster_files import NORTH, SOUTH

from pipeline.imagery.suns.sun import Sun
from pipeline.maps.images import MapImages, light_of, lit_level, read_prepared, sun_of, sun_on_map, sun_record
from pipeline.storage.store import StoreWriter
from pipeline.terrain.map_grid import MapGrid, lunar_projection

SIZE = 20


def grid_about(crs: str, x: float = 0.0, y: float = 0.0, size: int = SIZE, pixel: float = 20.0) -> MapGrid:
    half = size * pixel / 2
    wkt = lunar_projection(crs).wkt_text
    return MapGrid(wkt, Affine(pixel, 0, x - half, 0, -pixel, y + half), size, size)


def sun_over(lon: float, lat: float = 0.0) -> Sun:
    return Sun.from_subsolar(lon, lat, "a test")


# --- the Sun on a map -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crs", "place", "subsolar", "expected"),
    [
        # South: longitude 0 is up, and north is away from the pole.
        (SOUTH, (0.0, 5e4), (0.0, 0.0), (0, 1)),
        (SOUTH, (5e4, 0.0), (90.0, 0.0), (1, 0)),
        (SOUTH, (-3e4, 3e4), (-45.0, 0.0), (-1, 1)),
        (SOUTH, (0.0, 5e4), (180.0, 0.0), (0, -1)),
        # North: longitude 0 is down, and the Sun over the equator stands in the south.
        (NORTH, (0.0, -5e4), (0.0, 0.0), (0, -1)),
        (NORTH, (5e4, 0.0), (90.0, 0.0), (1, 0)),
        # Beyond the pole the Sun stands due north of a place near it, in the northern summer.
        (NORTH, (0.0, -1e4), (180.0, 1.5), (0, 1)),
        (SOUTH, (0.0, 1e4), (180.0, -1.5), (0, -1)),
    ],
)
def test_the_sun_stands_where_its_meridian_is(
    crs: str, place: tuple[float, float], subsolar: tuple[float, float], expected: tuple[int, int]
) -> None:
    grid = grid_about(crs, *place)
    right, up, zenith = sun_on_map(sun_over(*subsolar), grid, 9.5, 9.5)
    assert math.hypot(right, up, zenith) == pytest.approx(1)
    length = math.hypot(*expected)
    level = math.hypot(right, up)
    assert (right / level, up / level) == pytest.approx(
        (expected[0] / length, expected[1] / length), abs=1e-5
    )
    # Its elevation is 90 degrees less the angle between the place and the sub-solar point.
    lon, lat = (math.radians(float(v)) for v in grid.lonlat(9.5, 9.5))
    east, north = (math.radians(v) for v in subsolar)
    cosine = math.sin(lat) * math.sin(north) + math.cos(lat) * math.cos(north) * math.cos(lon - east)
    assert zenith == pytest.approx(cosine, abs=1e-9)


def test_the_sun_of_a_local_map_is_told_from_true_north() -> None:
    """About the middle of a stereographic map at 26 south, map-up is north."""
    grid = grid_about("+proj=stere +lat_0=-26 +lon_0=3.5 +R=1737400 +units=m")
    sun = Sun.from_local(285.0, 12.0, 3.5, -26.0, "a test")
    right, up, zenith = sun_on_map(sun, grid, 9.5, 9.5)
    assert math.degrees(math.atan2(right, up)) % 360 == pytest.approx(285, abs=1e-3)
    assert math.degrees(math.asin(zenith)) == pytest.approx(12, abs=1e-3)


@pytest.mark.parametrize("distance", [math.inf, 1.5e8])
def test_a_sun_survives_its_record(distance: float) -> None:
    sun = Sun.from_subsolar(77.0, -1.2, "a table", distance)
    assert sun_of(json.loads(json.dumps(sun_record(sun)))) == sun


# --- prepared images --------------------------------------------------------------------------------------

# Near the south pole, with the Sun a degree and a half high all around: azimuths are longitudes.
POLE = grid_about(SOUTH)
SUMMER = -1.5


def store(path: Path, images: list[dict]) -> Path:
    """A store of images, each with its radiance and what differs from a plain record."""
    records = []
    with StoreWriter(path, "prepared") as writer:
        radiance = np.stack([image["radiance"] for image in images]).astype(np.float32)
        writer.write("radiance", radiance, ("image", "y", "x"))
        for number, image in enumerate(images):
            sun = sun_record(sun_over(image.get("lon", 0.0), image.get("lat", SUMMER)))
            plain = {
                "used": True,
                "withheld": False,
                "box": [0, SIZE, 0, SIZE],
                "path": str(number),
                "level": 1.0,
            }
            records.append({**plain, "sun": sun, **{k: v for k, v in image.items() if k in plain}})
        writer.describe({"images": records})
    return path


FLAT = np.ones((SIZE, SIZE))


def part(rows: slice, cols: slice, outside: float = np.nan) -> np.ndarray:
    out = np.full((SIZE, SIZE), outside)
    out[rows, cols] = 1
    return out


def test_roles_choose_images(tmp_path: Path) -> None:
    records = [{"used": True}, {"used": False}, {"withheld": True}, {"used": False, "withheld": True}, {}]
    first = store(
        tmp_path / "a.zip", [{"radiance": FLAT, "path": f"a{i}", **r} for i, r in enumerate(records)]
    )
    second = store(tmp_path / "b.zip", [{"radiance": FLAT, "path": "b0"}])
    names = {role: [i.path for i in read_prepared([first, second], role)] for role in ("map", "check", "all")}
    assert names == {"map": ["a0", "a4", "b0"], "check": ["a2"], "all": ["a0", "a2", "a4", "b0"]}


def window(tmp_path: Path, images: list[dict], only: list[int] | None = None) -> tuple[np.ndarray, ...]:
    source = MapImages(read_prepared([store(tmp_path / "s.zip", images)], "map"), POLE)
    assert source.count == len(images)
    found = source.read(4, 12, 8, 16, only)
    return tuple(np.asarray(v) for v in (found.images, found.valid, found.sun))


def test_a_window_gets_its_part_of_the_images_that_show_it(tmp_path: Path) -> None:
    ramp = np.arange(SIZE * SIZE, dtype=np.float64).reshape(SIZE, SIZE) / 400
    ramp[5, 9] = np.nan
    left = np.s_[0:SIZE, 0:8]
    images = [
        {"radiance": ramp, "lon": 90.0},
        {"radiance": part(*left), "box": [0, SIZE, 0, 8]},  # ends at the window
        {"radiance": part(*left)},  # its box reaches the window, its data do not
        {"radiance": part(*left, outside=0.0)},  # dark in the window
        {"radiance": FLAT, "lat": 1.5},  # the Sun is below the horizon
        {"radiance": part(np.s_[0:5], np.s_[0:9]), "lon": 180.0, "box": [0, 5, 0, 9]},
    ]
    radiance, valid, sun = window(tmp_path, images)
    assert radiance.shape == (2, 8, 8) and radiance.dtype == np.float32
    np.testing.assert_array_equal(valid[0], np.isfinite(ramp[4:12, 8:16]))
    np.testing.assert_allclose(radiance[0], np.nan_to_num(ramp[4:12, 8:16]), rtol=1e-6)
    assert valid[1].sum() == 1 and valid[1, 0, 0] and radiance[1].sum() == 1
    flat = np.radians(1.5)
    expected = [[np.cos(flat), 0, np.sin(flat)], [0, -np.cos(flat), np.sin(flat)]]
    np.testing.assert_allclose(sun, expected, atol=2e-4)


def test_only_some_images_are_given_whatever_they_show(tmp_path: Path) -> None:
    images = [
        {"radiance": FLAT},
        {"radiance": part(np.s_[0:2], np.s_[0:2]), "box": [0, 2, 0, 2]},
        {"radiance": 2 * FLAT, "lat": 1.5},
        {"radiance": 3 * FLAT},
    ]
    radiance, valid, _ = window(tmp_path, images, [1, 2])
    assert radiance.mean(axis=(1, 2)).tolist() == [0, 2]
    assert valid.any(axis=(1, 2)).tolist() == [False, True]


def test_a_window_without_images_is_empty(tmp_path: Path) -> None:
    dark = [{"radiance": 0 * FLAT}]
    radiance, valid, sun = window(tmp_path, dark)
    assert (radiance.shape, valid.shape, sun.shape) == ((0, 8, 8), (0, 8, 8), (0, 3))


# --- the light of a map -----------------------------------------------------------------------------------


def test_counts_and_gaps_of_the_light(tmp_path: Path) -> None:
    """Azimuths 350, 20, 100 and 200 light parts of the map, in an order that is none."""
    everywhere, below = np.s_[0:SIZE], np.s_[10:SIZE]
    images = [
        {"radiance": part(everywhere, np.s_[5:20], 0.0), "lon": 100.0},
        {"radiance": part(everywhere, np.s_[5:20], 0.05), "lon": 350.0},
        {"radiance": 100 * part(everywhere, np.s_[10:20]), "lon": 20.0, "level": 100.0},
        {"radiance": part(below, np.s_[15:20]), "lon": 200.0, "box": [10, SIZE, 15, SIZE]},
    ]
    lit, gap = light_of(read_prepared([store(tmp_path / "s.zip", images)], "map"), POLE)
    np.testing.assert_array_equal(lit[0], [0] * 5 + [2] * 5 + [3] * 10)
    np.testing.assert_array_equal(lit[15], [0] * 5 + [2] * 5 + [3] * 5 + [4] * 5)
    assert np.isnan(gap[:, :5]).all()
    np.testing.assert_allclose(gap[:, 5:10], 250, atol=1e-2)  # between 100 and 350
    np.testing.assert_allclose(gap[:10, 10:], 250, atol=1e-2)
    np.testing.assert_allclose(gap[10:, 15:], 150, atol=1e-2)  # between 200 and 350
    assert lit.dtype == np.int32 and gap.dtype == np.float32


def test_one_light_leaves_the_whole_circle(tmp_path: Path) -> None:
    images = [{"radiance": FLAT, "lon": 300.0}]
    lit, gap = light_of(read_prepared([store(tmp_path / "s.zip", images)], "map"), POLE)
    assert (lit == 1).all() and (gap == 360).all()
    lit, gap = light_of([], POLE)
    assert (lit == 0).all() and np.isnan(gap).all()


def test_the_lit_level_is_that_of_what_is_lit() -> None:
    """Noise in the shadows does not count, nor do missing pixels."""
    image = np.full((10, 10), 0.01, np.float32)
    image[:6] = np.linspace(0.4, 0.6, 60, dtype=np.float32).reshape(6, 10)
    image[6] = np.nan
    image[7] = -0.1
    assert lit_level(image) == pytest.approx(0.5, abs=0.01)
    assert lit_level(np.zeros((4, 4), np.float32)) == 0
