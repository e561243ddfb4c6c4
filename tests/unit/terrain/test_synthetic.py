"""Synthetic polar terrain: craters, relief, ground tracks, statistics and files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

from pipeline.config.synthetic import SyntheticSection
from pipeline.terrain.synthetic import craters as crater_module
from pipeline.terrain.synthetic.craters import (
    RADII,
    REACH,
    WEAR,
    Craters,
    draw_craters,
    exposure,
    production,
    radial_profile,
    stamp_craters,
    wear_rate,
    worn_shapes,
)
from pipeline.terrain.synthetic.relief import SelfAffine
from pipeline.terrain.synthetic.tracks import spot_count
from pipeline.terrain.synthetic.world import synthesize, synthetic_count, synthetic_dem
from relief_statistics import (
    fit_power_law,
    radial_spectrum,
    relief_statistics,
    slope_degrees,
)

# The 23 LOLA windows at 40 m: mean over windows (benchmarks/synthetic_vs_real.py prints them).
REAL = {"mean_slope_deg": 12.19, "patch_std_m": 241.0, "spectral_slope": -4.69, "spectral_level": 7.03}
PUBLISHED_COVERAGE = 2242 / 9216


def one_crater(diameter_m: float, wear: float = 0.0, at_m: float = 0.0) -> Craters:
    place = np.array([at_m])
    return Craters(place, place, np.array([diameter_m]), np.array([wear]), np.zeros((1, 4, 2)))


@pytest.fixture(scope="module")
def tiles_40m() -> list[np.ndarray]:
    return [synthetic_dem(SyntheticSection(size_px=525, pixel_m=40.0, seed=seed)) for seed in (1, 2, 3)]


# --- production function and wear ---------------------------------------------------------------------------


def test_production_follows_the_published_slopes() -> None:
    assert production(1000.0) == pytest.approx(1.0)

    def slope(diameter: float) -> float:
        more, fewer = production(np.array([diameter / 1.05, diameter * 1.05]))
        return float(np.log(fewer / more) / np.log(1.05**2))

    # Neukum et al. 2001: about -3 or steeper from 100 m to 1 km, some -2.3 from 1 to 10 km.
    assert -4.0 < slope(300.0) < -2.7
    assert -4.0 < slope(1000.0) < -3.0
    assert float(np.log10(production(10_000.0))) == pytest.approx(-2.28, abs=0.02)


def test_exposure_is_the_lunar_chronology() -> None:
    # Linear in the last 10^9 years; N(1) of 3.9 Ga terrain is some 3e-2 per km^2.
    assert exposure(1.0) == pytest.approx(8.38e-4, rel=1e-3)
    assert exposure(3.9) == pytest.approx(0.0329, rel=0.02)


def test_small_craters_wear_faster() -> None:
    rate = wear_rate(np.array([100.0, 1000.0, 10_000.0]), 5.5)
    assert np.all(np.diff(rate) < 0)
    # 1 km after 10^9 years: kappa t / R^2.
    assert rate[1] * 8.38e-4 == pytest.approx(5.5 * 1000 / 500.0**2, rel=1e-6)


def test_population_is_sparse_poisson_and_in_equilibrium() -> None:
    section = SyntheticSection(size_px=512, large_craters=0, seed=3)
    found = draw_craters(section, np.random.default_rng(0))
    side_km = 512 * 0.02
    inside = (found.x_m >= 0) & (found.x_m < side_km * 1e3) & (found.y_m >= 0) & (found.y_m < side_km * 1e3)
    # Those an observer would count: not worn to a dent.
    density = np.sum(inside & (found.diameter_m >= 100.0) & (found.wear < 0.5)) / side_km**2
    # Trask's equilibrium, 0.079 D^-1.83 per km^2 (D in km): 5.3 at 100 m. In kind.
    assert 1.0 < density < 12.0
    assert found.diameter_m.min() >= 2 * 20.0
    assert found.diameter_m.max() <= section.largest_crater_m
    assert found.wear.max() <= WEAR[-1]


def test_no_craters_when_none_are_asked_for() -> None:
    section = SyntheticSection(size_px=64, crater_density=0, large_craters=0)
    assert len(draw_craters(section, np.random.default_rng(0))) == 0
    smooth = SyntheticSection(
        size_px=64, crater_density=0, large_craters=0, roughness_m=0, texture_m=0, tracks=0
    )
    assert not synthetic_dem(smooth).any()
    assert not synthetic_count(smooth).any()


# --- the shape of a crater ----------------------------------------------------------------------------------


@pytest.mark.parametrize("diameter", [1000.0, 5000.0])
def test_fresh_simple_crater_has_lunar_proportions(diameter: float) -> None:
    profile = radial_profile(diameter, 0.0, 0.2)
    rim = profile.max()
    assert (rim - profile[0]) / diameter == pytest.approx(0.2, rel=0.01)
    assert rim == pytest.approx(0.036 * diameter, rel=0.06)
    assert RADII[profile.argmax()] == pytest.approx(1.0, abs=0.02)
    # Walls stand near the angle of repose, not above it.
    inner = np.diff(profile)[:99] / (0.01 * diameter / 2)
    assert 25.0 < np.degrees(np.arctan(inner.max())) < 35.0
    # Ejecta thin as r^-3 until they fade out.
    at = [np.argmin(np.abs(RADII - r)) for r in (1.2, 1.6, 2.4)]
    np.testing.assert_allclose(profile[at] * RADII[at] ** 3, profile[at[0]] * RADII[at[0]] ** 3, rtol=1e-6)
    assert profile[-1] == pytest.approx(0.0, abs=1e-9)


def test_large_craters_are_relatively_shallower() -> None:
    ratio = [np.ptp(radial_profile(d, 0.0, 0.2)) / d for d in (100.0, 1000.0, 20_000.0)]
    assert ratio[0] < 0.16 < ratio[1]
    assert ratio[2] == pytest.approx(1044.0 * 20**0.301 / 20_000.0, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 1.4), st.floats(1.01, 3.0), st.floats(60.0, 20_000.0))
def test_older_craters_are_shallower_and_smoother(wear: float, factor: float, diameter: float) -> None:
    younger = radial_profile(diameter, wear, 0.2)
    older = radial_profile(diameter, min(wear * factor + 1e-3, 1.5), 0.2)
    assert np.ptp(older) < np.ptp(younger)
    assert np.abs(np.diff(older)).max() <= np.abs(np.diff(younger)).max() + 1e-9
    assert np.isfinite(older).all()


def test_wear_is_linear_diffusion() -> None:
    """A stamped worn crater equals the fresh shape blurred by a Gaussian of variance 2 kappa t."""
    wear = float(WEAR[25])
    grid = (np.arange(801) - 400) * 0.02
    distance = np.hypot(grid[:, None], grid[None, :])
    cavity, rim = worn_shapes(True)
    edge = np.hypot(crater_module.ROUNDING, 1.0)
    inside = distance < 1
    fresh = np.where(
        inside,
        (np.hypot(crater_module.ROUNDING, distance) - edge) / (edge - crater_module.ROUNDING),
        0.0,
    )
    blurred = gaussian_filter(fresh, np.sqrt(2 * wear) / 0.02, truncate=6)
    near = RADII < 2.4
    np.testing.assert_allclose(
        cavity[25, near], np.interp(RADII[near], grid[400:], blurred[400, 400:]), atol=0.02
    )
    fresh_rim = np.where(inside, 1.0, np.maximum(distance, 1.0) ** -3)
    blurred = gaussian_filter(fresh_rim, np.sqrt(2 * wear) / 0.02, truncate=6)
    np.testing.assert_allclose(
        rim[25, near], np.interp(RADII[near], grid[400:], blurred[400, 400:]), atol=0.02
    )


def test_stamp_places_the_profile_and_does_not_depend_on_strips() -> None:
    flat = np.zeros((300, 300))
    stamp_craters(flat, one_crater(1000.0, at_m=1505.0), 10.0, 0.2)
    profile = radial_profile(1000.0, 0.0, 0.2)
    assert flat[150, 150] == pytest.approx(profile[0], abs=0.5)
    np.testing.assert_allclose(flat[150, 160:290:10], np.interp(np.arange(10, 140, 10) / 50, RADII, profile))
    np.testing.assert_allclose(flat, flat.T, atol=1e-9)
    other = np.zeros((300, 300))
    stamp_craters(other, one_crater(1000.0, at_m=1505.0), 10.0, 0.2, strip_px=7)
    np.testing.assert_array_equal(flat, other)


def test_craters_outside_the_tile_reach_in() -> None:
    far, near = np.zeros((64, 64)), np.zeros((64, 64))
    stamp_craters(near, one_crater(1000.0, at_m=-400.0), 10.0, 0.2)
    stamp_craters(far, one_crater(1000.0, at_m=-500.0 * REACH), 10.0, 0.2)
    assert near.max() > 1.0
    assert not far.any()


def test_young_crater_levels_what_lies_under_it_but_keeps_the_regional_slope() -> None:
    y, x = np.mgrid[0:200, 0:200].astype(float)
    bumps = 30.0 * np.sin(x / 3) * np.sin(y / 3) + 2.0 * x
    plain = 2.0 * x
    stamp_craters(bumps, one_crater(1000.0, at_m=1000.0), 10.0, 0.2)
    stamp_craters(plain, one_crater(1000.0, at_m=1000.0), 10.0, 0.2)
    inside = np.hypot(x - 100, y - 100) < 40
    assert np.std((bumps - plain)[inside]) < 0.2 * 15.0
    assert np.std((bumps - plain)[np.hypot(x - 100, y - 100) > 90]) > 0.9 * 15.0
    # The tilt survives inside: west-east difference across the floor.
    assert plain[100, 120] - plain[100, 80] == pytest.approx(2.0 * 40, rel=0.2)


# --- relief -------------------------------------------------------------------------------------------------


def test_relief_has_the_asked_structure_and_spectrum() -> None:
    model = SelfAffine(hurst=0.8, rms_m=50.0, lag_m=1000.0)
    variance, slopes = [], []
    for seed in range(8):
        relief = model.draw(512, 50.0, np.random.default_rng(seed))
        variance.append(np.mean((relief[:, 20:] - relief[:, :-20]) ** 2))
        slopes.append(fit_power_law(*radial_spectrum(relief, 50.0), (400.0, 6000.0))[0])
    assert np.sqrt(np.mean(variance)) == pytest.approx(50.0, rel=0.2)
    assert np.mean(slopes) == pytest.approx(-2 * 0.8 - 2, abs=0.2)


def test_relief_edges_do_not_match_and_small_tiles_keep_the_regional_tilt() -> None:
    model = SelfAffine(hurst=0.9, rms_m=100.0, lag_m=1000.0, smoothing_m=2000.0)
    relief = model.draw(256, 40.0, np.random.default_rng(1))
    assert np.abs(relief[0] - relief[-1]).mean() > 5 * np.abs(relief[0] - relief[1]).mean()
    # Slope does not depend on how much terrain is asked for (many small tiles against few large ones).
    small = [slope_degrees(model.draw(64, 20.0, np.random.default_rng(s)), 20.0).mean() for s in range(60)]
    large = [slope_degrees(model.draw(512, 20.0, np.random.default_rng(s)), 20.0).mean() for s in range(6)]
    assert np.mean(small) == pytest.approx(np.mean(large), rel=0.35)


def test_statistics_of_known_surfaces() -> None:
    y, x = np.mgrid[0:192, 0:192] * 40.0
    assert slope_degrees(0.1 * x + 0.2 * y, 40.0) == pytest.approx(np.degrees(np.arctan(np.hypot(0.1, 0.2))))
    noise = np.random.default_rng(0).standard_normal((256, 256))
    wavenumber, density = radial_spectrum(noise, 40.0)
    # White noise of unit variance has the density pixel^2 everywhere.
    assert np.median(density) == pytest.approx(1600.0, rel=0.1)
    assert fit_power_law(wavenumber, density, (90.0, 1500.0))[0] == pytest.approx(0.0, abs=0.15)
    with pytest.raises(ValueError, match="wavelengths_m: expected at least 3"):
        fit_power_law(wavenumber, density, (100.0, 101.0))


# --- agreement with the Moon --------------------------------------------------------------------------------


def means(tiles: list[np.ndarray], pixel_m: float = 40.0) -> dict[str, float]:
    found = [relief_statistics(tile, pixel_m) for tile in tiles]
    return {name: float(np.mean([getattr(s, name) for s in found])) for name in REAL}


def check_against(real: dict[str, float], synthetic: dict[str, float]) -> None:
    assert synthetic["mean_slope_deg"] == pytest.approx(real["mean_slope_deg"], rel=0.25)
    assert synthetic["patch_std_m"] == pytest.approx(real["patch_std_m"], rel=0.4)
    assert synthetic["spectral_slope"] == pytest.approx(real["spectral_slope"], abs=0.45)
    assert synthetic["spectral_level"] == pytest.approx(real["spectral_level"], abs=0.3)


def test_statistics_agree_with_the_recorded_numbers_of_the_moon(tiles_40m: list[np.ndarray]) -> None:
    check_against(REAL, means(tiles_40m))
    # Hardly anything stands above the angle of repose.
    assert np.mean(slope_degrees(tiles_40m[0], 40.0) > 38.0) < 0.01


def test_statistics_agree_with_real_windows(shared_data, tiles_40m: list[np.ndarray]) -> None:
    windows = []
    for path in sorted((shared_data / "lola_40m").glob("*.tif")):
        with rasterio.open(path) as source:
            windows.append(source.read(1))
    real = means(windows)
    for name, value in REAL.items():
        assert real[name] == pytest.approx(value, rel=0.01)
    check_against(real, means(tiles_40m))


# --- ground tracks ------------------------------------------------------------------------------------------


def coverage(count: np.ndarray, patch: int = 96) -> np.ndarray:
    number = count.shape[0] // patch
    cut = count[: number * patch, : number * patch] > 0
    return cut.reshape(number, patch, number, patch).mean(axis=(1, 3))


def test_demo_coverage_fails_some_patches_and_not_most() -> None:
    shares = []
    for seed in range(1, 6):
        section = SyntheticSection(seed=seed)
        shares.append(np.mean(coverage(synthetic_count(section)) < PUBLISHED_COVERAGE))
    assert 0.05 < np.mean(shares) < 0.4
    assert 0.1 <= shares[0] <= 0.3


def test_coverage_grows_towards_the_pole() -> None:
    def share(y: float) -> float:
        count = spot_count(480, 20.0, (0.0, y), 11_700, np.random.default_rng(5))
        return float(np.mean(count > 0))

    found = [share(y) for y in (280e3, 180e3, 90e3, 0.0)]
    assert found == sorted(found)
    assert found[-1] > 0.9
    near = spot_count(960, 20.0, (0.0, -90e3), 11_700, np.random.default_rng(6))
    assert np.mean(coverage(near) >= PUBLISHED_COVERAGE) == 1.0


def test_one_pass_is_a_five_spot_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over the pole, seen whole: shots 57 m apart on a straight line, five spots within 25 m of it."""
    for name, value in (("POLE_DISTANCE_DEG", 0.0), ("NIGHT_SHARE", 0.0), ("LOST_SHARE", 0.0)):
        monkeypatch.setattr(f"pipeline.terrain.synthetic.tracks.{name}", value)
    size, pixel = 2000, 5.0
    count = spot_count(size, pixel, (0.0, 0.0), 1, np.random.default_rng(3))
    rows, columns = np.nonzero(count)
    place = np.stack([columns + 0.5 - size / 2, rows + 0.5 - size / 2], axis=1) * pixel
    direction = np.linalg.svd(place, full_matrices=False)[2][0]
    across = place @ np.array([-direction[1], direction[0]])
    assert np.abs(across).max() < 25.0 + pixel
    assert np.abs(across).max() > 15.0
    length = np.ptp(place @ direction)
    assert count.sum() == pytest.approx(5 * length / 57.0, abs=10)


def test_night_passes_and_lost_shots_thin_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def total() -> int:
        return int(spot_count(256, 20.0, (0.0, 40e3), 5000, np.random.default_rng(2)).sum())

    found = total()
    monkeypatch.setattr("pipeline.terrain.synthetic.tracks.NIGHT_SHARE", 0.0)
    monkeypatch.setattr("pipeline.terrain.synthetic.tracks.LOST_SHARE", 0.0)
    # Half the passes return two spots of five, and one shot in twenty is lost.
    assert found / total() == pytest.approx(0.7 * 0.95, rel=0.05)


def test_blocks_of_passes_do_not_change_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    def total() -> np.ndarray:
        return spot_count(128, 20.0, (0.0, 50e3), 4000, np.random.default_rng(1))

    whole = total()
    monkeypatch.setattr("pipeline.terrain.synthetic.tracks.BLOCK_SPOTS", 1)
    np.testing.assert_array_equal(total(), whole)


# --- files --------------------------------------------------------------------------------------------------

SMALL = SyntheticSection(size_px=160, pixel_m=20.0, large_crater_m=3000.0, largest_crater_m=1000.0, seed=7)


def test_files_are_lola_like_and_deterministic(tmp_path) -> None:
    digests = []
    for name in ("a", "b"):
        folder = tmp_path / name
        synthesize(SMALL, folder / "dem.tif", str(folder / "count.tif"))
        assert sorted(p.name for p in folder.iterdir()) == ["count.tif", "dem.tif"]
        digests.append(
            [hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in ("dem.tif", "count.tif")]
        )
    assert digests[0] == digests[1]
    with (
        rasterio.open(tmp_path / "a" / "dem.tif") as dem,
        rasterio.open(tmp_path / "a" / "count.tif") as count,
    ):
        assert dem.dtypes == ("float32",)
        assert count.dtypes == ("uint16",)
        assert np.isnan(dem.nodata)
        assert dem.profile["tiled"] and dem.profile["compress"] == "deflate"
        assert dem.shape == count.shape == (160, 160)
        assert dem.transform == count.transform
        assert dem.res == (20.0, 20.0)
        middle = ((dem.bounds.left + dem.bounds.right) / 2, (dem.bounds.bottom + dem.bounds.top) / 2)
        assert middle == (SMALL.center_x_m, SMALL.center_y_m)
        parameters = dem.crs.to_dict()
        assert (parameters["proj"], parameters["lat_0"], parameters["R"]) == ("stere", -90, 1737400)
        np.testing.assert_array_equal(dem.read(1), synthetic_dem(SMALL))
        assert np.isfinite(dem.read(1)).all()


def test_projection_equals_the_real_windows(shared_data, tmp_path) -> None:
    synthesize(SMALL, tmp_path / "dem.tif", tmp_path / "count.tif")
    with (
        rasterio.open(tmp_path / "dem.tif") as made,
        rasterio.open(shared_data / "lola_40m" / "shoemaker_40m.tif") as real,
    ):
        ours, theirs = made.crs.to_dict(), real.crs.to_dict()
    for key in ("proj", "lat_0", "lon_0", "x_0", "y_0", "R", "units"):
        assert ours[key] == theirs[key]


def test_seed_changes_everything_and_keys_change_only_their_part() -> None:
    other = SMALL.model_copy(update={"seed": 8})
    assert not np.array_equal(synthetic_dem(SMALL), synthetic_dem(other))
    assert not np.array_equal(synthetic_count(SMALL), synthetic_count(other))
    tracks = SMALL.model_copy(update={"tracks": 100})
    np.testing.assert_array_equal(synthetic_dem(SMALL), synthetic_dem(tracks))
    rough = SMALL.model_copy(update={"roughness_m": 1.0})
    np.testing.assert_array_equal(synthetic_count(SMALL), synthetic_count(rough))


def test_result_does_not_depend_on_thread_settings() -> None:
    section = SyntheticSection(size_px=128, seed=5)
    here = hashlib.sha256(synthetic_dem(section).tobytes()).hexdigest()
    code = (
        "import hashlib; from pipeline.config.synthetic import SyntheticSection as S;"
        "from pipeline.terrain.synthetic.world import synthetic_dem as d;"
        "print(hashlib.sha256(d(S(size_px=128, seed=5)).tobytes()).hexdigest())"
    )
    threads = "2" if os.environ.get("OMP_NUM_THREADS") == "1" else "1"
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == here, run.stderr


def test_failure_leaves_no_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("pipeline.storage.atomic.os.fsync", broken)
    with pytest.raises(OSError, match="No space left"):
        synthesize(SMALL, tmp_path / "dem.tif", tmp_path / "count.tif")
    assert not list(tmp_path.iterdir())


def test_section_refuses_a_centre_far_from_the_pole() -> None:
    with pytest.raises(ValueError, match="within 400000 m of the pole"):
        SyntheticSection(center_x_m=500_000.0)


def test_crs_is_understood_as_metres() -> None:
    from pipeline.terrain.synthetic.world import SOUTH_POLAR

    assert CRS.from_proj4(SOUTH_POLAR).linear_units.lower() in {"metre", "meter"}
