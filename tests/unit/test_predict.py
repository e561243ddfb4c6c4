"""From arrays to clones: shapes, units, scale, seeds; the example of the documentation runs."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

import pipeline
from pipeline.bridges.fields import WindowNoise
from pipeline.config.bridge import BridgeSampler
from pipeline.evaluation.metrics import PatchScores
from pipeline.models.system import System
from pipeline.predict import coarse, load, super_resolve
from pipeline.terrain.bicubic import bicubic_up
from saved_models import save_system, save_vae

ROOT = Path(__file__).resolve().parents[2]
SIZE, FACTOR, HALO = 32, 8, 16


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    return pipeline.load(save_system(tmp_path_factory.mktemp("model")))


def site(pixel_m: float = 40.0, count: int = 3, seed: int = 0) -> dict[str, Any]:
    """A DEM with halo whose relief is some pixels high, and Lambert images of its middle."""
    rng = np.random.default_rng(seed)
    side = SIZE + 2 * HALO
    dem = ndimage.gaussian_filter(rng.normal(size=(side, side)), 3) * 30 * pixel_m
    down, right = np.gradient(dem, pixel_m)
    normal = np.stack([-right, down, np.ones_like(dem)])
    normal /= np.linalg.norm(normal, axis=0)
    azimuth = 2 * math.pi * rng.random(count)
    suns = np.stack([np.sin(azimuth), np.cos(azimuth), np.full(count, 1.0)], axis=1) / math.sqrt(2)
    inner = slice(HALO, HALO + SIZE)
    images = 0.1 * np.clip(np.einsum("nc,chw->nhw", suns, normal), 0, None)[:, inner, inner]
    return {"dem": dem, "truth": dem[inner, inner], "images": images, "suns": suns, "pixel_m": pixel_m}


def resolved(system: System, given: dict[str, Any], **how: Any) -> Any:
    lr = coarse(given["dem"], FACTOR)
    return super_resolve(
        system, lr, given["images"], given["suns"], given["pixel_m"], **{"members": 3, **how}
    )


# --- what comes out -------------------------------------------------------------------------------------


def test_mean_and_std_are_those_of_the_clones(system: System) -> None:
    found = resolved(system, site(), members=4)
    assert found.clones.shape == (4, SIZE, SIZE)
    np.testing.assert_allclose(found.mean, found.clones.mean(axis=0))
    np.testing.assert_allclose(found.std, found.clones.std(axis=0, ddof=1))
    assert (found.std > 0).all()


def test_heights_count_from_the_zero_of_the_coarse_dem(system: System) -> None:
    given = site()
    lr = coarse(given["dem"], FACTOR)
    low, high = (
        super_resolve(system, lr + shift, given["images"], given["suns"], 40.0, members=2)
        for shift in (0, 3000)
    )
    np.testing.assert_allclose(high.clones, low.clones + 3000, atol=1e-2)
    own = lr[2:-2, 2:-2]
    # The model keeps block means.
    np.testing.assert_allclose(coarse(low.mean, FACTOR), own, atol=1e-2)


def test_the_prior_is_the_bicubic_of_the_window(system: System) -> None:
    given = site()
    wide = bicubic_up(torch.from_numpy(coarse(given["dem"], FACTOR)), FACTOR).numpy()
    found = resolved(system, given)
    np.testing.assert_allclose(found.prior, wide[HALO : HALO + SIZE, HALO : HALO + SIZE], atol=1e-4)


def test_half_the_pixels_and_half_the_heights_give_half_the_errors(system: System) -> None:
    """A scale-free model: 20 m/pix terrain of half the height is the same terrain."""
    numbers = []
    for given in (site(40.0), site(20.0)):
        found = resolved(system, given, members=5, seed=3)
        scores = PatchScores(given["pixel_m"])
        scores.add_ensemble(found.clones, given["truth"], np.random.default_rng(0))
        numbers.append((found, scores.summary(20, 0)))
    (large, whole), (small, half) = numbers
    np.testing.assert_allclose(small.clones, large.clones / 2, atol=2e-3)
    assert np.abs(large.clones - large.prior).max() > 1  # the network does something
    for name in ("rmse_m", "mae_m", "crps_fair_m", "member_rmse_m"):
        assert half[name] == pytest.approx(whole[name] / 2, rel=1e-3), name
    for name in ("rmse_px", "slope_deg", "spread_skill_fair"):
        assert half[name] == pytest.approx(whole[name], rel=1e-3), name


def test_clones_depend_on_the_seed_alone(system: System) -> None:
    first, again, other = (resolved(system, site(), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.clones, again.clones)
    assert not np.array_equal(first.clones, other.clones)


def test_images_without_data_mean_nothing_there(system: System) -> None:
    """NaN and a false mask are the same, whatever the image says below; a seen pixel does count."""
    given = site()
    hole = np.zeros(given["images"].shape, dtype=bool)
    hole[0, :10] = True
    nans = {**given, "images": np.where(hole, np.nan, given["images"])}
    stained = {**given, "images": np.where(hole, 9.0, given["images"])}
    a, b = resolved(system, nans), resolved(system, stained, valid=~hole)
    np.testing.assert_array_equal(a.clones, b.clones)
    assert not np.allclose(a.clones, resolved(system, given).clones, atol=1e-3)


def test_an_aligned_model_does_not_see_the_exposure(system: System) -> None:
    given = site()
    found = resolved(system, {**given, "images": 7 * given["images"]})
    np.testing.assert_allclose(found.clones, resolved(system, given).clones, atol=1e-2)


def test_no_image_leaves_the_terrain_to_the_model(system: System) -> None:
    found = resolved(system, {**site(), "images": [], "suns": []})
    assert np.isfinite(found.clones).all()


def test_missing_cells_around_the_patch_are_held(system: System) -> None:
    given = site()
    lr = coarse(given["dem"], FACTOR)
    held, missing = lr.copy(), lr.copy()
    held[:2], missing[:2] = lr[2], np.nan
    # Corners have two nearest cells at most one column apart; the middle columns have one.
    found = [
        super_resolve(system, cells, given["images"], given["suns"], 40.0, members=2)
        for cells in (held, missing)
    ]
    np.testing.assert_allclose(found[0].clones, found[1].clones, atol=1e-3)


def test_a_sampler_of_ones_own(system: System) -> None:
    one = resolved(system, site(), sampler=BridgeSampler(nfe=1, kind="dbim", eta=1.0))
    assert not np.allclose(one.clones, resolved(system, site()).clones)


def test_a_latent_model_needs_its_vae(tmp_path: Path) -> None:
    vae = save_vae(tmp_path / "vae")
    latent = {"space": "latent", "target": "dem", "posterior_mean": False, "keep_block_means": False}
    save_system(tmp_path / "w", vae=vae, **latent)
    with pytest.raises(ValueError, match=r"expected the VAE of this latent model, found none"):
        pipeline.load(tmp_path / "w")
    found = resolved(pipeline.load(tmp_path / "w", vae=tmp_path / "vae"), site())
    assert np.isfinite(found.clones).all()


# --- what goes in ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"dem": np.zeros((40, 40))},
            r"lr: expected \(8, 8\) cells, the patch's 4 and 2 on each side, .*\(5, 5\)",
        ),
        ({"dem": np.zeros((41, 64))}, r"dem: expected .* multiples of factor = 8, found \(41, 64\)"),
        ({"dem": np.full((64, 64), np.nan)}, r"lr: expected finite heights on the patch, found NaN"),
        (
            {"images": np.zeros((2, 32, 32))},
            r"images: expected \(3, 32, 32\), one for each Sun, found \(2, 32",
        ),
        ({"suns": np.ones((3, 3))}, r"suns: expected unit vectors, found lengths 1\.73205 to 1\.73205"),
        ({"suns": np.ones((3, 2))}, r"suns: expected \(N, 3\) vectors, found \(3, 2\)"),
        ({"pixel_m": 0.0}, r"pixel_m: expected metres > 0, found 0"),
        ({"members": 1}, r"members: expected at least 2 clones, found 1"),
        (
            {"valid": np.ones((3, 32))},
            r"valid: expected \(3, 32, 32\), the shape of the images, found \(3, 32\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(system: System, change: dict[str, Any], message: str) -> None:
    how = {key: change.pop(key) for key in ("members", "valid") if key in change}
    with pytest.raises(ValueError, match=message):
        resolved(system, {**site(), **change}, **how)


def test_expected_light_is_for_systems_that_refine(system: System, tmp_path: Path) -> None:
    given = site()
    whole = np.ones((3, SIZE, SIZE), bool)
    with pytest.raises(ValueError, match=r"expected: expected none with a system without bridge\.refine"):
        resolved(system, given, expected=whole)
    save_system(tmp_path / "w", refine=True)
    refining = pipeline.load(tmp_path / "w")
    with pytest.raises(ValueError, match=rf"expected: expected \(3, {SIZE}, {SIZE}\), found \(2, {SIZE}"):
        resolved(refining, given, expected=whole[:2])
    none, all_ = resolved(refining, given), resolved(refining, given, expected=whole)
    np.testing.assert_array_equal(none.clones, all_.clones)
    assert (resolved(refining, given, expected=~whole).clones != none.clones).any()


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"config\.json: expected the config of model\.safetensors, found no"
    ):
        load(tmp_path)


# --- the door -------------------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, pipeline; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src")
    assert done.stdout.strip() == "[]", done.stderr


def test_the_door_makes_no_stage_depend_on_models() -> None:
    from pipeline.provenance.digest import import_closure

    assert import_closure(("pipeline.terrain.index",)) != []
    assert not [m for m in import_closure(("pipeline",)) if m != "pipeline"]


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    text = (ROOT / "docs" / "formats.md").read_text()
    blocks = [b for b in re.findall(r"```python\n(.*?)```", text, flags=re.S) if "super_resolve" in b]
    assert len(blocks) == 1
    save_system(tmp_path / "pretrained" / "moon", size_px=96, factor=16, lr_halo_px=32)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(blocks[0], "docs/formats.md", "exec"), names)
    found = names["found"]
    assert found.mean.shape == (96, 96)
    assert np.isfinite(found.clones).all()


# --- windows of a map -----------------------------------------------------------------------------------


def test_noise_of_a_map_takes_the_place_of_the_seed(system: System) -> None:
    given, noise = site(), WindowNoise(4, 32, 64, SIZE)
    first = resolved(system, given, noise=noise)
    np.testing.assert_array_equal(resolved(system, given, noise=noise, seed=9).clones, first.clones)
    assert (first.clones[0] != first.clones[1]).any()
    for other in (replace(noise, seed=5), replace(noise, row=0), None):
        assert (resolved(system, given, noise=other).clones != first.clones).any()


def test_noise_of_another_window_size_is_refused(system: System) -> None:
    with pytest.raises(ValueError, match="noise: expected cells that divide a window of 48 px"):
        resolved(system, site(), noise=WindowNoise(0, 0, 0, 48))
