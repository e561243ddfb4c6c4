"""Directions to the Sun: frames, published sets, arcs and draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.base import Range
from pipeline.config.light import ArcDraw
from pipeline.illumination import directions as d

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
    assert d.map_to_local_azimuth(expected, lon, pole) == pytest.approx(azimuth, abs=1e-9)


def test_fixed_directions_are_the_published_rings():
    fixed = d.fixed_directions()
    assert fixed.shape == (360, 3)
    np.testing.assert_allclose(np.linalg.norm(fixed, axis=1), 1)
    assert rings(np.arange(360)) == {5: 72, 10: 72, 20: 72, 30: 72, 45: 36, 60: 18, 75: 12, 85: 6}
    assert len(np.unique(fixed.round(9), axis=0)) == 360
    # Published frame: (cos el cos a, cos el sin a, sin el) with a in steps from 0.
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
    azimuth, elevation = d.azimuth_elevation(arc)
    top = int(np.argmax(elevation))
    assert elevation[top] == pytest.approx(highest, abs=1e-6)
    if highest < 89:
        pole = 1 if lat >= 0 else -1
        local = d.map_to_local_azimuth(azimuth[top], lon, pole)
        assert abs((local - (180 if lat > declination else 0) + 180) % 360 - 180) < 1e-5


def test_declination_circles_the_pole():
    arc = d.sun_arc(40.0, 90.0, 1.5)
    assert len(arc) == 360
    np.testing.assert_allclose(d.azimuth_elevation(arc)[1], 1.5)
    assert len(d.sun_arc(40.0, 90.0, -1.5)) == 0


def test_usable_directions_match_the_published_counts():
    fixed = d.fixed_directions()
    assert rings(d.usable_directions(0, 85, 0.1, fixed)) == {5: 37, 10: 13}
    for lat in (88, 89, 89.9):
        assert rings(d.usable_directions(0, lat, 0.1, fixed)) == {5: 37}


def test_no_usable_direction_at_the_pole_is_an_error():
    with pytest.raises(
        d.NoUsableDirectionError, match=r"arcs\.tolerance = 0\.1.*lon 12, lat 90.*never rises"
    ):
        d.usable_directions(12, 90, 0.1, d.fixed_directions())
    with pytest.raises(d.NoUsableDirectionError, match=r"arcs\.tolerance.*arc of 1\d\d points"):
        d.usable_directions(12, 89.9, 0.01, d.fixed_directions())


def test_draw_stays_in_its_ranges_and_repeats():
    draw = ArcDraw(
        latitude=Range(low=80, high=90), longitude=Range(low=10, high=20), images=Range(low=5, high=9)
    )
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    counts = set()
    for _ in range(100):
        lon, lat, images = d.draw_arc_set(draw, 0.1, rng)
        assert 10 <= lon <= 20 and 80 <= lat <= 90
        assert set(images) <= set(d.usable_directions(lon, lat, 0.1, d.fixed_directions()))
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
