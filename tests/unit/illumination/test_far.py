"""Far terrain: block means of the whole terrain, and the shadows they cast into a patch by both engines."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plan_table import resolved
from raster_files import NORTH, cut, relief, write_tif
from scipy import ndimage
from shard_files import make_selected

from pipeline.config.illumination import IlluminationSection
from pipeline.config.root import ConfigError, load_config
from pipeline.config.stages.terrain import PatchesStage, TerrainStage
from pipeline.illumination.directions import fixed_directions, vectors
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.far import FarDem, FarTerrain, far_mesh
from pipeline.illumination.far_blocks import write_far
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.trace import trace_tile
from pipeline.provenance.plan import Plan
from pipeline.storage.store import open_store, read_store
from pipeline.terrain.extract import extract_tile
from pipeline.terrain.index import index_terrain

ENGINES = [EmbreeVisibility, HorizonVisibility]
PIXEL, MOON_M = 20.0, 1_737_400.0
SIZE, HALO, PATCH = 20, 32, 24
INNER = (HALO, HALO, PATCH, PATCH)
NEAR = (PATCH + 2 * HALO,) * 2
CENTRE = HALO + (PATCH - 1) / 2


def hills(side: int, seed: int, relief_m: float = 60.0) -> np.ndarray:
    """Random terrain with hills at several scales, m."""
    rng = np.random.default_rng(seed)
    noise = (ndimage.gaussian_filter(rng.normal(size=(side, side)), s) * s**1.6 for s in (1.5, 4, 12, 40))
    return relief_m * sum(noise)


def blocks(dem: np.ndarray, cell: int, row: int, col: int, halo: int = HALO) -> FarTerrain:
    """All of a DEM as far terrain of the patch whose first pixel is (row, col)."""
    high, wide = (n // cell for n in dem.shape)
    z = dem[: high * cell, : wide * cell].reshape(high, cell, wide, cell).mean(axis=(1, 3))
    return FarTerrain(z, cell, (cell - 1) / 2 - (row - halo), (cell - 1) / 2 - (col - halo))


def window(dem: np.ndarray, row: int, col: int, size: int = PATCH, halo: int = HALO) -> np.ndarray:
    return dem[row - halo : row + size + halo, col - halo : col + size + halo]


@pytest.mark.parametrize("engine", ENGINES)
def test_where_the_fine_terrain_ends_within_the_halo_the_far_terrain_casts_its_shadows(engine) -> None:
    """A ramp that rises to the right is the same surface at both resolutions: no pixel may see the Sun."""
    _, x = np.mgrid[: NEAR[0], : NEAR[1]].astype(float)
    slope = np.tan(np.radians(10.0))
    ramp = np.where(x > CENTRE + PATCH, slope * PIXEL * (x - CENTRE - PATCH), 0.0)
    side = 2 * NEAR[0]
    coarse = np.maximum(slope * PIXEL * (np.arange(side) - NEAR[0] // 2 - CENTRE - PATCH), 0.0)
    far = blocks(np.tile(coarse, (side, 1)), 16, *(NEAR[0] // 2 + HALO,) * 2)
    sun = vectors(90.0, 5.0)
    whole = engine(ramp, PIXEL, INNER, False, far).lit(sun)
    assert not whole.any()
    cut = ramp.copy()
    cut[:, HALO + PATCH + 4 :] = np.nan
    assert not engine(cut, PIXEL, INNER, False, far).lit(sun).any()
    assert engine(cut, PIXEL, INNER, False, None).lit(sun).any()
    # What the far terrain does not know either casts no shadow, and the patch's own holes stay dark.
    unknown = replace(far, z=np.full_like(far.z, np.nan))
    assert engine(cut, PIXEL, INNER, False, unknown).lit(sun).any()
    cut[HALO + 3, HALO + 3] = np.nan
    assert not engine(cut, PIXEL, INNER, False, far).lit(vectors(270.0, 60.0))[0, 3, 3]


# --- a mountain alone -------------------------------------------------------------------------------------


def lone(height: float, away_px: int, steps: tuple[int, int], cell: int = 16) -> FarTerrain:
    """Flat coarse terrain but for a vertex `away_px` from the patch's pixel (8, 8), `steps` (down, right)."""
    reach = 2 * (away_px // cell + 4) + 1
    z = np.zeros((reach, reach))
    middle = reach // 2
    place = [HALO + 8 + s * away_px - cell * (middle + s * (away_px // cell)) for s in steps]
    z[middle + steps[0] * (away_px // cell), middle + steps[1] * (away_px // cell)] = height
    return FarTerrain(z, cell, *map(float, place))


def drop(px: np.ndarray | float) -> Any:
    """How far the Moon's surface falls below the tangent plane, m."""
    return (np.asarray(px) * PIXEL) ** 2 / (2 * MOON_M)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("curvature", [False, True])
@pytest.mark.parametrize("azimuth", [90.0, 0.0, 135.0])
def test_a_lone_mountain_casts_the_shadow_of_plane_trigonometry(engine, curvature, azimuth) -> None:
    """1500 m, 1504 pixels (30 km, or 42.5 km along a diagonal) away: its shadow ends at height / tangent."""
    height, away = 1500.0, 1504
    steps = (round(-np.cos(np.radians(azimuth))), round(np.sin(np.radians(azimuth))))
    far = lone(height, away, steps)
    visibility = engine(np.zeros(NEAR, np.float32), PIXEL, INNER, curvature, far)
    along = np.arange(-8, PATCH - 8)  # pixels from (8, 8) along the row, column or diagonal of the mountain
    line = tuple(8 + (np.arange(PATCH) - 8) * abs(s) for s in steps)
    ahead = along * (steps[0] or steps[1])
    stretch = np.hypot(*steps)
    way = (away - ahead) * stretch * PIXEL
    row, col = (HALO + 8 + s * np.asarray(away) - CENTRE for s in steps)
    top = height - (drop(np.hypot(row, col)) if curvature else 0)
    here = [a - CENTRE + HALO for a in line]
    ground = -(drop(np.hypot(*here)) if curvature else np.zeros(PATCH))
    tangent = (top - ground) / way
    if curvature:
        assert 259 < height - top < 530  # 259 m at 30 km
    # The Sun stands so that the shadow's edge lies between two pixels of the line.
    for edge in (3, 11, 20):
        order = np.argsort(way)
        sun = (tangent[order[edge]] + tangent[order[edge + 1]]) / 2
        lit = visibility.lit(vectors(azimuth, np.degrees(np.arctan(sun))))[0]
        np.testing.assert_array_equal(lit[line], tangent < sun)
        assert (~lit[line]).sum() == edge + 1
        # Beyond the flanks (a cell to each side) there is no shadow.
        y, x = np.mgrid[:PATCH, :PATCH] - 8
        across = abs(x * steps[0] - y * steps[1]) / stretch
        assert lit[across > 16].all()


@pytest.mark.parametrize("engine", ENGINES)
def test_curvature_takes_260_m_off_a_ridge_at_30_km(engine) -> None:
    """A wall 400 m high all along the east: 141 m are left above the tangent plane."""
    far = lone(0.0, 1504, (0, 1))
    far.z[:, far.z.shape[1] // 2 + 94 :] = 400.0
    suns = vectors(90.0, np.degrees(np.arctan([100 / 30e3, 135 / 30e3, 147 / 30e3, 300 / 30e3, 450 / 30e3])))
    flat = engine(np.zeros(NEAR), PIXEL, INNER, False, far).lit(suns)[:, 8, 8]
    bent = engine(np.zeros(NEAR), PIXEL, INNER, True, far).lit(suns)[:, 8, 8]
    assert flat.tolist() == [False, False, False, False, True]
    assert bent.tolist() == [False, False, True, True, True]


def test_the_mesh_falls_by_d2_over_2r() -> None:
    far = lone(0.0, 1504, (0, 1))
    mesh = far_mesh(far, NEAR, INNER, PIXEL, curvature=True)
    assert mesh is not None
    km30 = int(np.argmin(abs(mesh.cols - CENTRE - 1500)))
    middle = int(np.argmin(abs(mesh.rows - CENTRE)))
    off = np.hypot(mesh.cols[km30] - CENTRE, mesh.rows[middle] - CENTRE)
    assert mesh.z[middle, km30] == pytest.approx(-drop(off)) == pytest.approx(-259, abs=2)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("limb_darkening", [0.0, 0.6])
def test_a_far_ridge_hides_part_of_the_disc(engine, limb_darkening) -> None:
    """A level horizon at 2 degrees: the share is what a flat horizon hides of a disc centred above it."""
    far = lone(0.0, 1504, (0, 1))
    far.z[:, far.z.shape[1] // 2 + 94 :] = 1504 * PIXEL * np.tan(np.radians(2.0))
    offsets = np.array([-1.2, -0.6, 0.0, 0.4, 0.9, 1.3])
    suns = vectors(90.0, 2.0 + offsets * 0.5)
    share = engine(np.zeros(NEAR), PIXEL, INNER, False, far).share(suns, 1.0, limb_darkening)[:, 8, 8]
    y, x = (np.mgrid[:800, :800] + 0.5) / 400 - 1
    light = np.where(x**2 + y**2 < 1, 1 - limb_darkening * (1 - np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))), 0)
    expected = [(light * (y > -o)).sum() / light.sum() for o in offsets]
    np.testing.assert_allclose(share, expected, atol=2e-3 if engine is HorizonVisibility else 2 / 32)
    assert (engine(np.zeros(NEAR), PIXEL, INNER).share(suns, 1.0, limb_darkening) == 1).all()


# --- the surface ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_cells_inside_the_fine_terrain_are_left_out_and_others_are_not(engine) -> None:
    sun = vectors(np.arange(0, 360, 10.0), 4.0)
    near = np.zeros(NEAR, np.float32)
    far = FarTerrain(np.zeros((20, 20)), 16, CENTRE - 152.0, CENTRE - 152.0)
    inside = np.logical_and.outer(
        (far.rows > 0) & (far.rows < NEAR[0] - 1), (far.cols > 0) & (far.cols < NEAR[1] - 1)
    )
    # Vertices of which every cell lies inside: whatever they say, the fine terrain is what counts.
    deep = ndimage.binary_erosion(inside, np.ones((3, 3)))
    assert deep.any()
    far.z[deep] = 1e4
    assert engine(near, PIXEL, INNER, False, far).lit(sun).all()
    far.z[inside & ~deep] = 1e4
    assert not engine(near, PIXEL, INNER, False, far).lit(sun).any()


@pytest.mark.parametrize("engine", ENGINES)
def test_ground_is_solid_and_absent_terrain_casts_no_shadow(engine) -> None:
    near, far = np.zeros(NEAR, np.float32), lone(0.0, 480, (0, 1))
    east = far.cols > CENTRE + 300
    far.z[:, east] = 800.0
    sun = vectors(90.0, 3.0)
    assert not engine(near, PIXEL, INNER, False, far).lit(sun).any()
    # A plateau that begins at a gap: rays that would slip under it end at its wall.
    far.z[:, ~east] = np.nan
    assert not engine(near, PIXEL, INNER, False, far).lit(sun).any()
    assert engine(near, PIXEL, INNER, False, far).lit(vectors(270.0, 3.0)).all()
    far.z[:] = np.nan
    assert engine(near, PIXEL, INNER, False, far).lit(sun).all()


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cell=st.integers(5, 16),
    shift=st.tuples(st.floats(-8, 8), st.floats(-8, 8)),
    curvature=st.booleans(),
    holes=st.booleans(),
)
@example(seed=0, cell=5, shift=(0.0, 0.0), curvature=False, holes=True)
@example(seed=0, cell=5, shift=(0.0, 0.0), curvature=False, holes=False)
def test_the_engines_agree_on_hills(seed, cell, shift, curvature, holes) -> None:
    """Any cell, any place of the vertices, holes, and no terrain of one kind hidden by the other's lack."""
    rng = np.random.default_rng(seed)
    dem = hills(320, seed % 1000)
    row, col = rng.integers(HALO, 320 - HALO - PATCH, 2)
    far = blocks(dem, cell, int(row), int(col))
    far = FarTerrain(far.z * 2, cell, far.row + shift[0], far.col + shift[1])
    if holes:
        # A ray exactly in the plane of a border edge may pass it in one engine and not in the other.
        far = replace(far, row=far.row + 0.137, col=far.col + 0.071)
        far.z[rng.random(far.z.shape) < 0.1] = np.nan
    near = window(dem, int(row), int(col))
    sun = np.concatenate([fixed_directions()[::3], vectors(rng.uniform(0, 360, 60), 1.5)])
    traced = EmbreeVisibility(near, PIXEL, INNER, curvature, far).lit(sun)
    horizon = HorizonVisibility(near, PIXEL, INNER, curvature, far).lit(sun)
    assert (traced == horizon).mean() >= 0.9999
    for engine, lit in zip(ENGINES, (traced, horizon), strict=True):
        alone = engine(near, PIXEL, INNER, curvature).lit(sun)
        assert not (lit & ~alone).any()


def test_coarse_surroundings_stand_in_for_fine_ones() -> None:
    """Most of what the halo alone gets wrong at a low Sun is put right, at hardly any false shadow."""
    dem = hills(512, 5, relief_m=90.0)
    row, col = 250, 240
    far, near = blocks(dem, 16, row, col), window(dem, row, col)
    sun = vectors(np.arange(0, 360, 7.5), 4.0)
    truth = HorizonVisibility(dem, PIXEL, (row, col, PATCH, PATCH)).lit(sun)
    alone = HorizonVisibility(near, PIXEL, INNER).lit(sun)
    helped = HorizonVisibility(near, PIXEL, INNER, False, far).lit(sun)
    assert (alone != truth).mean() > 0.02
    assert (helped != truth).mean() < 0.2 * (alone != truth).mean()
    assert (truth & ~helped).mean() < 2e-3


def test_the_far_horizon_is_the_same_in_any_company() -> None:
    dem = hills(320, 8)
    visibility = HorizonVisibility(window(dem, 150, 140), PIXEL, INNER, True, blocks(dem, 16, 150, 140))
    sun = np.concatenate([fixed_directions(), vectors([10, 10.5], [1.0, 0.5])])
    together = visibility.lit(sun)
    one = np.concatenate([visibility.lit(s) for s in sun[::11]])
    np.testing.assert_array_equal(one, together[::11])
    horizon = visibility.horizon(np.arange(0, 360, 5.0))
    low = visibility.lit(vectors(np.arange(0, 360, 5.0), 5.0))
    assert ((horizon < np.float32(np.tan(np.radians(5.0)))) == low).mean() > 0.99999
    np.testing.assert_array_equal(
        visibility.horizon(np.arange(0, 360, 5.0), floor=0.1), np.maximum(horizon, np.float32(0.1))
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_halo_of_less_than_two_cells_is_refused(engine) -> None:
    far = FarTerrain(np.zeros((9, 9)), 17, 0.0, 0.0)
    message = r"illumination\.halo_px: expected at least 2 x illumination\.far_cell_px = 34 .*found 32"
    with pytest.raises(ValueError, match=message):
        engine(np.zeros(NEAR), PIXEL, INNER, False, far)


def test_real_windows_agree(shared_data: Path) -> None:
    for name, row, col in (("shackleton_rim", 160, 201), ("amundsen_rim", 470, 90)):
        with rasterio.open(shared_data / "lola_40m" / f"{name}_40m.tif") as source:
            dem = source.read(1).astype(np.float64)
        far, near = blocks(dem, 16, row, col), window(dem, row, col, 96)
        sun = np.concatenate([fixed_directions()[:144:2], vectors(np.arange(1, 360, 14.0), 1.5)])
        traced, horizon = (e(near, 40.0, (HALO, HALO, 96, 96), True, far).lit(sun) for e in ENGINES)
        assert (traced == horizon).mean() >= 0.9999
        alone = HorizonVisibility(near, 40.0, (HALO, HALO, 96, 96), True).lit(sun)
        assert (alone & ~horizon).mean() > 0.005


# --- the stage --------------------------------------------------------------------------------------------


def build(folder: Path, files: list[Path], cell: int) -> Path:
    index_terrain(files, None, TerrainStage(pixel_m=None), folder / "terrain.json")
    write_far(folder / "terrain.json", cell, folder / "far.zarr.zip")
    return folder / "far.zarr.zip"


def test_blocks_are_means_of_what_has_data_over_the_sites_of_a_lattice(tmp_path: Path, monkeypatch) -> None:
    whole = relief(90, 150)
    whole[20:40, 30:50] = np.nan  # a hole of whole blocks and parts of some
    windows = {"a": (7, 57, 5, 60), "b": (30, 81, 63, 130)}  # 3 px apart: two sites, blocks in common
    files = cut(tmp_path, whole, windows)
    files.append(write_tif(tmp_path / "north.tif", relief(20, 30, 3), crs=NORTH, origin=(7.0, 3.0)))
    out = build(tmp_path, files, 8)
    known = np.full(whole.shape, np.nan)
    for r0, r1, c0, c1 in windows.values():
        known[r0:r1, c0:c1] = whole[r0:r1, c0:c1]
    known = np.pad(known[7:81, 5:130], ((0, 6), (0, 3)), constant_values=np.nan)
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        expected = np.nanmean(known.reshape(10, 8, 16, 8), axis=(1, 3))
    root = read_store(out, schema="far")
    lattices, rows, cols = (root[name].values.tolist() for name in ("lattice", "row", "col"))
    assert (lattices[:2], rows[:2], cols[:2]) == ([lattices[0]] * 2, [0, 23], [0, 58])  # south first
    assert lattices[2] != lattices[0] and (rows[2], cols[2]) == (0, 0)
    found = read_store(out, f"lattice_{lattices[0]}")["dem"].values
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isnan(found).any()
    place = open_store(out, f"lattice_{lattices[0]}", "far")["dem"].attrs["first_centre_m"]
    assert place == [5 * 20 + 80, -7 * 20 - 80]
    # Read in bands of one row of blocks: the same bytes.
    before = out.read_bytes()
    monkeypatch.setattr("pipeline.illumination.far_blocks.WINDOW_PX", 1)
    assert build(tmp_path, files, 8).read_bytes() == before


def test_surroundings_lie_where_they_were(tmp_path: Path) -> None:
    """Of a plane, a block's mean is the height of its centre: places and heights must match."""
    row, col = np.mgrid[:400, :500].astype(np.float32)
    files = cut(tmp_path, 3 * row - 2 * col, {"a": (0, 200, 0, 300), "b": (230, 400, 310, 500)})
    far = FarDem(build(tmp_path, files, 16))
    for site, (r, c) in enumerate([(60, 70), (20, 30)]):
        around = far.around(site, r, c, PATCH, HALO, 2400.0)
        top, left = (r, c) if site == 0 else (r + 230, c + 310)
        expected = np.add.outer(3 * (around.rows + top - HALO), -2 * (around.cols + left - HALO))
        known = np.isfinite(around.z)
        # Blocks that hold only part of a window are off its plane's centre.
        exact = known & (abs(around.z - expected) < 1e-3)
        assert exact.sum() > 0.7 * known.sum() and known.sum() > 60
        away = np.hypot.outer(around.rows - CENTRE, around.cols - CENTRE) * PIXEL
        assert not known[away > 2400].any()
    with pytest.raises(ValueError, match=r"far\.zarr\.zip: expected site 2 of the patches, found 2 sites"):
        far.around(2, 0, 0, PATCH, HALO, 2400.0)
    assert far_mesh(far.around(0, 60, 70, PATCH, HALO, 20.0), NEAR, INNER, PIXEL, False) is None


def coarse(path: Path, heights: np.ndarray, pixel_px: int, left_px: int, top_px: int) -> Path:
    """A coarse DEM whose first pixel begins `left_px` and `top_px` fine pixels from the plane's corner."""
    place = left_px * PIXEL, -top_px * PIXEL
    return write_tif(path, heights.astype(np.float32), pixel=pixel_px * PIXEL, origin=place)


def test_coarse_dems_continue_the_terrain(tmp_path: Path) -> None:
    """The coarse DEM of a plane is 70 m too high: blocks beyond the window lie on the plane all the same."""
    row, col = np.mgrid[:160, :160].astype(np.float32)
    cut(tmp_path, 3 * row - 2 * col, {"a": (0, 160, 0, 160)})
    index_terrain([tmp_path / "a.tif"], None, TerrainStage(pixel_m=None), tmp_path / "terrain.json")
    middle = np.arange(80) * 10 + 4.5 - 320
    dem = coarse(tmp_path / "wide.tif", 3 * middle[:, None] - 2 * middle + 70, 10, -320, -320)
    out = tmp_path / "far.zarr.zip"
    write_far(tmp_path / "terrain.json", 16, out, [dem], 4000.0)
    far = FarDem(out)
    around = far.around(0, 60, 70, PATCH, HALO, 4000.0)
    plane = np.add.outer(3 * (around.rows + 60 - HALO), -2 * (around.cols + 70 - HALO))
    known = np.isfinite(around.z)
    assert known.sum() > 450
    np.testing.assert_allclose(around.z[known], plane[known], atol=0.1)
    away = np.hypot.outer(around.rows - CENTRE, around.cols - CENTRE) * PIXEL
    assert known[away < 4000].all()
    # Without it, the terrain ends at the window.
    write_far(tmp_path / "terrain.json", 16, out)
    alone = FarDem(out).around(0, 60, 70, PATCH, HALO, 4000.0)
    assert np.isfinite(alone.z).sum() == 100


def test_rescaled_terrain_has_rescaled_surroundings(tmp_path: Path) -> None:
    """Block means of a plane, over twice the pixels: one plane, with coarse blocks and the terrain's own."""
    row, col = np.mgrid[:320, :320].astype(np.float32)
    cut(tmp_path, 3 * row - 2 * col, {"a": (0, 320, 0, 320)})
    index = tmp_path / "terrain.json"
    index_terrain([tmp_path / "a.tif"], None, TerrainStage(pixel_m=None, blocks=[2]), index)
    middle = np.arange(100) * 10 + 4.5 - 340
    dem = coarse(tmp_path / "wide.tif", 3 * middle[:, None] - 2 * middle + 70, 10, -340, -340)
    out = tmp_path / "far.zarr.zip"
    write_far(index, 16, out, [dem], 2400.0)
    around = FarDem(out).around(1, 60, 70, PATCH, HALO, 2400.0)
    rows, cols = around.rows + 60 - HALO, around.cols + 70 - HALO
    plane = np.add.outer(3 * (2 * rows + 0.5), -2 * (2 * cols + 0.5)) / 2
    known = np.isfinite(around.z)
    away = np.hypot.outer(around.rows - CENTRE, around.cols - CENTRE) * PIXEL
    assert known[away < 2400].all() and known.sum() > 100
    np.testing.assert_allclose(around.z[known], plane[known], atol=0.1)


def test_the_preferred_coarse_dem_comes_first_and_an_absent_place_is_an_error(tmp_path: Path) -> None:
    row, col = np.mgrid[:64, :64].astype(np.float32)
    cut(tmp_path, 3 * row - 2 * col, {"a": (0, 64, 0, 64)})
    index_terrain([tmp_path / "a.tif"], None, TerrainStage(pixel_m=None), tmp_path / "terrain.json")
    rng, out = np.random.default_rng(0), tmp_path / "far.zarr.zip"
    small = coarse(tmp_path / "small.tif", rng.normal(900, 9, (9, 9)), 16, 64, 0)
    large = coarse(tmp_path / "large.tif", rng.normal(-800, 9, (40, 40)), 16, -320, -320)
    write_far(tmp_path / "terrain.json", 16, out, [small, large], 3200.0)
    dem = read_store(out, "lattice_0")["dem"].values
    assert dem.shape == (24, 24) and np.isfinite(dem).all()
    # The small one has no pixel in common with the terrain and stays where it is, east of it.
    assert (dem[11:18, 15:22] > 800).all() and (dem[:9] < 500).all()
    elsewhere = coarse(tmp_path / "elsewhere.tif", rng.normal(0, 9, (9, 9)), 16, 9000, 0)
    with pytest.raises(ValueError, match=r"inputs\.far: expected heights around .* none in .*elsewhere\.tif"):
        write_far(tmp_path / "terrain.json", 16, out, [elsewhere], 3200.0)


def test_bytes_of_coarse_dems_move_the_keys_of_light(tmp_path: Path) -> None:
    config = resolved("tiny")
    config["illumination"] |= {"far_m": 6000, "far_cell_px": 4}

    def identities(**inputs: Any) -> dict[str, str]:
        config["inputs"] |= inputs
        stages = Plan(load_config(copy.deepcopy(config)), tmp_path).stages
        return {name: stage.identity for name, stage in stages.items()}

    for name, content in (("wide", b"1"), ("same", b"1"), ("other", b"2")):
        (tmp_path / f"{name}.tif").write_bytes(content)
    plain, wide = identities(), identities(far="wide.tif")
    moved = {name for name in plain if plain[name] != wide[name]}
    assert {"far", "visibility", "region"} <= moved and not {"terrain", "patches", "split"} & moved
    assert identities(far=["same.tif"])["far"] == wide["far"] != identities(far="other.tif")["far"]
    with pytest.raises(ConfigError, match=r"inputs\.far: expected a file, found no file 'none\.tif'"):
        identities(far="none.tif")
    config["illumination"]["far_m"] = 0
    with pytest.raises(ConfigError, match=r"illumination\.far_m: expected more than 0, since inputs\.far is"):
        identities(far="wide.tif")


LIGHT = IlluminationSection(fibonacci=3, halo_px=32, far_m=6000.0, far_cell_px=16)


@pytest.fixture(scope="module")
def tile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Patches of hills, with a wall along the east of another site of the lattice."""
    folder = tmp_path_factory.mktemp("far")
    dem = hills(300, 3, relief_m=5.0).astype(np.float32)
    dem[:, 250:] = 900.0
    files = cut(folder, dem, {"west": (0, 300, 0, 200), "wall": (0, 300, 250, 300)})
    build(folder, files, 16)
    patches = PatchesStage(size_px=SIZE, halo_px=32, stride_px=20, tiles=1)
    extract_tile(folder / "terrain.json", patches, 0, folder / "patches.zarr.zip")
    store = read_store(folder / "patches.zarr.zip")
    site, row, col = (store[name].values for name in ("site", "row", "col"))
    chosen = (site == 1) & np.isin(row, (100, 200)) & np.isin(col, (40, 120))
    assert chosen.sum() == 4
    make_selected(
        folder / "selected.json", dict(zip(store["id"].values.tolist(), chosen.tolist(), strict=True))
    )
    return folder, dem


def trace(folder: Path, light: IlluminationSection, name: str, workers: int = 1, **options: Any) -> Path:
    out = folder / f"{name}.zarr.zip"
    trace_tile(folder / "patches.zarr.zip", folder / "selected.json", SIZE, light, out, workers, **options)
    return out


@pytest.mark.parametrize("engine", ["embree", "horizon"])
def test_the_stage_casts_shadows_from_another_site(tile: tuple[Path, np.ndarray], engine: str) -> None:
    folder, _ = tile
    light = LIGHT.model_copy(update={"engine": engine})
    out = trace(folder, light, engine, far_store=folder / "far.zarr.zip")
    assert open_store(out).attrs["far_m"] == 6000 and open_store(out).attrs["far_cell_px"] == 16
    near = trace(folder, light.model_copy(update={"far_m": 0.0}), f"{engine}_near")
    assert "far_m" not in open_store(near).attrs
    seen, alone = (
        np.unpackbits(open_store(path, "fixed")["lit"].values, axis=-1, count=SIZE) for path in (out, near)
    )
    east = 72  # elevation 10 degrees, map azimuth 90
    np.testing.assert_allclose(fixed_directions()[east], vectors(90, 10), atol=1e-12)
    assert alone[:, east].mean() > 0.5 and not seen[:, east].any()
    west = east + 36
    np.testing.assert_array_equal(seen[:, west], alone[:, west])
    again = trace(folder, light, f"{engine}_three", 3, far_store=folder / "far.zarr.zip")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(out.read_bytes()).digest()


def test_mistakes_are_named_before_anything_is_traced(tile: tuple[Path, np.ndarray]) -> None:
    folder, _ = tile
    store = {"far_store": folder / "far.zarr.zip"}
    with pytest.raises(
        ValueError, match=r"illumination\.far_m = 6000: expected a store of far terrain, found none"
    ):
        trace(folder, LIGHT, "x")
    with pytest.raises(
        ValueError, match=r"far\.zarr\.zip: expected blocks of illumination\.far_cell_px = 8 pix"
    ):
        trace(folder, LIGHT.model_copy(update={"far_cell_px": 8}), "x", **store)
    with pytest.raises(
        ValueError, match=r"illumination\.far_m: expected more than half a patch .*840 m .*found 800"
    ):
        trace(folder, LIGHT.model_copy(update={"far_m": 800.0}), "x", **store)
    with pytest.raises(
        ValueError, match=r"halo_px: expected at least 2 x illumination\.far_cell_px = 32 .*found 31"
    ):
        IlluminationSection(halo_px=31, far_m=6000.0)
    assert not (folder / "x.zarr.zip").exists()
