"""A map whose windows lie side by side is what `super_resolve` makes of each of them with the map's noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from raster_files import SOUTH
from scipy import ndimage

import pipeline
from pipeline.bridges.fields import WindowNoise
from pipeline.config.bridge import SamplerSection
from pipeline.config.maps import MapSection
from pipeline.config.pretrained import PretrainedSection
from pipeline.imagery.suns.sun import Sun
from pipeline.maps.blend import Clones
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import MapImages, lit_level, read_prepared, sun_on_map, sun_record
from pipeline.maps.layout import Layout
from pipeline.maps.tiling import tiles
from pipeline.maps.windows import sample_windows
from pipeline.models.system import System
from pipeline.predict import super_resolve
from pipeline.storage.store import StoreWriter
from pipeline.terrain.bicubic import prior_from_lr
from pipeline.terrain.map_grid import MapGrid, lunar_projection
from saved_models import save_system

ROOT = Path(__file__).resolve().parents[3]
PIXEL, MEMBERS, SEED, IMAGES = 40.0, 3, 11, 5


def site(system: System, rows: int, cols: int, exact: bool) -> tuple[SiteGround, np.ndarray, list[Sun]]:
    """An a priori DEM of cells around 84 S, images with gaps, and their Suns."""
    rng = np.random.default_rng(3)
    factor, halo = system.factor, system.halo_cells
    place = Affine(PIXEL, 0, 120_000, 0, -PIXEL, 130_000)
    grid = MapGrid(lunar_projection(SOUTH).wkt_text, place, cols, rows)
    layout = Layout(grid, 0, 0, rows, cols, "coarse", 0, 0, factor, exact)
    shape = rows // factor + 2 * halo, cols // factor + 2 * halo
    cells = -2000 + 150 * ndimage.gaussian_filter(rng.normal(size=shape), 1)
    dem = prior_from_lr(torch.from_numpy(cells), halo, factor).numpy()
    lon, lat = (float(v) for v in grid.lonlat(rows / 2, cols / 2))
    suns = [Sun.from_local(60.0 * k, 8.0 + k, lon, lat, "a test") for k in range(IMAGES)]
    images = rng.uniform(0.5, 1.5, (IMAGES, rows, cols)) * np.linspace(0.02, 0.05, IMAGES)[:, None, None]
    images[1, :, : cols // 2] = np.nan
    images[2, : rows // 2] = 0
    ground = SiteGround(layout, halo, 8, cells, dem, np.ones_like(dem, bool), dem.astype(np.float32))
    return ground, images.astype(np.float32), suns


def write_images(path: Path, images: np.ndarray, suns: list[Sun]) -> Path:
    box = [0, images.shape[1], 0, images.shape[2]]
    with StoreWriter(path, "prepared") as store:
        store.write("radiance", images, ("image", "y", "x"))
        plain = {"used": True, "withheld": False, "box": box, "path": "a"}
        levels = [lit_level(image) for image in images]
        records = [plain | {"sun": sun_record(s), "level": v} for s, v in zip(suns, levels, strict=True)]
        store.describe({"images": records})
    return path


def compare(system: System, sampler: SamplerSection, folder: Path, exact: bool) -> None:
    size, factor, halo = system.size_px, system.factor, system.halo_cells
    rows, cols = 2 * size, 2 * size
    ground, images, suns = site(system, rows, cols, exact)
    section = MapSection(members=MEMBERS, stride_px=size, seed=SEED, tile_px=size)
    source = MapImages(
        read_prepared([write_images(folder / "images.zip", images, suns)], "map"), _grid(ground)
    )
    stores = []
    for number, windows in enumerate(tiles(rows, cols, size, size, size)):
        stores.append(folder / f"{number}.zip")
        sample_windows(system, ground, source, windows, section, MEMBERS, sampler, stores[-1])
    found = Clones(stores, ground, section, MEMBERS).band(0, rows).clones
    for row in range(0, rows, size):
        for col in range(0, cols, size):
            here, middle = np.s_[row : row + size, col : col + size], (size - 1) / 2
            first, left, side = row // factor, col // factor, size // factor + 2 * halo
            pictures = images[:, *here]
            shown = (np.nan_to_num(pictures) > 0).any(axis=(1, 2))
            assert shown.sum() == IMAGES - (row == 0) - (col == 0)
            sun = np.array([sun_on_map(s, _grid(ground), row + middle, col + middle) for s in suns])
            alone = super_resolve(
                system, ground.cells[first : first + side, left : left + side], pictures[shown], sun[shown],
                _grid(ground).true_pixel_m(row + middle, col + middle), members=MEMBERS, sampler=sampler,
                noise=WindowNoise(SEED, row, col, size),
            )  # fmt: skip
            np.testing.assert_allclose(found[:, *here], alone.clones, rtol=0, atol=1e-3)
            np.testing.assert_allclose(found[:, *here].mean(axis=0), alone.mean, rtol=0, atol=1e-3)
            # What the network does is far more than what is allowed here.
            assert np.abs(alone.mean - alone.prior).max() > 0.1 and alone.std.mean() > 0.1


def _grid(ground: SiteGround) -> MapGrid:
    return ground.layout.grid


@pytest.mark.parametrize("exact", [False, True])
def test_a_small_model_gives_the_same_map_window_by_window(tmp_path: Path, exact: bool) -> None:
    system = pipeline.load(save_system(tmp_path / "weights"))
    compare(system, PretrainedSection().sampler, tmp_path, exact)


def test_the_shipped_model_gives_the_same_map_window_by_window(tmp_path: Path) -> None:
    compare(pipeline.load(ROOT / "pretrained" / "lola40"), PretrainedSection().sampler, tmp_path, True)
