"""The Sun of one image: directions, positions, and how it is seen from places on the Moon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.illumination.ephemeris import sun_vector
from pipeline.imagery.suns.sun import Sun, checked

LON, LAT = st.floats(-180, 360), st.floats(-90, 90)
DISTANCE = st.sampled_from([math.inf, 1.5e8])


@settings(max_examples=300)
@given(LON, LAT, st.floats(0, 360), st.floats(-89, 89), DISTANCE)
@example(30.0, -90.0, 251.0, 1.3, 1.5e8)
@example(-120.0, 90.0, 10.0, 1.3, math.inf)
@example(59.0, -84.0, 341.9, 6.2, 1.5e8)
@example(3.6, 26.0, 132.0, 52.0, 1.5e8)
def test_a_sun_from_local_angles_is_seen_at_these_angles(lon, lat, azimuth, elevation, distance):
    sun = Sun.from_local(azimuth, elevation, lon, lat, "test", distance)
    seen_azimuth, seen_elevation = sun.seen_from(lon, lat)
    assert seen_elevation == pytest.approx(elevation, abs=1e-6)
    off = (seen_azimuth - azimuth + 180) % 360 - 180
    assert off * math.cos(math.radians(elevation)) == pytest.approx(0, abs=1e-6)


@settings(max_examples=300)
@given(LON, LAT, st.floats(0, 359), st.floats(-1.6, 1.6), DISTANCE)
@example(12.0, -90.0, 77.0, -1.5, 1.5e8)
@example(12.0, 90.0, 77.0, 1.5, math.inf)
def test_the_sub_solar_point_comes_back_from_where_the_sun_stands(lon, lat, sub_lon, sub_lat, distance):
    azimuth, elevation = sun_vector(lon, lat, sub_lon, sub_lat, distance)
    sun = Sun.from_local(float(azimuth), float(elevation), lon, lat, "test", distance)
    assert sun.separation_deg(Sun.from_subsolar(sub_lon, sub_lat, "test")) < 1e-6


def test_the_sun_is_seen_from_many_places_at_once():
    sun = Sun.from_subsolar(41.93, -0.61, "test", 151785545.8)
    lon, lat = np.linspace(0, 300, 7), np.linspace(-90, 90, 5)[:, None]
    azimuth, elevation = sun.seen_from(lon, lat)
    assert azimuth.shape == elevation.shape == (5, 7)
    one = sun.seen_from(lon[3], lat[1, 0])
    assert (azimuth[1, 3], elevation[1, 3]) == pytest.approx(one)
    # At the pole the Sun is as high as the sub-solar point is on that pole's side, less the parallax.
    assert elevation[0] == pytest.approx(0.61 - math.degrees(1737.4 / 151785545.8), abs=1e-6)


def test_a_position_gives_direction_and_distance():
    sun = Sun.from_position(1845629199.4, 150351106527.7, 4036720232.5, "test")
    assert sun.distance_km == pytest.approx(1.504166e8, rel=1e-6)
    assert sun.subsolar == pytest.approx((89.2967, 1.5378), abs=1e-3)
    assert math.hypot(sun.x, sun.y, sun.z) == pytest.approx(1)


def test_small_and_large_separations_are_exact():
    sun = Sun.from_subsolar(10, 0, "test")
    assert sun.separation_deg(Sun.from_subsolar(10 + 1e-8, 0, "test")) == pytest.approx(1e-8, rel=1e-3)
    assert sun.separation_deg(Sun.from_subsolar(190, 0, "test")) == pytest.approx(180)
    assert Sun.from_subsolar(-10, 1, "test").subsolar == pytest.approx((350, 1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sun(1, 1, 0, "test"),
        lambda: Sun(math.nan, 0, 0, "test"),
        lambda: Sun(1, 0, 0, "test", -1),
        lambda: Sun.from_subsolar(math.nan, 0, "test"),
        lambda: Sun.from_subsolar(0, 91, "test"),
        lambda: Sun.from_subsolar(0, math.nan, "test"),
        # Kilometres, a camera, nothing.
        lambda: Sun.from_position(1.8e6, 1.5e8, 4e6, "test"),
        lambda: Sun.from_position(1.8e6, 0, 0, "test"),
        lambda: Sun.from_position(0, 0, 0, "test"),
        lambda: Sun.from_position(math.nan, 0, 0, "test"),
        lambda: Sun.from_local(0, 91, 0, 0, "test"),
        lambda: Sun.from_local(math.inf, 1, 0, 0, "test"),
        lambda: Sun.from_local(0, 1, 0, -91, "test"),
        lambda: checked(Sun.from_subsolar(0, 1.8, "test")),
    ],
)
def test_what_is_no_sun_is_refused(make):
    with pytest.raises(ValueError, match=r"expected .*, found "):
        make()
