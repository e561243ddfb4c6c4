"""The line sweep: against the exact engine, closed forms and Embree, and when it is chosen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.config.illumination import IlluminationSection
from pipeline.illumination.directions import fixed_directions, vectors
from pipeline.illumination.embree import EmbreeVisibility
from pipeline.illumination.far import FarTerrain
from pipeline.illumination.horizon import HorizonVisibility
from pipeline.illumination.sweep import NEAR_PX, SweepVisibility, whole_window_engine
from pipeline.region.shadows import trace_region

PIXEL = 10.0


def hills(shape: tuple[int, int], seed: int, relief: float = 60.0) -> np.ndarray:
    """Random terrain, float32 m, with hills at several scales."""
    rng = np.random.default_rng(seed)
    scales = (1, 2, 4, 8)
    return (
        relief * sum(s**2 * ndimage.gaussian_filter(rng.normal(size=shape), 2 * s) for s in scales)
    ).astype(np.float32)


def both(dem: np.ndarray, inner: tuple[int, int, int, int] | None = None, **options: bool):  # type: ignore[no-untyped-def]
    inner = inner or (0, 0, *dem.shape)
    return HorizonVisibility(dem, PIXEL, inner, **options), SweepVisibility(dem, PIXEL, inner, **options)


@pytest.mark.parametrize("azimuth", [0, 90, 180, 270])
@pytest.mark.parametrize("elevation", [3.0, 12.0, 40.0])
def test_a_wall_along_the_grid_casts_the_exact_shadow(azimuth: int, elevation: float) -> None:
    dem = np.zeros((120, 120), np.float32)
    dem[:, 100:] = 50.0
    turns = (90 - azimuth) // 90
    lit = np.rot90(
        SweepVisibility(np.rot90(dem, turns), PIXEL, slice(0, 120)).lit(vectors(azimuth, elevation))[0],
        -turns,
    )
    distance = (100 - np.arange(120)) * PIXEL
    dark = (distance > 0) & (distance * np.tan(np.radians(elevation)) <= 50.0)
    assert dark.sum() > (NEAR_PX if elevation < 10 else 0)
    np.testing.assert_array_equal(lit, np.tile(~dark, (120, 1)))


@pytest.mark.parametrize("azimuth", [11.0, 45.0, 60.0, 135.0, 171.0, 200.0, 283.0, 340.0])
def test_on_a_ramp_and_in_a_valley_interpolation_is_exact(azimuth: int) -> None:
    """Terrain that is straight across the lines: no error is left between them."""
    rows, cols = np.indices((150, 150))
    towards = np.sin(np.radians(azimuth)) * cols - np.cos(np.radians(azimuth)) * rows
    towards -= towards.mean()
    dem = (PIXEL * 0.02 * np.abs(towards) ** 1.3).astype(np.float32)
    exact, sweep = both(dem)
    sun = vectors(azimuth, [0.5, 2.0, 5.0, 9.0])
    a, b = exact.lit(sun), sweep.lit(sun)
    assert 0.2 < a.mean() < 0.95
    assert (a == b).mean() > 0.999


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(2, 70), st.integers(2, 70)),
    azimuth=st.one_of(st.floats(0, 360), st.sampled_from([0.0, 45.0, 90.0, 225.0, 315.0])),
    holes=st.booleans(),
    data=st.data(),
)
def test_equals_the_exact_engine_near_by_and_nearly_far_off(seed, shape, azimuth, holes, data) -> None:  # type: ignore[no-untyped-def]
    dem = hills(shape, seed)
    if holes:
        rng = np.random.default_rng(seed)
        dem[ndimage.binary_dilation(rng.random(shape) < 0.004, iterations=3)] = np.nan
    rows, cols = shape
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    inner = (top, left, data.draw(st.integers(1, rows - top)), data.draw(st.integers(1, cols - left)))
    part = dem[top : top + inner[2], left : left + inner[3]]
    if not np.isfinite(part).any():
        return
    exact, sweep = both(dem, inner)
    sun = vectors(round(azimuth, 4), [1.0, 4.0, 10.0, 25.0, 60.0])
    a, b = exact.lit(sun), sweep.lit(sun)
    assert not b[:, np.isnan(part)].any()
    # In a narrow window a shadow's outline, where they may differ, is much of what there is.
    assert (a != b).mean() <= max(0.02 if min(inner[2:]) >= 16 else 0.1, 3 / a.size)
    # Within the exact pixels nothing but rounding can differ.
    small = dem[: NEAR_PX + 1, : NEAR_PX + 1]
    if np.isfinite(small).any():
        exact, sweep = both(small)
        away = np.abs(exact.horizon([round(azimuth, 4)])[0] - np.tan(np.radians(4.0))) > 1e-5
        np.testing.assert_array_equal(exact.lit(sun[1])[0][away], sweep.lit(sun[1])[0][away])


def test_half_turn_and_transposition_turn_the_light() -> None:
    dem = hills((140, 110), 3)
    azimuth = np.arange(0, 360, 20.0) + 4.0
    lit = SweepVisibility(dem, PIXEL, (0, 0, 140, 110)).lit(vectors(azimuth, 8.0))
    assert 0.2 < lit.mean() < 0.95
    turned = SweepVisibility(dem[::-1, ::-1], PIXEL, (0, 0, 140, 110)).lit(vectors(azimuth + 180, 8.0))
    assert (turned[:, ::-1, ::-1] == lit).mean() > 0.9999
    flipped = SweepVisibility(dem.T, PIXEL, (0, 0, 110, 140)).lit(vectors(270 - azimuth, 8.0))
    assert (flipped.transpose(0, 2, 1) == lit).mean() > 0.9999


def test_a_flat_plane_is_lit_by_any_risen_sun() -> None:
    plane = SweepVisibility(np.full((80, 50), -1234.5, np.float32), PIXEL, (0, 0, 80, 50))
    azimuth = np.arange(0, 360, 15.0)
    assert plane.lit(vectors(azimuth, 1e-3)).all()
    assert not plane.lit(vectors(azimuth, 0.0)).any()
    assert not plane.lit(vectors(azimuth, -5.0)).any()
    assert plane.lit([[0, 0, 1]]).all()
    assert plane.lit(np.zeros((0, 3))).shape == (0, 80, 50)


def test_light_passes_a_hole_and_the_far_wall_does_not() -> None:
    dem = np.zeros((60, 120), np.float32)
    dem[:, 100:102] = 100.0
    dem[20:32, 95:105] = np.nan
    lit = SweepVisibility(dem, PIXEL, (0, 0, 60, 120)).lit(vectors(90.0, 8.0))[0]
    assert not lit[:19, 40:100].any() and not lit[33:, 40:100].any()
    assert lit[21:31, :94].all()
    assert not lit[20:32, 95:105].any()
    assert lit[:, 105:].all()


def test_horizons_and_shares_are_the_exact_ones_and_the_moon_curves() -> None:
    dem = hills((90, 80), 5, relief=4000.0)
    inner = (20, 10, 40, 50)
    sun = vectors(np.arange(0, 360, 20.0), 6.0)
    engines = [kind(dem, 5000.0, inner, curvature=True) for kind in (HorizonVisibility, SweepVisibility)]
    azimuth = [3.0, 77.0]
    np.testing.assert_array_equal(engines[0].horizon(azimuth), engines[1].horizon(azimuth))
    np.testing.assert_array_equal(engines[0].share(sun, 0.5), engines[1].share(sun, 0.5))
    lit = engines[1].lit(sun)
    assert (engines[0].lit(sun) == lit).mean() > 0.998
    assert (SweepVisibility(dem, 5000.0, inner).lit(sun) != lit).any()


def test_result_does_not_depend_on_company_or_threads() -> None:
    dem = hills((130, 90), 4)
    sweep = SweepVisibility(dem, PIXEL, (10, 5, 100, 80))
    sun = fixed_directions()
    together = sweep.lit(sun)
    assert 0.3 < together.mean() < 0.99
    assert all((sweep.lit(s)[0] == light).all() for s, light in zip(sun[::7], together[::7], strict=True))
    with ThreadPoolExecutor(2) as pool:
        for light in pool.map(lambda _: sweep.lit(sun), range(4)):
            assert (light == together).all()


def test_a_real_window_agrees_with_embree_and_the_exact_engine(shared_data: Path) -> None:
    """A crop, and where the pixels lie that differ; a whole window is in the next test."""
    with rasterio.open(shared_data / "lola_40m" / "shackleton_rim_40m.tif") as source:
        dem = source.read(1)[100:400, 150:450]
    inner = (0, 0, 300, 300)
    embree = EmbreeVisibility(dem, 40.0, inner)
    exact, sweep = HorizonVisibility(dem, 40.0, inner), SweepVisibility(dem, 40.0, inner)
    azimuth = np.array([3.0, 98.0, 161.0, 225.0, 290.0])
    for elevation in (5.0, 10.0, 20.0, 30.0):
        sun = vectors(azimuth, elevation)
        a, b, c = embree.lit(sun), exact.lit(sun), sweep.lit(sun)
        assert (a == b).mean() >= 0.9999
        assert (a == c).mean() >= 0.9995
        # Where Embree and the exact engine differ, a ray that starts 2.5e-7 of the window's side (or of its
        # greatest height) above the ground passes over an edge that the pixel itself does not see over.
        assert not (b & ~a).any()
        horizon = np.degrees(np.arctan(exact.horizon(azimuth)))
        assert np.abs(horizon[a != b] - elevation).max(initial=0) < 0.02
        # The sweep differs beside the outlines of shadows.
        near = [
            ndimage.binary_dilation(x, iterations=2) & ndimage.binary_dilation(~x, iterations=2) for x in b
        ]
        assert ((b != c) & ~np.stack(near)).sum() <= 0.1 * (b != c).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "side"), [("leibnitz_beta_plateau_extended", 775), ("amundsen_rim", 625)], ids=str
)
def test_the_engine_of_a_whole_real_window_agrees_with_embree(
    shared_data: Path, site: str, side: int
) -> None:
    """Every pixel of the window, as regions ask for them, under each Sun by itself."""
    with rasterio.open(shared_data / "lola_40m" / f"{site}_40m.tif") as source:
        dem = source.read(1)
    assert dem.shape == (side, side)
    inner = (0, 0, *dem.shape)
    kind = whole_window_engine("horizon", dem.shape, inner, "point")
    assert kind is SweepVisibility
    engine, embree = kind(dem, 40.0, inner), EmbreeVisibility(dem, 40.0, inner)
    azimuth = np.array([0.0, 7.0, 45.0, 98.0, 135.0, 161.0, 203.5, 270.0, 322.0])
    for elevation in (1.5, 5.0, 10.0, 20.0, 30.0):
        sun = vectors(azimuth, elevation)
        a, b = embree.lit(sun), engine.lit(sun)
        same = (a == b).mean(axis=(1, 2))
        assert (same >= 0.999).all(), dict(zip(azimuth, same, strict=True))
        assert 0 < a.mean() < 1


def test_the_sweep_is_chosen_for_large_windows_of_the_horizon_engine() -> None:
    large, small = (8, 8, 480, 400), (8, 8, 96, 96)
    assert whole_window_engine("horizon", (496, 416), large, "point") is SweepVisibility
    assert whole_window_engine("horizon", (496, 416), large, "point", far=True) is HorizonVisibility
    for name, shape, inner, sun in (
        ("horizon", (496, 416), small, "point"),
        ("horizon", (496, 416), large, "disc"),
        ("horizon", (2000, 2000), large, "point"),  # most of the terrain only casts shadows
        ("embree", (496, 416), large, "point"),
    ):
        kind = EmbreeVisibility if name == "embree" else HorizonVisibility
        assert whole_window_engine(name, shape, inner, sun) is kind  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"illumination\.engine"):
        whole_window_engine("sweep", (9, 9), (0, 0, 9, 9), "point")


def test_far_terrain_is_refused() -> None:
    with pytest.raises(ValueError, match="far: expected None"):
        SweepVisibility(np.zeros((9, 9)), PIXEL, slice(0, 9), far=object.__new__(FarTerrain))


def test_a_region_of_the_horizon_engine_is_swept() -> None:
    dem = hills((352, 352), 9)
    ground = SimpleNamespace(grid=SimpleNamespace(height=336, pixel_m=PIXEL), margin_px=8, around=dem)
    suns = vectors(np.arange(0.0, 360.0, 60.0), 7.0).astype(np.float32)
    light = IlluminationSection(engine="horizon", halo_px=8)
    shadows = trace_region(ground, suns, light)  # type: ignore[arg-type]
    swept = SweepVisibility(dem, PIXEL, (8, 8, 336, 336)).lit(suns)
    np.testing.assert_array_equal(shadows.values, np.packbits(swept, axis=-1))
    assert 0.2 < swept.mean() < 0.95
    traced = trace_region(ground, suns, IlluminationSection(halo_px=8))  # type: ignore[arg-type]
    assert (np.unpackbits(traced.values ^ shadows.values)).mean() < 1e-3
