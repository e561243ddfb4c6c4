"""Directions to the Sun: frames, published sets, arcs and draws."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyproj
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.warp import transform

from pipeline.config.arcs import ArcDraw
from pipeline.config.base import Range
from pipeline.illumination import directions as d
from pipeline.illumination.place import Place, patch_places
from pipeline.terrain.grid import Projection

POLAR = {
    pole: pyproj.CRS.from_proj4(
        f"+proj=stere +lat_0={90 * pole} +lat_ts={90 * pole} +lon_0=0 +R=1737400 +no_defs"
    )
    for pole in (1, -1)
}
SPHERE = pyproj.CRS.from_proj4("+proj=longlat +R=1737400 +no_defs")


def rings(indices: np.ndarray) -> Counter[int]:
    """How many of the given fixed directions each elevation has."""
    elevation = d.azimuth_elevation(d.fixed_directions()[indices])[1]
    return Counter(np.rint(elevation).astype(int).tolist())


def usable(lon: float, lat: float, declination: float = 0.0) -> np.ndarray:
    """Fixed directions near the Sun's arc of a place, with the published tolerance."""
    return d.near_suns(d.sun_arc(lon, lat, declination), 0.1, d.fixed_directions())


def local_azimuth(azimuth: float, lon: float, pole: int) -> float:
    """From true north, of a map azimuth: the inverse of `local_to_map_azimuth`."""
    return (azimuth + pole * lon) % 360


def test_azimuth_runs_clockwise_from_map_up():
    np.testing.assert_allclose(d.vectors(0, 0), [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(d.vectors(90, 0), [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(d.vectors(123, 90), [0, 0, 1], atol=1e-15)


@given(st.floats(0, 359.99), st.floats(-89, 89), st.floats(1e-3, 1e3))
def test_vectors_and_angles_invert_each_other(azimuth, elevation, length):
    found = d.azimuth_elevation(length * d.vectors(azimuth, elevation))
    assert abs((found[0] - azimuth + 180) % 360 - 180) < 1e-9
    assert found[1] == pytest.approx(elevation, abs=1e-9)


def test_azimuth_is_below_360():
    assert d.azimuth_elevation([-1e-300, 1.0, 0.0])[0] == 0.0


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize("lon", [-170.0, -90.0, -33.0, 0.0, 12.5, 90.0, 151.0, 180.0])
@pytest.mark.parametrize("azimuth", [0.0, 37.0, 90.0, 200.0, 315.0])
def test_local_azimuth_maps_as_pyproj_says(pole, lon, azimuth):
    """Walk 10 m along a true azimuth on the sphere; the projected step has the map azimuth."""
    lat = 85.0 * pole
    end_lon, end_lat, _ = pyproj.Geod(a=1737400, b=1737400).fwd(lon, lat, azimuth, 10.0)
    to_map = pyproj.Transformer.from_crs(SPHERE, POLAR[pole], always_xy=True)
    x, y = to_map.transform([lon, end_lon], [lat, end_lat])
    seen = np.degrees(np.arctan2(x[1] - x[0], y[1] - y[0]))
    expected = d.local_to_map_azimuth(azimuth, lon, pole)
    assert abs((seen - expected + 180) % 360 - 180) < 2e-3
    assert local_azimuth(expected, lon, pole) == pytest.approx(azimuth, abs=1e-9)


def test_fixed_directions_are_the_published_rings():
    fixed = d.fixed_directions()
    assert fixed.shape == (360, 3)
    np.testing.assert_allclose(np.linalg.norm(fixed, axis=1), 1)
    assert rings(np.arange(360)) == {5: 72, 10: 72, 20: 72, 30: 72, 45: 36, 60: 18, 75: 12, 85: 6}
    assert len(np.unique(fixed.round(9), axis=0)) == 360
    # Azimuths from map-right: (cos el cos a, cos el sin a, sin el) with a in steps from 0.
    a = np.radians(20.0 * np.arange(18))
    cos60, sin60 = np.cos(np.radians(60)), np.sin(np.radians(60))
    published = np.stack([cos60 * np.cos(a), cos60 * np.sin(a), np.full(18, sin60)], axis=1)
    np.testing.assert_allclose(fixed[324:342], published, atol=1e-12)


def test_fibonacci_without_jitter_follows_the_formula():
    sun, present = d.fibonacci_directions(30, 0.0, np.random.default_rng(0))
    assert present.all()
    np.testing.assert_allclose(sun[0], [0, 0, 1], atol=1e-12)
    i = np.arange(30)
    np.testing.assert_allclose(sun[:, 2], 1 - 2 * i / 60, atol=1e-12)
    turn = 2 * np.pi * i * (np.sqrt(5) - 1) / 2
    flat = np.hypot(sun[:, 0], sun[:, 1])
    np.testing.assert_allclose(sun[:, 0], flat * np.cos(turn), atol=1e-9)
    np.testing.assert_allclose(sun[:, 1], flat * np.sin(turn), atol=1e-9)


def test_fibonacci_jitter_drops_directions_below_the_horizon():
    """The published figure: the lowest of the 30 images is lost in 26 % of the patches."""
    draws = [d.fibonacci_directions(30, 3.0, np.random.default_rng([1, k])) for k in range(2000)]
    present = np.stack([p for _, p in draws])
    sun = np.stack([s for s, _ in draws])
    assert 1 - present[:, 29].mean() == pytest.approx(0.26, abs=0.03)
    assert present[:, :25].all()
    assert np.isfinite(sun).all()
    np.testing.assert_allclose(np.linalg.norm(sun, axis=2), 1)
    # Past the zenith the direction is reflected: half of the first images would stand above 90 degrees.
    assert (d.azimuth_elevation(sun)[1] <= 90).all()
    assert d.azimuth_elevation(sun[:, 0])[1].mean() == pytest.approx(90 - 3 * np.sqrt(2 / np.pi), abs=0.2)


@given(st.floats(0, 360), st.floats(0, 90))
def test_arc_is_the_published_formula(lon, lat):
    a = np.radians(np.arange(360.0))
    tilt, turn = np.radians(90 - lat), np.radians(lon)
    x, y, z = np.cos(a), np.sin(a) * np.cos(tilt), -np.sin(a) * np.sin(tilt)
    expected = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), z], 1)
    np.testing.assert_allclose(d.sun_arc(lon, lat), expected[z > 1e-12], atol=1e-12)


@settings(max_examples=50)
@given(st.floats(-180, 180), st.floats(-89, 89), st.floats(-1.54, 1.54))
def test_arc_culminates_where_spherical_astronomy_says(lon, lat, declination):
    arc = d.sun_arc(lon, lat, declination)
    highest = 90 - abs(lat - declination)
    assume(abs(highest) > 1e-9)
    if highest < 0:  # the Sun does not rise
        assert len(arc) == 0
        return
    azimuth, elevation = d.azimuth_elevation(arc)
    top = int(np.argmax(elevation))
    assert elevation[top] == pytest.approx(highest, abs=1e-6)
    if highest < 89:
        pole = 1 if lat >= 0 else -1
        local = local_azimuth(azimuth[top], lon, pole)
        assert abs((local - (180 if lat > declination else 0) + 180) % 360 - 180) < 1e-5


def test_declination_circles_the_pole():
    arc = d.sun_arc(40.0, 90.0, 1.5)
    assert len(arc) == 360
    np.testing.assert_allclose(d.azimuth_elevation(arc)[1], 1.5)
    assert len(d.sun_arc(40.0, 90.0, -1.5)) == 0


def test_usable_directions_match_the_published_counts():
    assert rings(usable(0, 85)) == {5: 37, 10: 13}
    for lat in (88, 89, 89.9):
        assert rings(usable(0, lat)) == {5: 37}


def test_no_usable_direction_at_the_pole_is_an_error():
    for lat, tolerance, points in ((90, 0.1, range(1)), (89.9, 0.01, range(100, 200))):
        arc = d.sun_arc(12, lat)
        assert len(arc) in points
        assert not len(d.near_suns(arc, tolerance, d.fixed_directions()))
        draw = ArcDraw(latitude=Range(low=lat, high=lat), longitude=Range(low=12, high=12))
        with pytest.raises(
            d.NoUsableDirectionError, match=rf"latitude \[{lat}, {lat}\].*tolerance = {tolerance}"
        ):
            d.draw_arc_set(draw, tolerance, np.random.default_rng(0))


def test_draw_stays_in_its_ranges_and_repeats():
    draw = ArcDraw(
        latitude=Range(low=80, high=90), longitude=Range(low=10, high=20), images=Range(low=5, high=9)
    )
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    counts = set()
    for _ in range(100):
        lon, lat, images = d.draw_arc_set(draw, 0.1, rng)
        assert 10 <= lon <= 20 and 80 <= lat <= 90
        assert set(images) <= set(usable(lon, lat))
        counts.add(len(images))
        np.testing.assert_array_equal(images, d.draw_arc_set(draw, 0.1, again)[2])
    assert counts == {5, 6, 7, 8, 9}


def test_draw_leaves_out_dark_images_and_moves_on():
    """Only directions at 30 degrees light the patch: places near the pole are drawn again."""
    lit = np.rint(d.azimuth_elevation(d.fixed_directions())[1]) == 30
    rng = np.random.default_rng(0)
    for _ in range(20):
        _, lat, images = d.draw_arc_set(ArcDraw(), 0.1, rng, lit)
        assert lit[images].all()
        assert lat < 66


def test_draw_without_any_usable_direction_ends_with_an_error():
    with pytest.raises(d.NoUsableDirectionError, match=r"1000 places.*0 of 360 directions"):
        d.draw_arc_set(ArcDraw(), 0.1, np.random.default_rng(0), np.zeros(360, bool))
    with pytest.raises(d.NoUsableDirectionError, match=r"latitude \[90, 90\]"):
        d.draw_arc_set(ArcDraw(latitude=Range(low=90, high=90)), 0.1, np.random.default_rng(0))


# --- declination and true places ------------------------------------------------------------------------


def polar_crs(pole: int, lon0: float) -> pyproj.CRS:
    return pyproj.CRS.from_proj4(
        f"+proj=stere +lat_0={90 * pole} +lat_ts={90 * pole} +lon_0={lon0} +R=1737400 +no_defs"
    )


def place_on_map(lon: float, lat: float, pole: int, lon0: float) -> tuple[Place, np.ndarray]:
    """A place as the patch table gives it, and the unit map step that one takes there going due north."""
    to_map = pyproj.Transformer.from_crs(SPHERE, polar_crs(pole, lon0), always_xy=True)
    north_lon, north_lat, _ = pyproj.Geod(a=1737400, b=1737400).fwd(lon, lat, 0.0, 10.0)
    x, y = to_map.transform([lon, north_lon], [lat, north_lat])
    row = {"lon": lon, "lat": lat, "x0": x[0], "y0": y[0], "pole": pole}
    table = {name: SimpleNamespace(values=np.array([value])) for name, value in row.items()}
    step = np.array([x[1] - x[0], y[1] - y[0]])
    return patch_places(table)[0], step / np.linalg.norm(step)


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize("lon0", [0.0, 45.0, -120.0, 180.0])
@pytest.mark.parametrize("lon", [-170.0, -45.0, 0.0, 90.0, 133.0])
@pytest.mark.parametrize("declination", [-1.5, 0.0, 1.5])
def test_the_highest_sun_of_a_true_place_stands_over_the_equator(pole, lon0, lon, declination):
    """Due north of a southern place and due south of a northern one, in the frame of any map."""
    lat = 82.0 * pole
    place, north = place_on_map(lon, lat, pole, lon0)
    arc = d.sun_arc(place.map_lon, lat, declination, pole)
    top = arc[np.argmax(arc[:, 2])]
    assert d.azimuth_elevation(top)[1] == pytest.approx(90 - abs(lat - declination), abs=1e-6)
    np.testing.assert_allclose(top[:2] / np.linalg.norm(top[:2]), -pole * north, atol=1e-4)


def test_at_90_east_on_the_southern_map_north_is_to_the_right():
    place, north = place_on_map(90.0, -85.0, -1, 0.0)
    assert place.map_lon == pytest.approx(90)
    np.testing.assert_allclose(north, [1, 0], atol=1e-4)
    arc = d.sun_arc(place.map_lon, place.lat)
    azimuth, elevation = d.azimuth_elevation(arc[np.argmax(arc[:, 2])])
    assert (azimuth, elevation) == (pytest.approx(90), pytest.approx(5))
    assert d.local_to_map_azimuth(0.0, 90.0, -1) == 90.0


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize("lon0", [0.0, 70.0])
@pytest.mark.parametrize("lat", [89.99, 84.0, 60.0, 20.0])
def test_local_azimuth_maps_as_rasterio_says_on_any_central_meridian(pole, lon0, lat):
    azimuths = np.arange(5.0, 360.0, 45.0)
    for lon in (-150.0, -10.0, 70.0, 110.0, 179.0):
        ends = [pyproj.Geod(a=1737400, b=1737400).fwd(lon, pole * lat, a, 1.0)[:2] for a in azimuths]
        lons, lats = zip((lon, pole * lat), *ends)
        x, y = (
            np.array(v)
            for v in transform(SPHERE.to_wkt(), polar_crs(pole, lon0).to_wkt(), list(lons), list(lats))
        )
        seen = np.degrees(np.arctan2(x[1:] - x[0], y[1:] - y[0]))
        expected = d.local_to_map_azimuth(azimuths, lon - lon0, pole)
        # One metre from 300 m beside the pole the meridians still turn by 0.2 degrees.
        np.testing.assert_allclose((seen - expected + 180) % 360 - 180, 0, atol=0.25 if lat > 89 else 1e-3)


def test_the_longitude_on_the_map_comes_from_map_coordinates():
    """As the pipeline's own projection gives them, for maps of both poles in one table."""
    lons, lats = np.array([10.0, -100.0, 179.5, 0.0]), np.array([88.0, -85.0, -60.0, 71.0])
    poles, lon0 = np.array([1, -1, -1, 1]), np.array([0.0, 30.0, -60.0, 180.0])
    xy = [Projection(int(p), o, 1737400.0, 1.0).xy(a, b) for p, o, a, b in zip(poles, lon0, lons, lats)]
    columns = {"lon": lons, "lat": lats, "x0": [x for x, _ in xy], "y0": [y for _, y in xy], "pole": poles}
    table = {name: SimpleNamespace(values=np.array(value)) for name, value in columns.items()}
    places = patch_places(table)
    np.testing.assert_allclose([p.map_lon for p in places], (lons - lon0) % 360, atol=1e-9)
    assert [(p.lon, p.lat, p.pole) for p in places] == list(zip(lons, lats, poles))


def test_a_map_past_the_equator_keeps_its_frame():
    """A little north of the equator a southern map's frame is still the southern one."""
    south, north = d.sun_arc(60.0, 1.0, pole=-1), d.sun_arc(60.0, 1.0)
    np.testing.assert_allclose(south, d.sun_arc(-60.0, 1.0), atol=1e-12)
    np.testing.assert_allclose(d.sun_arc(60.0, 1.0, pole=1), north)
    place = Place(lon=60.0, lat=1.0, map_lon=60.0, pole=-1)
    images = d.draw_arc_set(ArcDraw(place="true"), 0.1, np.random.default_rng(0), None, place)[2]
    drawn = d.fixed_directions()[images]
    assert (2 - 2 * (drawn @ south.T).max(axis=1) < 0.1**2).all()
    assert not (2 - 2 * (drawn @ north.T).max(axis=1) < 0.1**2).all()


@pytest.mark.parametrize("place", [None, Place(3.0, -80.0, 5.0, -1)])
def test_the_published_draw_takes_the_published_random_numbers(place):
    """Longitude, latitude, number, images; a place that is not asked for changes nothing."""
    found = d.draw_arc_set(
        ArcDraw(latitude=Range(low=60, high=88)), 0.1, np.random.default_rng(9), None, place
    )
    rng = np.random.default_rng(9)
    lon, lat = rng.uniform(0, 360), rng.uniform(60, 88)
    near = usable(lon, lat)
    assert found[:2] == (lon, lat)
    np.testing.assert_array_equal(found[2], rng.choice(near, size=rng.integers(5, 101), replace=True))


@pytest.fixture
def declinations(monkeypatch):
    """The declinations that arcs are asked for."""
    seen, real = [], d.sun_arc
    monkeypatch.setattr(
        d, "sun_arc", lambda lon, lat, dec, pole: seen.append(dec) or real(lon, lat, dec, pole)
    )
    return seen


def test_declination_is_uniform_in_its_range(declinations):
    draw = ArcDraw(latitude=60, declination=Range(low=-1.5, high=0.5))
    rng = np.random.default_rng(0)
    for _ in range(400):
        d.draw_arc_set(draw, 0.1, rng)
    assert len(declinations) == 400  # drawn once a set
    assert -1.5 <= min(declinations) < -1.45 and 0.45 < max(declinations) <= 0.5
    assert np.mean(declinations) == pytest.approx(-0.5, abs=4 * 2 / np.sqrt(12 * 400))


def test_a_fixed_declination_takes_no_random_number(declinations):
    for place in (None, Place(3.0, -80.0, 5.0, -1)):
        kind = {"place": "true"} if place else {"latitude": 70}
        plain, tilted = (
            d.draw_arc_set(ArcDraw(declination=dec, **kind), 2.0, np.random.default_rng(4), None, place)
            for dec in (0, 1.2)
        )
        assert plain[:2] == tilted[:2]
        # Within chord 2 of any arc all directions are usable, so the same numbers choose the same images.
        np.testing.assert_array_equal(plain[2], tilted[2])
    assert declinations == [0, 1.2] * 2


def test_the_declination_raises_and_lowers_the_sun():
    """At latitude -89 a northern Sun of 1.5 degrees never rises, a southern one never sets."""
    assert len(d.sun_arc(0.0, -89.0, 1.5)) == 0
    assert len(d.sun_arc(0.0, -89.0, -1.5)) == 360
    assert not len(usable(0.0, -89.0, 1.5))
    assert rings(usable(0.0, -89.0, -1.5)) == {5: 72}


def test_a_true_place_is_not_drawn():
    place = Place(lon=50.0, lat=-86.0, map_lon=20.0, pole=-1)
    expected = usable(20.0, -86.0)
    seen = set()
    for seed in range(30):
        lon, lat, images = d.draw_arc_set(
            ArcDraw(place="true"), 0.1, np.random.default_rng(seed), None, place
        )
        assert (lon, lat) == (20.0, -86.0)
        seen |= set(images.tolist())
    assert seen == set(expected.tolist())
    with pytest.raises(ValueError, match=r"place: true: expected the patch's own place, found none"):
        d.draw_arc_set(ArcDraw(place="true"), 0.1, np.random.default_rng(0))


def test_a_declination_that_leaves_a_true_place_dark_is_drawn_again(declinations):
    pole = Place(lon=0.0, lat=-90.0, map_lon=0.0, pole=-1)
    draw = ArcDraw(place="true", declination=Range(low=-1.5, high=1.5))
    for seed in range(20):
        images = d.draw_arc_set(draw, 0.1, np.random.default_rng(seed), None, pole)[2]
        assert declinations[-1] < 0
        assert rings(images).keys() == {5}
    assert max(declinations) > 0


@pytest.mark.parametrize("declination", [Range(low=0, high=0), Range(low=0.5, high=1.5)])
def test_a_true_place_without_a_sun_is_named(declination):
    pole = Place(lon=12.5, lat=-90.0, map_lon=0.0, pole=-1)
    message = rf"own place, lon 12\.5000, lat -90\.0000, with declination \[{declination.low:g}, "
    with pytest.raises(d.NoUsableDirectionError, match=message):
        draw = ArcDraw(place="true", declination=declination)
        d.draw_arc_set(draw, 0.1, np.random.default_rng(0), None, pole)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"place": True, "latitude": 85},
            r"latitude: expected its default \[0, 90\], .*place: true, found \[85",
        ),
        ({"place": "ephemeris", "longitude": [0, 5]}, r"longitude: expected its default \[0, 360\]"),
        ({"place": "ephemeris", "declination": [0, 1]}, r"declination: expected its default \[0, 0\]"),
        ({"declination": [-2, 0]}, r"declination: expected within \[-1\.6, 1\.6\]"),
        ({"place": "here"}, r"place"),
        ({"place": False}, r"place"),
    ],
)
def test_mistakes_in_a_draw_are_named(keys, message):
    with pytest.raises(ValueError, match=message):
        ArcDraw.model_validate(keys)


def test_yaml_may_write_true_without_quotes():
    draw = ArcDraw.model_validate(yaml.safe_load("{place: true, declination: [-1.5, 1.5]}"))
    assert draw.place == "true"
    assert ArcDraw.model_validate_json(draw.canonical()) == draw
