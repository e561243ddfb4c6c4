"""Where azimuths count from: the published clockwise from map-up, by rules of this file alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.config.arcs import ArcDraw
from pipeline.config.illumination import IlluminationSection
from pipeline.illumination import directions as d
from pipeline.illumination.trace import trace_patch
from pipeline.shards.scene import ArcScene

PUBLISHED = [(a, e) for e in (5, 10, 20, 30) for a in range(0, 360, 5)]
PUBLISHED += [(a, e) for e, step in ((45, 10), (60, 20), (75, 30), (85, 60)) for a in range(0, 360, step)]


def compass(azimuth: float, elevation: float) -> list[float]:
    """Right, up on the map and zenith components of a compass bearing: 0 up, 90 right, 180 down, 270 left."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return [np.cos(e) * np.sin(a), np.cos(e) * np.cos(a), np.sin(e)]


def test_published_azimuths_are_compass_bearings_on_the_map() -> None:
    expected = np.array([compass(a, e) for a, e in PUBLISHED])
    np.testing.assert_allclose(d.fixed_directions("up"), expected, atol=1e-12)
    right = {tuple(v) for v in d.fixed_directions("right").round(6) + 0.0}
    others = [i for i, v in enumerate(expected.round(6) + 0.0) if tuple(v) not in right]
    assert len(others) == 24
    assert {PUBLISHED[i][1] for i in others} == {60, 85}


def test_fibonacci_azimuths_are_too() -> None:
    sun, _ = d.fibonacci_directions(30, 0.0, np.random.default_rng(0), "up")
    turn = [360 * (i * (np.sqrt(5) - 1) / 2 % 1) for i in range(30)]
    height = [np.degrees(np.arcsin(1 - i / 30)) for i in range(30)]
    np.testing.assert_allclose(sun, [compass(a, e) for a, e in zip(turn, height, strict=True)], atol=1e-9)


@pytest.mark.parametrize(("azimuth", "lit"), [("up", [False, True, True]), ("right", [True, True, False])])
def test_a_wall_tells_where_the_first_sun_stands(azimuth: Any, lit: list[bool]) -> None:
    """Ground below a wall along the map's upper edge is dark under a Sun in the up direction alone."""
    dem = np.zeros((16, 16), np.float32)
    dem[:2] = 200.0
    light = IlluminationSection(azimuth=azimuth, fibonacci=1)
    found = trace_patch(dem, 20.0, (0, 0, 16, 16), 0, light)
    bits = np.unpackbits(found.values, axis=-1, count=16).astype(bool)
    # Elevation 5 degrees, the numbers 0, 180 and 90 as azimuths.
    assert [bool(bits[k, 8, 8]) for k in (0, 36, 18)] == lit


@pytest.mark.parametrize(("lon", "lat"), [(0, 85), (33, 60), (90, 10), (214.5, 40), (300, 80)])
def test_the_published_choice_is_that_of_a_longitude_90_degrees_on(lon: float, lat: float) -> None:
    """Its arcs take the azimuths counter-clockwise from x, and turn by minus the longitude."""
    a = np.radians(np.arange(360))
    x, y, z = np.cos(a), np.sin(a) * np.sin(np.radians(lat)), -np.sin(a) * np.cos(np.radians(lat))
    turn = np.radians(lon)
    path = np.stack([x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn), z], axis=1)
    azimuth, elevation = np.radians(np.array(PUBLISHED, dtype=float)).T
    lattice = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=1
    )
    distance = np.linalg.norm(lattice[:, None] - path[None, z > 1e-12], axis=2).min(axis=1)
    ours = d.near_suns(d.sun_arc(lon - 90, lat), 0.1, d.fixed_directions("up"))
    assert len(ours)
    np.testing.assert_array_equal(ours, np.flatnonzero(distance < 0.1))


@pytest.mark.parametrize("azimuth", ["up", "right"])
def test_training_sets_follow_the_directions_of_the_shard(azimuth: Any) -> None:
    every = np.ones(360, bool)
    shard: Any = SimpleNamespace(
        fixed_suns=d.fixed_directions(azimuth).astype(np.float32), lit_any=lambda group, patch: every
    )
    scene = ArcScene(ArcDraw.model_validate({"latitude": 12, "longitude": 70, "images": 400}), 0.1)
    suns = scene.image_set(shard, 0, np.random.default_rng(0)).suns
    arc = d.sun_arc(70, 12)
    assert max(np.linalg.norm(arc - sun, axis=1).min() for sun in suns) < 0.1 + 1e-6
    assert suns[:, 2].max() > 0.8  # the rings that differ are among them


def test_stored_directions_are_known_to_the_last_digit() -> None:
    for azimuth in d.AZIMUTHS:
        exact = d.fixed_directions(azimuth)
        np.testing.assert_array_equal(d.exact_directions(exact.astype(np.float32)), exact)
    with pytest.raises(ValueError, match=r"fixed/sun: expected the fixed directions, .* found 360 others"):
        d.exact_directions(-d.fixed_directions())
