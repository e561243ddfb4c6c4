"""Outlines of maps in longitude and latitude hold the same places as the map, at poles and seams too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine
from matplotlib.path import Path as Ring
from raster_files import NORTH, SOUTH

from pipeline.terrain.map_grid import LunarProjection, MapGrid, local_projection, lunar_projection
from pipeline.terrain.outline import outline

PIXEL = 100.0


def grid(
    left: float, top: float, rows: int = 400, cols: int = 300, where: str | LunarProjection = SOUTH
) -> MapGrid:
    projection = lunar_projection(where) if isinstance(where, str) else where
    return MapGrid(projection.wkt_text, Affine(PIXEL, 0, left, 0, -PIXEL, top), cols, rows)


MAPS = {
    "beside the pole": grid(-60_000, -50_000),
    "around the south pole": grid(-10_000, 15_000),
    "around the north pole": grid(-10_000, 15_000, where=NORTH),
    "the pole a pixel inside": grid(-PIXEL, PIXEL),
    "the pole 1 mm inside": grid(-0.001, 15_000),
    "the pole 1 mm outside": grid(0.001, 15_000),
    "a corner on the south pole": grid(0, 0),
    "a corner on the north pole": grid(-30_000, 0, where=NORTH),
    "an edge through the pole": grid(0, 15_000),
    "an edge through the pole, between points": grid(-11_300, 0),
    "an edge through the north pole": grid(-30_000, 17_700, where=NORTH),
    "across 180 deg in the south": grid(-10_000, -40_000),
    "across 180 deg in the north": grid(-10_000, 90_000, where=NORTH),
    "an edge on 180 deg": grid(0, -40_000),
    "the other edge on 180 deg": grid(-30_000, -40_000),
    "across 180 deg at the equator": grid(-15_000, 20_000, where=local_projection(180, 0)),
    "across 0 deg at the equator": grid(-15_000, 20_000, where=local_projection(0.1, 5)),
    "a local map around the pole": grid(-15_000, 20_000, where=local_projection(77, -89.8)),
}


def rings(geometry: dict[str, Any]) -> list[np.ndarray]:
    parts = geometry["coordinates"]
    return [np.array(ring) for part in parts for ring in (part if geometry["type"] != "Polygon" else [part])]


@pytest.mark.parametrize("name", MAPS)
def test_an_outline_holds_the_places_of_the_map(name: str) -> None:
    here = MAPS[name]
    geometry, box = outline(here)
    rng = np.random.default_rng(0)
    row, col = rng.uniform(-200, 600, 4000), rng.uniform(-200, 500, 4000)
    inside = (row > -0.5) & (row < here.height - 0.5) & (col > -0.5) & (col < here.width - 0.5)
    # Away from edges, which are curved between points, by two pixels; 180 deg is an edge in degrees.
    far = np.minimum.reduce(
        [
            np.abs(row + 0.5),
            np.abs(row - here.height + 0.5),
            np.abs(col + 0.5),
            np.abs(col - here.width + 0.5),
        ]
    )
    lon, lat = here.lonlat(row, col)
    clear = (far > 2) & (np.abs(np.abs(lon) - 180) > 1e-6) & (np.abs(lat) < 90 - 1e-6)
    points = np.stack([lon, lat], axis=1)[clear]
    held = np.zeros(len(points), int)
    for ring in rings(geometry):
        held += Ring(ring).contains_points(points)
    np.testing.assert_array_equal(held, inside[clear].astype(int))
    west, south, east, north = box
    within = (lat >= south) & (lat <= north)
    within &= (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
    assert within[clear & inside].all()


@pytest.mark.parametrize("name", MAPS)
def test_rings_are_closed_left_handed_and_within_the_range_of_longitudes(name: str) -> None:
    geometry, box = outline(MAPS[name])
    for ring in rings(geometry):
        assert ring[0].tolist() == ring[-1].tolist()
        assert (np.abs(ring[:, 0]) <= 180).all() and (np.abs(ring[:, 1]) <= 90).all()
        steps = np.diff(ring, axis=0)
        assert (steps != 0).any(axis=1).all()
        x, y = ring[:-1].T
        assert np.sum(x * ring[1:, 1] - ring[1:, 0] * y) > 0
    values = np.concatenate(rings(geometry))
    assert (min(values[:, 1]), max(values[:, 1])) == (box[1], box[3])


@pytest.mark.parametrize(
    ("name", "kind", "box"),
    [
        ("around the south pole", "Polygon", (-180, -90, 180, None)),
        ("around the north pole", "Polygon", (-180, None, 180, 90)),
        ("a corner on the south pole", "Polygon", (90, -90, 180, None)),
        ("an edge through the pole", "Polygon", (0, -90, 180, None)),
        ("across 180 deg in the south", "MultiPolygon", None),
        ("across 180 deg at the equator", "MultiPolygon", None),
        ("an edge on 180 deg", "Polygon", (None, None, 180, None)),
        ("the other edge on 180 deg", "Polygon", (-180, None, None, None)),
    ],
)
def test_the_box_around(name: str, kind: str, box: tuple[float | None, ...] | None) -> None:
    geometry, found = outline(MAPS[name])
    assert geometry["type"] == kind
    if box is None:  # west of it is more than east, as RFC 7946 has it
        assert found[0] > 0 > found[2]
    else:
        assert all(
            value is None or value == pytest.approx(there, abs=1e-6) for value, there in zip(box, found)
        )
