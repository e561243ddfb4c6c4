"""Stage ``map_clones``: clones of the windows of one tile of a map.

Each window is sampled on its own, so that its bytes do not depend on the tile that it is in; with one noise
field per clone over the whole map, clones of overlapping windows agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.bridges.base import Sources
from pipeline.bridges.fields import WindowNoise
from pipeline.config.bridge import SamplerSection
from pipeline.config.maps import MapSection
from pipeline.jobs.progress import progress
from pipeline.jobs.seeds import seeded
from pipeline.maps.ground import SiteGround
from pipeline.models.system import System
from pipeline.region.ground import AprioriDem, apriori_dem
from pipeline.region.reconstruct import collate, prepare
from pipeline.region.source import RegionImages
from pipeline.region.windows import Window, moving_windows
from pipeline.storage.store import StoreWriter

SCHEMA = "clones"
CLONES_PURPOSE = 0x4D4150


def tiles(rows: int, cols: int, size: int, stride: int, tile_px: int) -> list[list[Window]]:
    """All windows of a map, by tiles: a window belongs to the tile that holds its top-left pixel.

    Parameters
    ----------
    rows, cols : of the map. size, stride : of the windows. tile_px : side of a tile, pixels.
    """
    parts: dict[tuple[int, int], list[Window]] = {}
    for window in moving_windows(rows, cols, size, stride):
        parts.setdefault((window.row // tile_px, window.col // tile_px), []).append(window)
    return [parts[key] for key in sorted(parts)]


def apriori_of(ground: SiteGround) -> AprioriDem:
    """The a priori DEM as the networks of today take it: block means and their bicubic."""
    layout = ground.layout
    return apriori_dem(layout.grid, layout.factor, ground.halo_cells, ground.cells)


def sources_of(section: MapSection, window: Window) -> Sources:
    """Where a window's random numbers come from."""
    if section.noise == "map":
        return [WindowNoise(section.seed, window.row, window.col, window.size)]
    return [seeded(section.seed, CLONES_PURPOSE, window.row, window.col)]


def sample_windows(
    system: System,
    ground: SiteGround,
    images: RegionImages,
    windows: Sequence[Window],
    section: MapSection,
    sampler: SamplerSection,
    out: Path | str,
    device: torch.device | str = "cpu",
    label: str = "map",
) -> None:
    """Sample windows and write a store of schema ``clones/1``.

    Parameters
    ----------
    system : network and process, on `device`. ground : a priori DEM. images : on the map's pixels.
    windows : of one tile. section : clones, noise and seed. sampler : how clones are drawn.
    out : file to write. label : what is done, for the log.

    Raises
    ------
    ValueError
        If a clone is not finite.
    """
    apriori, size, grid = apriori_of(ground), system.size_px, ground.layout.grid
    count = len(windows)
    with StoreWriter(out, SCHEMA, {"size_px": size}) as store, torch.inference_mode():
        shape = (count, section.members, size, size)
        dims = ("window", "member", "y", "x")
        clones = store.create("clones", shape, "f4", dims, (1, *shape[1:]), compress=True)
        references = np.zeros(count)
        for i, window in enumerate(progress(windows, count, f"{label}: windows of {section.members} clones")):
            patch = prepare(apriori, images, window, system.halo_cells)
            middle = (size - 1) / 2
            pixel = grid.true_pixel_m(window.row + middle, window.col + middle)
            batch = collate([patch], pixel, device)
            sampled = system.sample(batch, section.members, sources_of(section, window), sampler)
            drawn = sampled[0].float().cpu().numpy()
            if not np.isfinite(drawn).all():
                raise ValueError(
                    f"window ({window.row}, {window.col}): expected finite heights, found "
                    f"{int((~np.isfinite(drawn)).sum())} that are not (a model that diverged?)"
                )
            clones[i], references[i] = drawn, patch.reference
        store.write("row", np.array([w.row for w in windows], np.int32), ("window",))
        store.write("col", np.array([w.col for w in windows], np.int32), ("window",))
        store.write("reference", references, ("window",))
