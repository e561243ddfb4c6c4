"""Stage ``map_clones``: clones of the windows of one tile of a map.

Each window is sampled independently, so that its bytes do not depend on its tile; with one noise field per
clone over the whole map, clones of overlapping windows agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.bridges.base import Sources
from pipeline.bridges.fields import WindowNoise
from pipeline.config.bridge import SamplerSection
from pipeline.config.maps import MapSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.stages.maps import ClonesStage
from pipeline.jobs.device import pick_device
from pipeline.jobs.progress import progress
from pipeline.jobs.seeds import seeded
from pipeline.maps.expected import expected_in
from pipeline.maps.first_pass import records_of, withheld_of
from pipeline.maps.ground import SiteGround
from pipeline.maps.images import MapImages, read_prepared
from pipeline.maps.tiling import tiles
from pipeline.models.calibration import load_calibrated
from pipeline.models.system import System
from pipeline.region.ground import AprioriDem, apriori_dem
from pipeline.region.reconstruct import collate, prepare
from pipeline.region.source import RegionImages, one_file
from pipeline.region.windows import Window
from pipeline.storage.store import StoreWriter

SCHEMA = "clones"
CLONES_PURPOSE = 0x4D4150


def sample_tile(
    section: ClonesStage, tile: int, inputs: Mapping[str, Any], runtime: RuntimeSection, out: str
) -> None:
    """Sample the clones of a tile's windows.

    Parameters
    ----------
    section : of the stage. tile : its number, from 0. runtime : device.
    inputs : ``ground``, lists ``images`` (prepared stores), ``vae`` and ``calibration``, and ``model``.
    out : store of schema ``clones/1`` to write.
    """
    device = pick_device(runtime.device)
    calibration = one_file(inputs.get("calibration")) or None
    system = load_calibrated(
        one_file(inputs["model"]), one_file(inputs.get("vae")) or None, device, calibration
    )
    ground = SiteGround.load(one_file(inputs["ground"]))
    grid = ground.layout.grid
    stride, tile_px = section.map.stride_px, section.map.tile_px
    every = tiles(grid.height, grid.width, system.size_px, stride, tile_px)
    withheld, role, label = None, section.role, "map"
    if role == "first":
        withheld, role = withheld_of(records_of(inputs["images"]), section.images), "map"
        label = "map, first reconstruction"
    images = MapImages(read_prepared(inputs["images"], role, withheld), grid)
    label += f", tile {tile + 1} of {len(every)}" if len(every) > 1 else ""
    sample_windows(
        system, ground, images, every[tile], section.map, section.members, section.sampler, out, device, label
    )


def apriori_of(ground: SiteGround, altimetry: bool = False) -> AprioriDem:
    """The a priori DEM in the form of a network's input.

    Parameters
    ----------
    ground : of the map.
    altimetry : whether the network uses heights along tracks and errors of block means. Other networks use
        block means and their bicubic.
    """
    layout = ground.layout
    cells = apriori_dem(layout.grid, layout.factor, ground.halo_cells, ground.cells)
    if not altimetry:
        return cells
    if layout.kind == "coarse":
        return replace(cells, cell_error=ground.error)
    if ground.count is None:
        return cells
    spots = np.where(ground.known, np.nan_to_num(ground.count), 0).astype(np.float32)
    return replace(cells, prior=ground.dem, spots=spots)


def sources_of(section: MapSection, window: Window) -> Sources:
    """Noise source of a window: fields over the map, or a random stream of its own."""
    if section.noise == "map":
        return [WindowNoise(section.seed, window.row, window.col, window.size)]
    return [seeded(section.seed, CLONES_PURPOSE, window.row, window.col)]


def sample_windows(
    system: System,
    ground: SiteGround,
    images: RegionImages,
    windows: Sequence[Window],
    section: MapSection,
    members: int,
    sampler: SamplerSection,
    out: Path | str,
    device: torch.device | str = "cpu",
    label: str = "map",
) -> None:
    """Sample windows and write a store of schema ``clones/1``.

    Parameters
    ----------
    system : network and process, on `device`. ground : a priori DEM. images : on the map's pixels.
    windows : of one tile. section : noise and seed. members : number of clones. sampler : its settings.
    out : file to write. label : name of the work in the log.

    Raises
    ------
    ValueError
        If a clone is not finite.
    """
    apriori, size, grid = apriori_of(ground, system.section.refine), system.size_px, ground.layout.grid
    count = len(windows)
    with StoreWriter(out, SCHEMA, {"size_px": size}) as store, torch.inference_mode():
        shape = (count, members, size, size)
        dims = ("window", "member", "y", "x")
        clones = store.create("clones", shape, "f4", dims, (1, *shape[1:]), compress=True)
        references = np.zeros(count)
        for i, window in enumerate(progress(windows, count, f"{label}: windows of {members} clones")):
            patch = prepare(apriori, images, window, system.halo_cells)
            middle = (size - 1) / 2
            pixel = grid.true_pixel_m(window.row + middle, window.col + middle)
            batch = collate([patch], pixel, device)
            if system.section.refine and len(patch.seen):
                expected = expected_in(ground, window, pixel, patch.seen.sun)
                batch = replace(batch, expected=expected[None].to(device))
            sampled = system.sample(batch, members, sources_of(section, window), sampler)
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
