"""Windows of clones blended into whole-map clones, in bands of rows that do not change a byte."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_files import SOUTH

from pipeline.config.maps import MapSection
from pipeline.maps.blend import Clones, smooth_weights
from pipeline.maps.ground import SiteGround
from pipeline.maps.layout import Layout
from pipeline.maps.tiling import tiles
from pipeline.maps.windows import apriori_of, sources_of
from pipeline.region.blend import Mosaic, blend_weights
from pipeline.region.windows import Window, moving_windows
from pipeline.storage.store import StoreWriter
from pipeline.terrain.blocks import block_mean
from pipeline.terrain.map_grid import MapGrid, lunar_projection

ROWS, COLS, SIZE, STRIDE, FACTOR, MEMBERS = 64, 80, 32, 16, 8, 3


def ground(exact: bool = False, rows: int = ROWS, cols: int = COLS, factor: int = FACTOR) -> SiteGround:
    rng = np.random.default_rng(4)
    grid = MapGrid(lunar_projection(SOUTH).wkt_text, Affine(20, 0, 0, 0, -20, 0), cols, rows)
    layout = Layout(grid, 0, 0, rows, cols, "coarse", 0, 0, factor, exact)
    cells = rng.normal(-1500, 100, (rows // factor + 2, cols // factor + 2))
    cells[3, 4] = np.nan
    flat = np.zeros((rows, cols))
    return SiteGround(layout, 1, 8, cells, flat, flat == 0, flat.astype(np.float32))


def drawn(window: Window, members: int = MEMBERS) -> tuple[np.ndarray, float]:
    """A window's clones, of its own noise, and its reference height."""
    rng = np.random.default_rng((window.row, window.col))
    return rng.normal(0, 50, (members, SIZE, SIZE)).astype(np.float32), -1500 + float(rng.normal())


def write(path: Path, windows: list[Window]) -> Path:
    with StoreWriter(path, "clones", {"size_px": SIZE}) as store:
        clones, references = zip(*(drawn(window) for window in windows), strict=True)
        store.write("clones", np.stack(clones), ("window", "member", "y", "x"))
        store.write("row", np.array([w.row for w in windows], np.int32), ("window",))
        store.write("col", np.array([w.col for w in windows], np.int32), ("window",))
        store.write("reference", np.array(references), ("window",))
    return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clones")
    return [write(folder / f"{i}.zip", part) for i, part in enumerate(tiles(ROWS, COLS, SIZE, STRIDE, 32))]


def section(**changes: Any) -> MapSection:
    return MapSection(**{"members": MEMBERS, "blend_px": 12, "blend_sigma_px": 1.5, **changes})


# --- weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 96])
def test_smooth_weights_add_to_one_at_half_a_window(size: int) -> None:
    rows, cols = 3 * size, 2 * size
    total = np.zeros((rows, cols))
    for window in moving_windows(rows, cols, size, size // 2):
        total[window.pixels] += smooth_weights(size, window.border)
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12)


def test_smooth_weights_fall_to_the_inner_border_alone() -> None:
    inner = smooth_weights(96, (False, False, False, False))
    assert inner.max() == pytest.approx(1, abs=1e-3) and 0 < inner.min() < 1e-6
    np.testing.assert_allclose(inner, inner[::-1], atol=1e-15)
    np.testing.assert_allclose(inner, inner.T, atol=1e-15)
    corner = smooth_weights(96, (True, False, False, True))  # top and left on the map's border
    np.testing.assert_array_equal(corner[:48, :48], 1)
    assert corner[0, -1] < 1e-3 and corner[-1, 0] < 1e-3
    np.testing.assert_array_equal(smooth_weights(96, (True,) * 4), np.ones((96, 96)))


# --- clones -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blend", ["smooth", "published"])
def test_clones_are_weighted_means_of_windows_with_the_variance_of_the_windows(
    parts: list[Path], blend: str
) -> None:
    band = Clones(parts, ground(), section(blend=blend), MEMBERS).band(0, ROWS)
    total, clones = np.zeros((ROWS, COLS)), np.zeros((MEMBERS, ROWS, COLS))
    variance = np.zeros((ROWS, COLS))
    for window in moving_windows(ROWS, COLS, SIZE, STRIDE):
        heights, reference = drawn(window)
        if blend == "smooth":
            weight = smooth_weights(SIZE, window.border)
        else:
            weight = blend_weights(SIZE, 12, 1.5, window.border)
        total[window.pixels] += weight
        clones[:, *window.pixels] += weight * (heights.astype(np.float64) + reference)
        variance[window.pixels] += weight * heights.astype(np.float64).var(axis=0)
    clones, variance = clones / total, variance / total
    assert band.apart is None
    if blend == "published":
        np.testing.assert_allclose(band.clones, clones, rtol=0, atol=1e-9)
        return
    mean, found = clones.mean(axis=0), band.clones
    np.testing.assert_allclose(found.mean(axis=0), mean, rtol=0, atol=1e-9)
    factor = (found - mean) / (clones - mean)
    np.testing.assert_allclose(factor, factor[:1].repeat(MEMBERS, axis=0), rtol=1e-5)  # one for all clones
    assert (
        factor.min() > 1 - 1e-9 and factor.max() > 1.5
    )  # four windows of their own noise lie over each other
    assert found.var(axis=0).mean() == pytest.approx(variance.mean(), rel=0.03)


def test_windows_that_agree_are_not_spread_further(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    whole = rng.normal(0, 50, (MEMBERS, ROWS, COLS)).astype(np.float32)
    windows = list(moving_windows(ROWS, COLS, SIZE, STRIDE))
    with StoreWriter(tmp_path / "same.zip", "clones", {"size_px": SIZE}) as store:
        parts = np.stack([whole[:, *w.pixels] for w in windows])
        store.write("clones", parts, ("window", "member", "y", "x"))
        store.write("row", np.array([w.row for w in windows], np.int32), ("window",))
        store.write("col", np.array([w.col for w in windows], np.int32), ("window",))
        store.write("reference", np.zeros(len(windows)), ("window",))
    band = Clones([tmp_path / "same.zip"], ground(), section(), MEMBERS).band(0, ROWS)
    np.testing.assert_allclose(band.clones, whole, rtol=0, atol=1e-9)


def test_the_published_map_is_that_of_regions(parts: list[Path]) -> None:
    """Mean, clones and standard deviation of `Mosaic`, which adds windows one after the other."""
    mosaic = Mosaic(ROWS, COLS, MEMBERS, lambda w: blend_weights(SIZE, 12, 1.5, w.border))
    for window in moving_windows(ROWS, COLS, SIZE, STRIDE):
        heights, reference = drawn(window)
        mosaic.add(window, heights.astype(np.float64) + reference)
    band = Clones(parts, ground(), section(blend="published", std="published"), MEMBERS).band(0, ROWS)
    np.testing.assert_allclose(band.clones, mosaic.clones, rtol=0, atol=1e-9)
    assert band.apart is not None
    np.testing.assert_allclose(band.apart, mosaic.std(), rtol=1e-9)


@pytest.mark.parametrize("std", ["clones", "published"])
@pytest.mark.parametrize("exact", [False, True])
def test_bands_and_tiles_do_not_change_a_byte(
    parts: list[Path], tmp_path: Path, std: str, exact: bool
) -> None:
    how = section(std=std)
    whole = Clones(parts, ground(exact), how, MEMBERS).band(0, ROWS)
    one_tile = write(tmp_path / "all.zip", moving_windows(ROWS, COLS, SIZE, STRIDE)[::-1])
    other = Clones([one_tile], ground(exact), how, MEMBERS)
    for edges in ([0, 8, 64], [0, 24, 40, 64], list(range(0, 65, 8))):
        bands = [other.band(a, b) for a, b in pairwise(edges)]
        assert np.concatenate([b.clones for b in bands], axis=1).tobytes() == whole.clones.tobytes()
        if std == "published":
            joined = np.concatenate([b.apart for b in bands if b.apart is not None])
            assert whole.apart is not None and joined.tobytes() == whole.apart.tobytes()


def test_exact_cells_are_kept_and_cell_borders_stay(parts: list[Path]) -> None:
    kinds = (Clones(parts, ground(kind), section(), MEMBERS) for kind in (True, False))
    exact, free = (clones.band(0, ROWS).clones for clones in kinds)
    cells = ground().cells[1:-1, 1:-1]
    known = np.isfinite(cells)
    assert known.sum() == cells.size - 1
    means = block_mean(exact, FACTOR)
    assert np.abs(means - cells)[:, known].max() < 1e-9
    # A cell without a mean is left; what is added elsewhere has its peak inside the cell.
    np.testing.assert_array_equal(exact[:, 16:24, 24:32], free[:, 16:24, 24:32])
    added = (exact - free)[0, :8, :8]
    assert abs(added[0, 0]) < 0.01 * np.abs(added).max() and np.abs(added).argmax() in (27, 28, 35, 36)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_exact_cells_are_kept_whatever_their_size(parts: list[Path], factor: int) -> None:
    here = ground(True, factor=factor)
    means = block_mean(Clones(parts, here, section(), MEMBERS).band(0, ROWS).clones, factor)
    cells = here.cells[1:-1, 1:-1]
    known = np.isfinite(cells)
    assert known.sum() == cells.size - 1
    np.testing.assert_allclose(
        means[:, known], np.broadcast_to(cells[known], (MEMBERS, known.sum())), atol=1e-9
    )


def test_gaps_are_refused(tmp_path: Path) -> None:
    windows = [w for w in moving_windows(ROWS, COLS, SIZE, SIZE) if (w.row, w.col) != (32, 32)]
    clones = Clones([write(tmp_path / "some.zip", windows)], ground(), section(), MEMBERS)
    assert clones.band(0, 32).clones.shape == (MEMBERS, 32, COLS)
    with pytest.raises(ValueError, match="rows 32 to 64: expected windows over the whole map, found gaps"):
        clones.band(32, 64)


def test_bands_bound_the_memory_in_whole_cells(parts: list[Path]) -> None:
    class Wide(Clones):
        def __init__(self, cols: int, members: int) -> None:
            super().__init__([], ground(), section(), members)
            self.cols = cols

    assert Wide(2_000, 16).band_rows == 128  # 2^22 / 32000 = 131, whole cells of 8
    assert Wide(10**7, 16).band_rows == 4 * FACTOR


# --- tiles ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(32, 200), cols=st.integers(32, 200), stride=st.integers(4, 32), tile=st.integers(1, 300)
)
def test_tiles_are_a_partition_of_the_windows(rows: int, cols: int, stride: int, tile: int) -> None:
    parts = tiles(rows, cols, SIZE, stride, tile)
    together = [window for part in parts for window in part]
    key = lambda w: (w.row, w.col)  # noqa: E731
    assert sorted(together, key=key) == moving_windows(rows, cols, SIZE, stride)
    for part in parts:
        assert part and len({(w.row // tile, w.col // tile) for w in part}) == 1


def test_windows_of_a_map_share_its_noise_and_others_have_their_own() -> None:
    window = Window(16, 48, SIZE)
    (source,) = sources_of(section(seed=5), window)
    assert vars(source) == {"seed": 5, "row": 16, "col": 48, "size": SIZE}
    own = [sources_of(section(seed=5, noise="window"), w)[0] for w in (window, window, Window(16, 49, SIZE))]
    states = [generator.get_state().tolist() for generator in own]
    assert states[0] == states[1] != states[2]


def test_the_a_priori_dem_holds_missing_cells_at_the_nearest() -> None:
    found = apriori_of(ground())
    assert np.isfinite(found.cells).all()
    cells = ground().cells
    assert found.cells[3, 4] in (cells[2, 4], cells[4, 4], cells[3, 3], cells[3, 5])
    np.testing.assert_array_equal(found.window_cells(8, 16, SIZE, 1), found.cells[1:7, 2:8])
