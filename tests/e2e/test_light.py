"""All kinds of real light at once, by config/light.yaml: from synthetic terrain to scores and a region."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.illumination.directions import azimuth_elevation
from pipeline.illumination.missing import FULL, strip_mask
from pipeline.storage.store import read_store
from saved_models import save_system

pytestmark = pytest.mark.xdist_group("light")
ROOT = Path(__file__).resolve().parents[2]
# Weights that nobody trained; swaths narrower than patches of 640 m.
SMALL = """\
inputs: {dem: synthetic}
synthetic: {size_px: 192, center_x_m: 60000, center_y_m: -75000, largest_crater_m: 1500}
pretrained: {weights: w}
patches: {size_px: 32, factor: 8, halo_px: 16, stride_px: 32}
illumination: {halo_px: 16, far_cell_px: 8, far_m: 2500}
arcs: {test: {main: {images: 6}}}
masks: {test: {width_m: [200, 500]}}
evaluation: {members: 2, bootstrap: 20, max_patches: 6}
region: {size_px: 64, stride_px: 16, members: 2, images: 8, masks: {width_m: [400, 900]}}
training: {cpu_threads: 1}
runtime: {device: cpu, workers: 1}
"""
LAYERS = ("config/evaluate.yaml", "config/light.yaml", "small.yaml")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, snakemake: Callable) -> Path:
    """Folder of the results of a finished run."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "config").symlink_to(ROOT / "config")
    (folder / "small.yaml").write_text(SMALL)
    save_system(folder / "w")
    done = snakemake(folder, "-c2", "evaluation", "region", "report", "--configfile", *LAYERS)
    assert done.returncode == 0, done.text[-5000:]
    assert {"terrain_far", "illumination_trace", "evaluation_pretrained", "region_reconstruct"} <= set(
        done.jobs
    )
    return folder / "results"


def one(folder: Path, name: str) -> Path:
    [path] = folder.rglob(name)
    return path


def test_the_config_asks_for_all_of_it(run: Path) -> None:
    config = read(run / "light" / "stages.json")["config"]
    light = config["illumination"]
    assert light["sun"] == "disc" and light["curvature"] and light["far_m"] and light["limb_darkening"]
    for draw in (config["arcs"]["train"], config["arcs"]["test"]["main"], config["region"]["light"]):
        assert draw["place"] == "true" and draw["declination"] == {"low": -1.59, "high": 1.59}
    for masks in (config["masks"]["train"], config["masks"]["test"], config["region"]["masks"]):
        assert masks["kind"] == "nac"


def test_patches_see_parts_of_the_suns_disc(run: Path) -> None:
    attrs = read_store(one(run / "store" / "visibility", "*.zarr.zip"), schema="visibility").attrs
    wanted = {"sun": "disc", "limb_darkening": 0.6, "far_m": 2500, "far_cell_px": 8, "engine": "horizon"}
    assert wanted.items() <= dict(attrs).items()
    share = read_store(one(run / "store" / "visibility", "*.zarr.zip"), group="fixed")["share"].values
    assert 0.1 < (share == 255).mean() < 0.999
    # Penumbrae are narrow.
    assert 1e-4 < ((share > 0) & (share < 255)).mean() < 0.2
    far = read_store(one(run / "store" / "far", "far.zarr.zip"), "lattice_0")["dem"].values
    assert far.shape == (24, 24) and np.isfinite(far).all() and far.std() > 1


def test_test_images_have_suns_of_their_own_place_and_swaths(run: Path) -> None:
    shard = one(run / "store" / "shards_test", "*.zarr.zip")
    table, draws = read_store(shard, schema="shard"), read_store(shard, group="draws_main")
    np.testing.assert_allclose(draws["lat"].values, table["lat"].values, atol=1e-9)
    assert np.ptp(draws["lat"].values) > 0.01
    suns = read_store(shard, group="fixed")["sun"].values[draws["images"].values.ravel()]
    _, elevation = azimuth_elevation(suns)
    # At 86.8 degrees south no Sun stands higher than 4.8 degrees, and directions within 5.7 are taken.
    assert set(elevation.round().tolist()) <= {5, 10} and 5 in elevation.round()
    strips = draws["strips"].values
    assert strips.shape[-1] == FULL
    kept = strip_mask(strips, 32)
    share = kept.mean(axis=(-2, -1))
    assert (share > 0).all() and (share < 1).any()
    # A swath lies between two parallel edges: in some images, ground is missing on both sides of it.
    x0, y0, q, half = (strips[..., i, None, None] for i in range(4))
    rows, cols = np.indices((32, 32))
    across = (rows - y0) * np.cos(np.radians(q)) - (cols - x0) * np.sin(np.radians(q))
    left, right = (across <= -half).any(axis=(-2, -1)), (across >= half).any(axis=(-2, -1))
    assert (left & right).sum() >= 3
    assert not kept[np.abs(across) >= half].any()


def test_scores_are_finite_and_swaths_cost_something(run: Path) -> None:
    metrics = read(run / "light" / "evaluation" / "metrics.json")
    assert metrics["schema"] == "metrics/1"
    rows = [metrics["conditions"][c]["systems"]["pretrained"] for c in ("main", "missing")]
    for row in rows:
        assert row["n_patches"] == 6
        assert all(math.isfinite(row[k]) and row[k] > 0 for k in ("rmse_m", "slope_deg", "crps_fair_m"))
    assert rows[0]["rmse_m"] != rows[1]["rmse_m"]


def test_the_region_is_lit_the_same_way(run: Path) -> None:
    folder = run / "light" / "region"
    bands = {}
    for name in ("mean", "std", "truth", "images"):
        with rasterio.open(folder / f"{name}.tif") as raster:
            bands[name] = raster.read()
            tags = [raster.tags(i) for i in raster.indexes]
    assert all(np.isfinite(bands[name]).all() for name in ("mean", "std", "truth"))
    missing = np.isnan(bands["images"]).mean(axis=(1, 2))
    assert (missing < 1).all() and 0.1 < missing.mean() < 0.9
    assert (bands["images"] == 0).any() and np.nanmax(bands["images"]) > 0
    # Suns stand on the side of the equator, away from the pole.
    equator, _ = azimuth_elevation([60.0, -75.0, 0.0])
    assert {float(tag["SUN_ELEVATION_DEG"]) for tag in tags} <= {5.0, 10.0}
    aside = [abs((float(tag["SUN_AZIMUTH_DEG"]) - equator + 180) % 360 - 180) for tag in tags]
    assert max(aside) < 140
    assert "region.masks.kind" in (run / "light" / "report.html").read_text()
    metrics = read(folder / "metrics.json")
    assert metrics["place"]["lat"] == pytest.approx(-86.8, abs=0.1)
    assert math.isfinite(metrics["region"]["mean"]["rmse_m"])
    assert 0 < metrics["images"]["per_window"]["most"] < metrics["images"]["count"] == 8
