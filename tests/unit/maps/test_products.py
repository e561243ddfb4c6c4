"""What is written of a map: statistics of known clones, slopes of planes, and what decides a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from raster_files import SOUTH

from pipeline.config.maps import MapSection
from pipeline.maps.blend import Clones
from pipeline.maps.ground import SiteGround
from pipeline.maps.layout import Layout
from pipeline.maps.products import (
    APRIORI,
    IMAGES,
    KINDS,
    MIXED,
    NOTHING,
    Fallback,
    Light,
    slope_deg,
    write_rasters,
)
from pipeline.region.windows import moving_windows
from pipeline.storage.store import StoreWriter
from pipeline.terrain.map_grid import MapGrid, lunar_projection

ROWS, COLS, SIZE, FACTOR, MEMBERS = 64, 48, 32, 8, 4
ROW, COL, HEIGHT, WIDTH = 3, 5, 50, 40  # the map that was asked for
HERE = np.s_[ROW : ROW + HEIGHT, COL : COL + WIDTH]


@pytest.mark.parametrize(("right", "down"), [(0.3, 0.0), (0.0, -0.2), (0.3, 0.4)])
def test_the_slope_of_a_plane(right: float, down: float) -> None:
    y, x = np.mgrid[:9, :12] * 5.0
    np.testing.assert_allclose(
        slope_deg(right * x + down * y, 5.0), np.degrees(np.arctan(np.hypot(right, down))), rtol=1e-12
    )


def terrain(members: int = MEMBERS) -> np.ndarray:
    """Whole-map clones: tilted planes."""
    y, x = np.mgrid[:ROWS, :COLS] * 20.0
    slopes = np.linspace(0.1, 0.4, members)[:, None, None]
    return (slopes * x - 0.1 * y - 1000).astype(np.float32)


def ground(exact_cells: bool = False) -> SiteGround:
    grid = MapGrid(lunar_projection(SOUTH).wkt_text, Affine(20, 0, 0, 0, -20, 0), COLS, ROWS)
    layout = Layout(grid, ROW, COL, HEIGHT, WIDTH, "fine", 0, 0, FACTOR, exact_cells)
    dem = np.random.default_rng(0).normal(-900, 10, (ROWS, COLS))
    known = np.ones((ROWS, COLS), bool)
    known[20:30, 10:14] = False
    cells = dem.reshape(8, FACTOR, 6, FACTOR).mean(axis=(1, 3))
    return SiteGround(layout, 0, 0, cells, dem, known, dem.astype(np.float32))


def light() -> Light:
    lit, gap = np.full((ROWS, COLS), 5, np.int32), np.full((ROWS, COLS), 90, np.float32)
    lit[:, 20:24], gap[:, 20:24] = 0, np.nan
    lit[:, 24:28] = 2
    gap[:, 28:32] = 271
    gap[:, 32:36] = 270
    return Light(lit, gap)


def made(
    folder: Path,
    fallback: Fallback | None = None,
    apart_m: float = 0.0,
    bend: float = 0.0,
    exact_cells: bool = False,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """All rasters of a map, by name; every second window lies `apart_m` higher, all are bent."""
    section = MapSection(**{"members": MEMBERS, "steep_deg": 15.0, **changes})
    whole = terrain() + np.float32(bend) * np.arange(ROWS, dtype=np.float32)[:, None] ** 2
    windows = moving_windows(ROWS, COLS, SIZE, SIZE // 2)
    with StoreWriter(folder / "clones.zip", "clones", {"size_px": SIZE}) as store:
        stack = np.stack(
            [whole[:, *w.pixels] + np.float32(1000 + apart_m * (i % 2)) for i, w in enumerate(windows)]
        )
        store.write("clones", stack, ("window", "member", "y", "x"))
        store.write("row", np.array([w.row for w in windows], np.int32), ("window",))
        store.write("col", np.array([w.col for w in windows], np.int32), ("window",))
        store.write("reference", np.full(len(windows), -1000.0), ("window",))
    paths = {name: str(folder / f"{name}.tif") for name in KINDS}
    site = ground(exact_cells)
    clones = Clones([folder / "clones.zip"], site, section, MEMBERS)
    write_rasters(paths, clones, site, light(), section, {}, fallback)
    out = {}
    for name, path in paths.items():
        with rasterio.open(path) as file:
            out[name] = file.read() if name == "clones" else file.read(1)
            assert file.transform == ground().layout.region.transform
    return out


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return made(tmp_path_factory.mktemp("map"))


KNOWN = ground().known[HERE]


def test_mean_and_std_are_those_of_the_clones(maps: dict[str, np.ndarray]) -> None:
    whole = terrain().astype(np.float64)[:, *HERE]
    np.testing.assert_allclose(maps["clones"][:, KNOWN], whole[:, KNOWN], atol=1e-3)
    np.testing.assert_allclose(maps["mean"][KNOWN], whole.mean(axis=0)[KNOWN], atol=1e-3)
    np.testing.assert_allclose(maps["std"][KNOWN], whole.std(axis=0, ddof=1)[KNOWN], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(maps["prior"][KNOWN], ground().dem[HERE][KNOWN], atol=1e-3)


def test_what_the_dem_does_not_know_has_no_data(maps: dict[str, np.ndarray]) -> None:
    for name, values in maps.items():
        if name == "lit":
            np.testing.assert_array_equal(values, light().lit[HERE])
        elif name == "class":
            np.testing.assert_array_equal(values == NOTHING, ~KNOWN)
        elif name != "azimuth_gap":
            np.testing.assert_array_equal(
                np.isnan(values), np.broadcast_to(~KNOWN, values.shape), err_msg=name
            )


def test_slopes_are_those_of_the_ground(maps: dict[str, np.ndarray]) -> None:
    """Of clones that are planes: everywhere the same, but for the map's scale, which is 1 near the pole."""
    each = np.degrees(np.arctan(np.hypot(np.linspace(0.1, 0.4, MEMBERS), 0.1)))
    mean = np.degrees(np.arctan(np.hypot(0.25, 0.1)))
    np.testing.assert_allclose(maps["slope"][KNOWN], mean, atol=0.01)
    np.testing.assert_allclose(maps["slope_std"][KNOWN], each.std(ddof=1), atol=0.01)
    np.testing.assert_allclose(maps["steep"][KNOWN], (each > 15).mean(), atol=1e-6)
    assert 0 < (each > 15).mean() < 1


def test_what_decides_a_pixel(maps: dict[str, np.ndarray]) -> None:
    """Three images from directions that leave no gap above 270 degrees; any image; none."""
    expected = np.full((ROWS, COLS), IMAGES)
    expected[:, 20:24] = APRIORI
    expected[:, 24:32] = MIXED
    np.testing.assert_array_equal(maps["class"][KNOWN], expected[HERE][KNOWN])
    gap = light().gap[HERE]
    np.testing.assert_array_equal(maps["azimuth_gap"][KNOWN], gap[KNOWN])


def test_bands_of_rows_do_not_change_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of terrain whose slope changes from row to row: at a band's edge it needs the rows beyond."""
    folders = [tmp_path / name for name in ("whole", "bands")]
    for folder in folders:
        folder.mkdir()
    whole = made(folders[0], bend=0.2)
    monkeypatch.setattr("pipeline.maps.blend._BAND_VALUES", MEMBERS * COLS * FACTOR)
    for name, values in made(folders[1], bend=0.2).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-5, atol=1e-3, err_msg=name)


def test_the_fallback_is_the_a_priori_dem_with_its_own_uncertainty(tmp_path: Path) -> None:
    share, sigma = np.zeros((ROWS, COLS), np.float32), np.full((ROWS, COLS), 3.0, np.float32)
    share[:16], share[16:24] = 1, 0.25
    fallback = Fallback(share, sigma, seed=5)
    draws = fallback.draws(MEMBERS, (0, ROWS))
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_array_equal(fallback.draws(MEMBERS, (8, 24)), draws[:, 8:24])
    found = made(tmp_path, fallback)
    apriori = ground().dem + draws
    expected = ((1 - share) * terrain().astype(np.float64) + share * apriori)[:, *HERE]
    np.testing.assert_allclose(found["mean"][KNOWN], expected.mean(axis=0)[KNOWN], atol=1e-3)
    np.testing.assert_allclose(found["std"][KNOWN], expected.std(axis=0, ddof=1)[KNOWN], rtol=1e-4, atol=1e-4)
    decided = found["class"]
    assert (decided[: 16 - ROW][KNOWN[: 16 - ROW]] == APRIORI).all()
    mixed = decided[16 - ROW : 24 - ROW]
    assert set(np.unique(mixed)) == {NOTHING, MIXED, APRIORI}


def test_a_map_with_exact_cells_keeps_them_under_the_fallback(tmp_path: Path) -> None:
    """Also where the share of the a priori DEM varies within a cell."""
    share = np.clip(np.linspace(1.5, -0.5, ROWS, dtype=np.float32), 0, 1)[:, None].repeat(COLS, axis=1)
    fallback = Fallback(share, np.full((ROWS, COLS), 3.0, np.float32), seed=5)
    found = made(tmp_path, fallback, exact_cells=True)
    whole = np.s_[8 - ROW : 48 - ROW, 16 - COL : 40 - COL]  # whole cells with data
    means = found["mean"][whole].reshape(5, FACTOR, 3, FACTOR).mean(axis=(1, 3))
    np.testing.assert_allclose(means, ground().cells[1:6, 2:5], rtol=0, atol=1e-3)
    apriori = share[HERE][whole] == 1
    np.testing.assert_allclose(found["mean"][whole][apriori], found["prior"][whole][apriori], atol=1e-3)


def test_draws_of_the_a_priori_dem_have_its_uncertainty() -> None:
    """Smooth over half a cell, of standard deviation `sigma`."""
    shape = 192, 192
    sigma = np.full(shape, 2.0, np.float32)
    draws = Fallback(np.ones(shape, np.float32), sigma, seed=1).draws(64, (0, 192))
    # Away from the map's borders, where mirrored noise varies more; over some 100 independent places.
    inner = draws.std(axis=0, ddof=1)[16:-16, 16:-16]
    assert np.sqrt((inner**2).mean()) == pytest.approx(2.0, rel=0.06)
    steps = np.diff(draws, axis=2)
    assert steps.std() < 0.3 * draws.std()


def test_the_published_std_counts_windows_that_disagree(tmp_path: Path) -> None:
    section = MapSection(members=MEMBERS, std="published")
    found = made(tmp_path, apart_m=30.0, std="published")["std"]
    clones = Clones([tmp_path / "clones.zip"], ground(), section, MEMBERS).band(0, ROWS)
    assert clones.apart is not None
    np.testing.assert_allclose(found[KNOWN], clones.apart[HERE][KNOWN], rtol=1e-4)
    (tmp_path / "same").mkdir()
    same = made(tmp_path / "same", apart_m=0.0, std="published")["std"]
    assert (found >= same * 0.999)[KNOWN].all() and np.nanmax(found - same) > 1
