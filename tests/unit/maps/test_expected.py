"""Where the whole Sun is expected to be seen from a window of a map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from map_sites import FACTOR, PIXEL, grid
from pipeline.illumination.directions import vectors
from pipeline.maps.expected import expected_in
from pipeline.maps.ground import SiteGround
from pipeline.maps.layout import Layout
from pipeline.region.windows import Window

SIZE, MARGIN, WINDOW = 64, 32, 32
SUNS = torch.from_numpy(vectors(np.array([90.0, 270.0]), np.array([3.0, 3.0]))).float()


def site(surface: np.ndarray) -> SiteGround:
    layout = Layout(grid().window(0, 0, SIZE, SIZE), 0, 0, SIZE, SIZE, "fine", 0, 0, FACTOR, False)
    inner = surface[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(float)
    cells = np.zeros((SIZE // FACTOR, SIZE // FACTOR))
    return SiteGround(layout, 0, MARGIN, cells, np.nan_to_num(inner), np.isfinite(inner), surface)


def ridge() -> np.ndarray:
    """A ridge along a column in the margin east of the map, 300 m high."""
    surface = np.zeros((SIZE + 2 * MARGIN,) * 2, np.float32)
    surface[:, MARGIN + SIZE + 4 : MARGIN + SIZE + 8] = 300.0
    return surface


def test_terrain_around_the_map_hides_the_sun() -> None:
    seen = expected_in(site(ridge()), Window(16, 32, WINDOW), PIXEL, SUNS)
    assert seen.shape == (2, WINDOW, WINDOW) and seen.dtype == torch.bool
    assert not seen[0].any() and seen[1].all()


def test_a_window_is_what_the_whole_map_shows_there() -> None:
    rng = np.random.default_rng(0)
    surface = (ridge() + rng.normal(0, 8, (SIZE + 2 * MARGIN,) * 2)).astype(np.float32)
    whole = expected_in(site(surface), Window(0, 0, SIZE), PIXEL, SUNS)
    part = expected_in(site(surface), Window(16, 24, WINDOW), PIXEL, SUNS)
    # Curvature is reckoned from the window's own middle.
    assert (part != whole[:, 16 : 16 + WINDOW, 24 : 24 + WINDOW]).float().mean() < 0.01


def test_without_images_or_heights_nothing_is_left_out() -> None:
    ground = site(ridge())
    assert expected_in(ground, Window(0, 0, WINDOW), PIXEL, SUNS[:0]).shape == (0, WINDOW, WINDOW)
    empty = replace(ground, surface=np.full_like(ground.surface, np.nan))
    assert expected_in(empty, Window(0, 0, WINDOW), PIXEL, SUNS).all()
