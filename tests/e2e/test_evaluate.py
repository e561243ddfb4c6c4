"""Given weights on a user's DEM, by config/evaluate.yaml: the same metrics, a region, and no training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage

from pipeline.bundle.verify import verify
from saved_models import LATENT, RIVALS, save_rival, save_system, save_vae

pytestmark = pytest.mark.xdist_group("evaluate")
ROOT = Path(__file__).resolve().parents[2]
SOUTH = "+proj=stere +lat_0=-90 +lon_0=0 +k=1 +R=1737400 +units=m +no_defs"
SMALL = """\
patches: {size_px: 32, factor: 8, halo_px: 16, stride_px: 32}
illumination: {halo_px: 16}
arcs: {test: {main: {images: 4}}}
evaluation: {members: 2, bootstrap: 20, max_patches: 6}
region: {size_px: 64, stride_px: 16, members: 2, images: 4}
training: {cpu_threads: 1}
runtime: {device: cpu, workers: 1}
"""
# No training, no training shards, no floors, no report.
JOBS = {
    "terrain_index", "patches_extract", "patches_select", "patches_split", "illumination_trace",
    "arcs_select", "masks_draw", "shards_write_test", "shards_manifest_test", "evaluation_bicubic",
    "evaluation_bicubic_window", "evaluation_photometric",
    "evaluation_pretrained", "evaluation_collect", "evaluation", "region_reconstruct", "region",
    "run_record", "total",
}  # fmt: skip
TARGETS = ("evaluation", "region", "--configfile", "config/evaluate.yaml", "small.yaml", "--config")
DEM = """inputs={"dem": "sites/*.tif"}"""


def weights(folder: str) -> str:
    return f'pretrained={{"weights": "{folder}"}}'


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, snakemake: Callable) -> Path:
    """Working directory of a finished evaluation of an untrained model on one window."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "config").symlink_to(ROOT / "config")
    (folder / "small.yaml").write_text(SMALL)
    (folder / "sites").mkdir()
    noise = np.random.default_rng(0).normal(size=(128, 128))
    dem = (ndimage.gaussian_filter(noise, 3) * 200 - 1500).astype("f4")
    profile = {"driver": "GTiff", "width": 128, "height": 128, "count": 1, "dtype": "float32", "crs": SOUTH}
    place = Affine(20, 0, 4000, 0, -20, 9000)
    with rasterio.open(folder / "sites" / "mine.tif", "w", transform=place, **profile) as raster:
        raster.write(dem, 1)
    save_system(folder / "w")
    done = snakemake(folder, "-c2", *TARGETS, DEM, weights("w"))
    assert done.returncode == 0, done.text[-5000:]
    assert set(done.jobs) == JOBS
    return folder


def test_metrics_have_the_documented_shape(folder: Path) -> None:
    metrics = read(folder / "results" / "evaluate" / "evaluation" / "metrics.json")
    assert (metrics["schema"], metrics["primary"], metrics["floors"]) == ("metrics/1", "pretrained", {})
    assert set(metrics["systems"]) == {"bicubic", "bicubic_window", "photometric", "pretrained"}
    assert set(metrics["conditions"]) == {"main", "missing"}
    config = read(folder / "w" / "config.json")
    assert metrics["models"] == {"pretrained": {"fingerprint": config["fingerprint"], "key": config["key"]}}
    row = metrics["systems"]["pretrained"]
    assert (row["members"], row["nfe"], row["n_patches"]) == (2, 4, 6)
    assert row["rmse_m"] == pytest.approx(20 * row["rmse_px"]) and row["rmse_m"] > 0
    assert metrics["systems"]["bicubic"]["rmse_vs_bicubic"] == 1
    assert metrics["systems"]["photometric"]["rmse_vs_bicubic_window"] < 1
    assert "members" not in metrics["systems"]["photometric"]
    table = (folder / "results" / "evaluate" / "evaluation" / "metrics.csv").read_text()
    assert [line.split(",")[:2] for line in table.splitlines()[1:]] == [
        ["main", "bicubic"], ["main", "bicubic_window"], ["main", "photometric"], ["main", "pretrained"],
        ["missing", "photometric"], ["missing", "pretrained"],
    ]  # fmt: skip


def test_every_patch_is_test(folder: Path) -> None:
    [path] = (folder / "results" / "store" / "split").rglob("split.json")
    split = read(path)
    assert split["counts"] == {"train": 0, "validation": 0, "test": 16, "dropped": 0}
    assert set(split["patches"].values()) == {"test"}


def test_the_region_lies_where_the_site_is(folder: Path) -> None:
    region = folder / "results" / "evaluate" / "region"
    bands = {}
    for name in ("mean", "std", "truth", "prior"):
        with rasterio.open(region / f"{name}.tif") as raster:
            assert (raster.width, raster.height, raster.res) == (64, 64, (20, 20))
            assert 4000 <= raster.bounds.left < raster.bounds.right <= 4000 + 128 * 20
            bands[name] = raster.read(1)
    with rasterio.open(folder / "sites" / "mine.tif") as site, rasterio.open(region / "truth.tif") as truth:
        window = site.window(*truth.bounds)
        np.testing.assert_allclose(site.read(1, window=window), bands["truth"], atol=1e-3)
    metrics = read(region / "metrics.json")
    assert metrics["model_fingerprint"] == read(folder / "w" / "config.json")["fingerprint"]
    error = np.sqrt(np.mean((bands["mean"] - bands["truth"]) ** 2))
    assert metrics["region"]["mean"]["rmse_m"] == pytest.approx(error, rel=1e-3)
    assert np.abs(bands["mean"] - bands["prior"]).max() > 0.1


def test_other_weights_rerun_what_uses_them(folder: Path, snakemake: Callable) -> None:
    save_system(folder / "other", seed=1)
    done = snakemake(folder, "-n", *TARGETS, DEM, weights("other"))
    assert done.returncode == 0, done.text[-3000:]
    jobs = {rule for rule in done.jobs if rule not in ("total", "evaluation", "region")}
    assert jobs == {"evaluation_pretrained", "evaluation_collect", "region_reconstruct", "run_record"}


# --- every kind of row, from given weights ----------------------------------------------------------------

FREE = ("photometric", "kriging", "sfs")


def test_a_bundle_covers_every_kind_of_row(folder: Path, tmp_path: Path, snakemake: Callable) -> None:
    """Each system of the comparison is in the bundle with its weights, and is evaluated again."""
    for name in ("config", "sites", "w"):
        (tmp_path / name).symlink_to(folder / name)
    rows: dict[str, Any] = {name: {"weights": str(save_rival(tmp_path / name, name))} for name in RIVALS}
    for name in ("yasuda", "diffusion"):
        rows[name] |= {"members": 2, "nfe": 2}
    save_system(tmp_path / "l", seed=2, vae=save_vae(tmp_path / "v", height_unit="pixel"), **LATENT)
    sampler = {"nfe": 2, "kind": "posterior", "eta": 0.0, "grid": "uniform"}
    rows["bridges"] = {"published": {"weights": "l", "vae": "v", "sampler": sampler}}
    rows["hybrid"] = {"sampler": {"nfe": 2, "kind": "dbim", "eta": 1.0, "grid": "quadratic"}}
    rows["scored"] = [*FREE, "hybrid", *RIVALS, "published"]
    small = f"run: rows\npredictors: {json.dumps(rows)}\nbundle: {{patches: 2}}\n"
    (tmp_path / "small.yaml").write_text(SMALL + small)
    done = snakemake(tmp_path, "-c2", "bundle", *TARGETS[2:], DEM, weights("w"))
    assert done.returncode == 0, done.text[-5000:]
    assert not [job for job in done.jobs if "train" in job.split("_")]
    found = verify(tmp_path / "results" / "rows" / "bundle.zip", tmp_path / "open", "cpu")
    assert {row.status for row in found} == {"PASS"}, [row for row in found if row.status != "PASS"]
    again = {row.detail.split(":")[0] for row in found if row.check == "evaluation"}
    alone = {"bicubic", "bicubic_window", "pretrained", "hybrid"}
    assert again == {*alone, "published", "vae_truth_published", "vae_bicubic_published", *FREE, *RIVALS}
