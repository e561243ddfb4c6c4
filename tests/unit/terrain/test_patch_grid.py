"""Where patches may lie: exact positions, the anchor, and the published grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.stages.terrain import TerrainStage
from pipeline.terrain.grid import Grid, Projection
from pipeline.terrain.index import index_terrain, load_terrain
from pipeline.terrain.lattice import Source, Terrain, arrange
from pipeline.terrain.patch_grid import anchor_of, candidates, free_positions


def terrain_of(*grids: Grid) -> Terrain:
    sources = [Source(f"f{i:02}.tif", grid, 0) for i, grid in enumerate(grids)]
    return Terrain(sources, arrange(sources), 20.0)


def grid(height: int, width: int, row: int = 0, col: int = 0, pole: int = -1, pixel: float = 20.0) -> Grid:
    """A grid whose top-left pixel is (row, col) of a lattice that starts at the pole."""
    wkt = Projection(pole, 0.0, 1737400.0, 1.0).wkt()
    return Grid(wkt, Affine(pixel, 0, col * pixel, 0, -pixel, -row * pixel), width, height)


def cap(size: int, pole: int = -1) -> Grid:
    return grid(size, size, -(size // 2), -(size // 2), pole)


box = st.tuples(st.integers(0, 20), st.integers(1, 25), st.integers(0, 20), st.integers(1, 25)).map(
    lambda v: (v[0], v[0] + v[1], v[2], v[2] + v[3])
)


@settings(deadline=None)
@given(boxes=st.lists(box, min_size=1, max_size=5), size=st.integers(1, 9))
def test_free_positions_are_those_of_the_pixel_mask(boxes, size: int) -> None:
    top, left = min(b[0] for b in boxes), min(b[2] for b in boxes)
    boxes = [(a - top, b - top, c - left, d - left) for a, b, c, d in boxes]
    mask = np.zeros((max(b[1] for b in boxes), max(b[3] for b in boxes)), bool)
    for r0, r1, c0, c1 in boxes:
        mask[r0:r1, c0:c1] = True
    found = free_positions(boxes, size)
    count = np.zeros((size, size), int)
    rows, cols = (np.arange(max(0, n - size + 1)) for n in mask.shape)
    if len(rows) and len(cols):
        want = np.array([[mask[r : r + size, c : c + size].all() for c in cols] for r in rows])
        np.testing.assert_array_equal(found.at(rows, cols), want)
        for r, c in np.argwhere(want):
            count[r % size, c % size] += 1
    np.testing.assert_array_equal(found.by_residue(size), count)
    row, col = anchor_of(boxes, size)
    assert count[row, col] == count.max()


def test_published_grid() -> None:
    """315 x 315 patches a pole, idx = column * 315 + row, north 99,225 further on."""
    every = candidates(terrain_of(cap(30400, 1), cap(30400)), 96, 96)
    assert every.anchors == ((80, 80), (80, 80))
    assert len(every) == 2 * 99225 and every.on_grid.all()
    np.testing.assert_array_equal(every.id, np.arange(2 * 99225))
    one = every.id == 99225 + 7 * 315 + 12
    assert (every.site[one], every.col[one], every.row[one]) == (1, 80 + 7 * 96, 80 + 12 * 96)
    # The middle patch is centred on the pole.
    middle = every.id == 157 * 315 + 157
    assert every.row[middle] + 48 == 15200


def test_the_public_codes_grid_counts_from_the_bottom_left_corner() -> None:
    """2 px from the left and the bottom edge; the rows of a column upwards; north 99,225 further on."""
    every = candidates(terrain_of(cap(30400, 1), cap(30400)), 96, 96, "corner")
    assert len(every) == 2 * 99225 and every.on_grid.all()
    np.testing.assert_array_equal(every.id, np.arange(2 * 99225))
    # As its script finds centres: from half a patch and 30 m inside the outermost pixel centres, in metres.
    west, south = -304_000 + 10, -304_000 + 10
    radius = 96 * 20 / 2 + 30
    for index in (0, 314, 315, 7 * 315 + 12, 99224, 99225 + 40_000):
        column, row = divmod(index % 99225, 315)
        x, y = west + radius + 1920 * column, south + radius + 1920 * row
        found = every.id == index
        assert every.site[found] == index // 99225
        assert -304_000 + 20 * (every.col[found] + 48) == x
        assert 304_000 - 20 * (every.row[found] + 48) == y


def test_strided_patches_from_the_corner_contain_the_disjoint_grid() -> None:
    terrain = terrain_of(grid(625, 525), grid(300, 300, 5000, 0))
    whole, half = (candidates(terrain, 96, stride, "corner") for stride in (96, 48))
    assert whole.on_grid.all() and len(whole) == 5 * 4 + 2 * 2
    assert len(half) == 9 * 7 + 3 * 3 and half.on_grid.sum() == len(whole)
    places = set(zip(half.site[half.on_grid], half.row[half.on_grid], half.col[half.on_grid], strict=True))
    assert places == set(zip(whole.site, whole.row, whole.col, strict=True))
    assert (np.diff(half.id) > 0).all()
    assert (whole.row[0], whole.col[0]) == (625 - 2 - 96, 2)
    for (row, col), site in zip(half.anchors, (0, 1), strict=True):
        mine = half.on_grid & (half.site == site)
        assert not ((half.row[mine] - row) % 96).any() and not ((half.col[mine] - col) % 96).any()
    assert len(candidates(terrain_of(grid(195, 500)), 96, 96, "corner")) == 0
    assert len(candidates(terrain_of(grid(196, 500)), 96, 96, "corner")) == 4


@pytest.mark.parametrize("stride", [96, 48])
def test_strides_contain_the_disjoint_grid(stride: int) -> None:
    every = candidates(terrain_of(grid(625, 525)), 96, stride)
    assert every.on_grid.sum() == 6 * 5
    assert len(every) == (6 * 5 if stride == 96 else 11 * 9)
    assert len(np.unique(every.id)) == len(every)
    assert (np.diff(every.id) > 0).all()
    # Margins are even.
    assert every.anchors == ((24, 22),)


def test_a_small_cap_keeps_all_its_patches() -> None:
    """Centring on the pole would cost 15 of 64 patches here, so it is not done."""
    every = candidates(terrain_of(cap(8 * 32)), 32, 32)
    assert len(every) == 64 and every.anchors == ((0, 0),)


def test_terrain_smaller_than_a_patch_has_no_candidates() -> None:
    assert len(candidates(terrain_of(grid(90, 500)), 96, 96)) == 0


def test_a_hole_between_files_takes_no_patch() -> None:
    every = candidates(terrain_of(grid(96, 100), grid(96, 100, 0, 100), grid(96, 96, 0, 196)), 96, 48)
    assert len(every) == 5
    ring = [grid(96, 288), grid(96, 288, 192), grid(288, 96), grid(288, 96, 0, 192)]
    assert len(candidates(terrain_of(*ring), 96, 96)) == 8


def test_tiles_are_contiguous_runs() -> None:
    every = candidates(terrain_of(grid(625, 525), grid(300, 300, 5000, 0)), 96, 48)
    for tiles in (1, 7, 1000):
        parts = [every.id[every.part(t, tiles)] for t in range(tiles)]
        np.testing.assert_array_equal(np.concatenate(parts), every.id)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_real_windows(tmp_path: Path, shared_data: Path) -> None:
    files = sorted((shared_data / "lola_40m").glob("*.tif"))
    index_terrain(files, None, TerrainStage(pixel_m=None), tmp_path / "t.json")
    terrain = load_terrain(tmp_path / "t.json")
    assert len(candidates(terrain, 96, 96)) == 655
    half = candidates(terrain, 96, 48)
    assert (len(half), int(half.on_grid.sum())) == (2368, 655)
