"""A small terrain, its split and a fake system, for the tests of the region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from raster_files import SOUTH, write_tif
from scipy import ndimage

from pipeline.config.stages.terrain import TerrainStage
from pipeline.models.batch import Batch
from pipeline.storage.atomic import write_json
from pipeline.terrain.index import index_terrain, load_terrain
from pipeline.terrain.lattice import Terrain
from pipeline.terrain.patch_grid import candidates

SIZE, FACTOR = 32, 8


def hills(rows: int, cols: int, seed: int = 0, metres: float = 120.0) -> np.ndarray:
    """Smooth heights with slopes of some degrees at 20 m a pixel, float32."""
    noise = np.random.default_rng(seed).normal(size=(rows, cols))
    smooth = ndimage.gaussian_filter(noise, 6, mode="nearest")
    return (smooth / smooth.std() * metres - 1500).astype(np.float32)


def make_terrain(
    folder: Path, corner: tuple[float, float] = (1000, 2000), crs: str = SOUTH, **files: np.ndarray
) -> Terrain:
    """Index files that lie 100 km apart, so that each is a site; the index is `folder`/terrain.json."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        write_tif(folder / f"{name}.tif", data, crs, origin=(1e5 * i + corner[0], corner[1]), nodata=np.nan)
        for i, (name, data) in enumerate(files.items())
    ]
    index = folder / "terrain.json"
    index_terrain(paths, None, TerrainStage(pixel_m=None), index)
    return load_terrain(index)


def label_patches(terrain: Terrain, test: list[tuple[int, int, int]]) -> dict[str, str]:
    """Labels of the disjoint patches: those at (site, i, j) of the patch grid test, the others train."""
    every = candidates(terrain, SIZE, SIZE)
    out = {}
    for number, site, row, col in zip(every.id, every.site, every.row, every.col, strict=True):
        first = every.anchors[site]
        cell = (int(site), int(row - first[0]) // SIZE, int(col - first[1]) // SIZE)
        out[str(number)] = "test" if cell in test else "train"
    return out


def write_split(folder: Path, labels: dict[str, str]) -> Path:
    path = folder / "split.json"
    write_json(path, {"schema": "split/1", "method": "block", "patches": labels, "counts": {}})
    return path


class FakeSystem:
    """Clones are the a priori DEM plus noise of 3 m, each window's from its own generator."""

    size_px, factor, halo_cells = SIZE, FACTOR, 1

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def sample(
        self, batch: Batch, members: int, generators: list[torch.Generator], sampler: Any
    ) -> torch.Tensor:
        self.batches.append(batch)
        clones = [torch.randn(members, SIZE, SIZE, generator=g) for g in generators]
        return batch.prior[:, None] + 3.0 * torch.stack(clones)
