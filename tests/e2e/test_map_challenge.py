"""Maps of the challenge sets: side by side, windows are what `super_resolve` makes of the same arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

import pipeline
from pipeline.bridges.fields import WindowNoise
from pipeline.config.pretrained import PretrainedSection
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import read_prepared, sun_on_map
from pipeline.predict import super_resolve

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("map")]
ROOT = Path(__file__).resolve().parents[2]
SIZE, FACTOR, MEMBERS, SEED = 96, 16, 3, 5
# A few of the 60 images, by their names.
SOME = "*[05][LR]E.tif"
MAP = {"stride_px": SIZE, "members": MEMBERS, "seed": SEED, "fallback": "none"}


@pytest.mark.parametrize(
    ("name", "dem"), [("nobile_rim_1", "prior_640m.tif"), ("malapert_crater_1", "ldem_40m.tif")]
)
def test_the_mean_is_that_of_super_resolve_on_the_same_arrays(
    shared_data: Path, tmp_path: Path, snakemake: Callable, name: str, dem: str
) -> None:
    given = shared_data / "challenge" / name
    if not given.is_dir():
        pytest.skip("the challenge sets are not beside the project (../shared/data/challenge)")
    for folder in ("config", "pretrained"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    with rasterio.open(given / "truth_40m.tif") as truth:
        left, top = truth.transform.c, truth.transform.f
    site = {
        "dem": str(given / dem), "images": str(given / "images" / SOME), "suns": str(given / "index.csv"),
        "pixel_m": 40, "bounds": [left, top - 2 * SIZE * 40, left + 2 * SIZE * 40, top],
    }  # fmt: skip
    words = ("--config", "run=side", f"site={json.dumps(site)}", f"map={json.dumps(MAP)}")
    done = snakemake(tmp_path, "-c2", "map", "--configfile", "config/map.yaml", *words)
    assert done.returncode == 0, done.text[-5000:]
    (stored,) = (tmp_path / "results" / "store" / "map_site").glob("*/ground.zarr.zip")
    ground = SiteGround.load(stored)
    grid, halo = ground.layout.grid, ground.halo_cells
    assert (grid.height, grid.width) == (2 * SIZE, 2 * SIZE)
    images = read_prepared(sorted((tmp_path / "results" / "store" / "map_images").glob("*/*.zip")), "map")
    assert len(images) >= 4
    system = pipeline.load(ROOT / "pretrained" / "lola40")
    with rasterio.open(tmp_path / "results" / "side" / "map" / "mean.tif") as raster:
        mean = raster.read(1).astype(np.float64)
    for row in (0, SIZE):
        for col in (0, SIZE):
            here, middle = np.s_[row : row + SIZE, col : col + SIZE], (SIZE - 1) / 2
            suns = [sun_on_map(image.sun, grid, row + middle, col + middle) for image in images]
            pictures = [image.read(*here) for image in images]
            shown = [k for k, p in enumerate(pictures) if (np.nan_to_num(p) > 0).any() and suns[k][2] > 0]
            cells = ground.cells[row // FACTOR : (row + SIZE) // FACTOR + 2 * halo]
            alone = super_resolve(
                system, cells[:, col // FACTOR : (col + SIZE) // FACTOR + 2 * halo],
                np.stack([pictures[k] for k in shown]), np.stack([suns[k] for k in shown]),
                grid.true_pixel_m(row + middle, col + middle), members=MEMBERS,
                sampler=PretrainedSection().sampler, noise=WindowNoise(SEED, row, col, SIZE),
            )  # fmt: skip
            np.testing.assert_allclose(mean[here], alone.mean, rtol=0, atol=1e-3)
            assert np.abs(alone.mean - alone.prior).max() > 5
